"""Weights are read for their checksum once, and not at all where nothing is missing."""

from pathlib import Path
from typing import Any

import pytest

from small.encoders.models import save_dataset
from small.extract.extractions import extracted, no_model
from tcf.common.integrity import checksums
from tcf.data import Dataset
from tcf.encoders.folder import weight_files


@pytest.mark.usefixtures("own_home")
def test_where_nothing_is_missing_no_weights_are_read(
    tmp_path: Path, dataset: Dataset, opt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weight_files, "SMALL", 0)
    monkeypatch.setattr(checksums, "_FRESH", -1e9)
    extracted(dataset, opt, tmp_path / "c")

    plain = checksums._Reader._sha256

    def refuse(self: Any, number: int) -> str:
        assert self._files[number].parent != opt, "the weights were read"
        return plain(self, number)

    monkeypatch.setattr(checksums._Reader, "_sha256", refuse)
    with no_model():
        assert extracted(dataset, opt, tmp_path / "c").computed == 0
    more = save_dataset(tmp_path / "more", ["a new title"])
    assert extracted(more, opt, tmp_path / "c").computed == 1
