"""Damaged caches: found by an extraction, or by a training; for real, with word vectors."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from small.launch.real_units import real_units, write_inputs
from tcf.common.errors import CacheError
from tcf.launch.launchers.run_units import run_units
from tcf.launch.units.records import Records
from tcf.launch.units.repairs import asks_for_repair, run_repairing
from tcf.launch.units.run_unit import UnitEnd, run_unit
from tcf.launch.units.tasks import ExtractTask
from tcf.launch.units.unit import Unit


class InThisProcess:
    """Runs units in this process, one at a time."""

    def __init__(self, records: Records) -> None:
        self.records, self.taken, self.tries = records, list[Unit](), list[str]()

    def take(self, units: Sequence[Unit]) -> Sequence[Unit]:
        taken = units[:1] if not self.taken else []
        self.taken += taken
        return taken

    def ended(self, timeout: float) -> list[UnitEnd]:
        unit = self.taken.pop()
        self.tries.append(unit.name)
        return [run_unit(unit, self.records)]

    def running(self) -> list[str]:
        return []

    def close(self) -> None:
        return


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the dataset and its cache."""
    monkeypatch.setenv("TCF_HOME", str(tmp_path / "home"))
    write_inputs(tmp_path)
    results = run_units(real_units(tmp_path)[:2], Records(tmp_path / "records"), in_this(tmp_path), tries=1)
    assert results.complete
    return tmp_path


def in_this(folder: Path) -> InThisProcess:
    return InThisProcess(Records(folder / "records"))


def shards(folder: Path) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in (folder / "cache" / "shards").rglob("*") if file.is_file()}


def spoil(folder: Path, name: str) -> None:
    """Change the bytes of a file in one shard."""
    file = sorted((folder / "cache" / "shards").glob(f"*/{name}"))[1]
    content = bytearray(file.read_bytes())
    content[-3] ^= 64
    file.write_bytes(content)


def test_an_extraction_repairs_what_it_finds_damaged(work: Path) -> None:
    before = shards(work)
    spoil(work, "keys.npy")
    extract = real_units(work)[1]
    assert isinstance(extract.task, ExtractTask)
    with pytest.raises(CacheError) as found:
        extract.task.run()
    assert asks_for_repair(str(found.value))
    note = run_repairing(extract.task, work / "no wish")
    assert note == f"{work}/cache: a part of the cache was damaged; it was dropped and computed again"
    assert shards(work) == before


def test_a_cache_that_a_training_finds_damaged_is_repaired_by_its_extraction(
    work: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = shards(work)
    spoil(work, "vectors.npy")
    launcher = in_this(work)
    results = run_units(real_units(work)[:3], launcher.records, launcher, tries=1)
    assert results.complete, results
    assert launcher.tries == ["train/0", "extract", "train/0"]
    assert shards(work) == before
    assert "extract does so now, and train/0 runs again after it" in caplog.text
    assert "cache: a part of the cache was damaged; it was dropped and computed again" in caplog.text
    assert not launcher.records.repair_wish("extract").exists()
