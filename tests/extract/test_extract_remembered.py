"""Weights are read for their checksum once, and not at all where nothing is missing."""

from pathlib import Path

import pytest

from small.encoders.models import save_dataset
from small.extract.extractions import extracted, no_model
from tcf.data import Dataset
from tcf.encoders.folder import checksums


@pytest.mark.usefixtures("own_home")
def test_where_nothing_is_missing_no_weights_are_read(
    tmp_path: Path, dataset: Dataset, opt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checksums, "_SMALL", 0)
    monkeypatch.setattr(checksums, "_FRESH", -1e9)
    extracted(dataset, opt, tmp_path / "c")

    def refuse(self: object, number: int) -> str:
        raise AssertionError("the weights were read")

    monkeypatch.setattr(checksums._Reading, "_sha256", refuse)
    with no_model():
        assert extracted(dataset, opt, tmp_path / "c").computed == 0
    more = save_dataset(tmp_path / "more", ["a new title"])
    assert extracted(more, opt, tmp_path / "c").computed == 1
