"""Every file that tcf writes is damaged in every way; every command that reads it notices, or needs nothing of it."""

import random
import re
from collections import defaultdict
from pathlib import Path, PurePath

import pytest

import tcf
from small.data.damage import unsynced
from small.faults.damage import Damage, damages
from small.faults.documented import ROOT, documented_files, documented_formats
from small.faults.readers import READERS, Reader
from small.faults.trials import Place, Tally, below
from small.faults.world import build

# Read by none of the commands of these trials, or slowly, and tried where these tests are.
ELSEWHERE = {
    "home/digests/*": "tests/common/integrity/test_checksums.py",
    "home/downloads/*": "tests/assets/test_download.py",
    "states.bin": "tests/integration/test_sweep_killed.py",
    # Results that nothing reads, and the state of a study.
    "results.csv": "tests/launch/study/test_run_study.py",
    "results.parquet": "tests/launch/study/test_run_study.py",
    "comparisons/*.json": "tests/launch/study/test_run_study.py",
    "comparisons/*.csv": "tests/launch/study/test_run_study.py",
    "places.json": "tests/launch/study/test_expand_places.py",
    "state/places.json": "tests/launch/study/test_expand_places.py",
    "state/study.json": "tests/launch/study/test_study_status.py",
    "state/units/*.json": "tests/launch/units/test_run_unit.py",
    "state/logs/*.log": "tests/launch/units/test_run_unit.py",
    "state/jobs/*.json": "tests/launch/launchers/slurm/test_slurm_launcher.py",
}
SLOW = "--schedule sweep"
SOME = 16  # kinds that are tried unless all are


@pytest.fixture(scope="module")
def place(root: Path) -> Place:
    with unsynced():
        build(root)
    return Place(root)


def tried(place: Place) -> dict[str, list[Reader]]:
    """The readers of each file."""
    readers = {file: [reader for reader in READERS if below(file, reader.reads)] for file in place.files}
    return {file: found for file, found in readers.items() if found}


def test_every_kind_of_file_that_the_document_lists_is_tried(place: Place) -> None:
    files = tried(place)
    for pattern in documented_files() - ELSEWHERE.keys():
        assert any(PurePath(file).match(pattern) for file in files), pattern
    assert all((ROOT / test).is_file() for test in ELSEWHERE.values())
    kinds = {place.kind_of(file).partition(":")[0] for file in files}
    assert documented_formats() <= kinds


def test_every_format_of_the_code_is_in_the_document() -> None:
    sources = "\n".join(path.read_text(encoding="utf-8") for path in Path(tcf.__file__).parent.rglob("*.py"))
    formats = set(re.findall(r'name="(tcf-[a-z-]+)"', sources))
    assert len(formats) >= 6
    assert formats - {"tcf-asset"} <= documented_formats()  # a download, whose files are others'


def drawn(place: Place, draw: random.Random, every: bool) -> list[tuple[Reader, Damage]]:
    """All trials; or for some kinds of files a bit that flips or another damage, before one of its readers."""
    trials: list[tuple[Reader, Damage]] = []
    kinds: dict[str, list[tuple[str, list[Reader]]]] = defaultdict(list)
    for file, readers in sorted(tried(place).items()):
        kinds[place.kind_of(file)].append((file, readers))
        if every:
            every_one = damages(file, place.files[file], place.others(file), draw)
            trials += [(reader, damage) for damage in every_one for reader in readers]
    if every:
        return trials
    for number, pairs in enumerate(draw.sample([*kinds.values()], SOME)):
        file, readers = draw.choice(pairs)
        found = list(damages(file, place.files[file], place.others(file), draw))
        some = [damage for damage in found if (damage.kind == "flip") == (number % 3 > 0)] or found
        fast = [reader for reader in readers if SLOW not in reader.line] or readers
        trials.append((draw.choice(fast), draw.choice(some)))
    return trials


def test_damage_is_survived_or_detected(place: Place, tally: Tally, seed: int, every: bool) -> None:
    bad = []
    with unsynced():
        for reader, damage in drawn(place, random.Random(seed), every):
            trial = place.run(reader, damage)
            tally.add(place.kind_of(damage.file), trial.outcome, str(trial))
            if trial.outcome not in ("survived", "detected"):
                bad.append(str(trial))
    assert not bad, "\n".join(bad)
