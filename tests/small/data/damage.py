"""What a preparation makes of a damaged folder: the dataset that is left, or an error, and nothing else."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pytest

from small.data.formats import MIN_HISTORY, Form, Log, histories_left, texts_left
from small.data.raw import histories_of, texts_of
from tcf.common.errors import DataError, TcfError
from tcf.config.prepare import PrepareConfig
from tcf.data.dataset import Dataset, open_dataset
from tcf.data.prepare import prepare

__all__ = ["MODES", "check", "check_named", "prepared", "unsynced"]

MODES: tuple[Literal["error", "skip"], ...] = ("error", "skip")


@contextmanager
def unsynced() -> Iterator[None]:
    """Datasets need not outlive a power cut; hundreds of them are then made quickly."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


def prepared(form: Form, raw: Path, mode: Literal["error", "skip"] = "skip", **settings: Any) -> Dataset | TcfError:
    """The dataset that a folder becomes, read back, or the error; nothing else may be there or be raised."""
    out = raw.parent / f"out-{mode}"
    options = {"min_history": MIN_HISTORY, "keep_last": 30, **form.options, **settings}
    try:
        made = prepare(form.format, raw, out, PrepareConfig(bad_rows=mode, **options))
    except TcfError as error:
        assert not out.exists()
        assert list(raw.parent.glob(".*")) == []
        assert len(str(error)) < 2500
        assert str(raw) in str(error)
        return error
    found = open_dataset(out)
    assert found.fingerprint == made.fingerprint
    assert list(raw.parent.glob(".*")) == []
    return found


def check(found: Dataset | TcfError, log: Log, skipped: dict[str, int], without: frozenset[str] = frozenset()) -> None:
    """The dataset is what is left of the log, and all that was left out is counted."""
    assert isinstance(found, Dataset), found
    assert histories_of(found) == histories_left(log, without)
    assert list(texts_of(found).items()) == list(texts_left(log, without).items())
    assert found.statistics["skipped"] == skipped


def check_named(found: Dataset | TcfError, *words: str) -> None:
    assert isinstance(found, DataError), found
    assert all(word in str(found) for word in words), found
