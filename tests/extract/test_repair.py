"""`extract --repair`: damage is named, dropped and computed again, to the bytes of an undisturbed extraction."""

import os
import shutil
from pathlib import Path

import pytest

from small.data.caches import content, flip_bit
from small.encoders.models import save_dataset
from small.extract.extractions import TEXTS, config, extracted
from tcf.common.errors import CacheError, ConfigError, RunError
from tcf.common.files import MANIFEST
from tcf.data import Dataset, VectorCache, open_dataset
from tcf.data.cache import repair as module
from tcf.data.cache import shard_leases
from tcf.data.cache.cache_files import VECTORS
from tcf.data.cache.repair import drop_damaged

ROWS = 8


def damage(folder: Path, how: str) -> None:
    """Damage a shard or a text map."""
    (first, *_) = sorted(folder.glob("*.npy"), reverse=True)
    match how:
        case "flip":
            flip_bit(first, first.stat().st_size - 3)
        case "flip in a manifest":
            file = folder / MANIFEST
            flip_bit(file, file.read_bytes().index(b"rows") if b"rows" in file.read_bytes() else 40)
        case "cut":
            first.write_bytes(first.read_bytes()[:-1])
        case "gone":
            first.unlink()
        case "no manifest":
            (folder / MANIFEST).unlink()
        case "flip in keys":
            flip_bit(folder / "keys.npy", (folder / "keys.npy").stat().st_size - 1)


WAYS = ("flip", "cut", "gone", "no manifest", "flip in a manifest", "flip in keys")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, opt: Path) -> Path:
    """A folder with a dataset `d`, and its cache `c` of several shards."""
    folder = tmp_path_factory.mktemp("whole")
    dataset = save_dataset(folder / "d", TEXTS)
    extracted(dataset, opt, folder / "c", shard_rows=ROWS)
    return folder


@pytest.fixture
def cache(whole: Path, tmp_path: Path) -> Path:
    shutil.copytree(whole / "c", tmp_path / "c")
    return tmp_path / "c"


@pytest.fixture
def dataset_of_whole(whole: Path) -> Dataset:
    return open_dataset(whole / "d")


@pytest.mark.parametrize("part", ["shards", "datasets"])
@pytest.mark.parametrize("how", WAYS[:5])
def test_damage_is_named_where_there_is_nothing_to_do(
    whole: Path, cache: Path, dataset_of_whole: Dataset, opt: Path, how: str, part: str
) -> None:
    folder = sorted((cache / part).iterdir())[0]
    damage(folder, how)
    with pytest.raises(CacheError, match=rf"{folder}.*; run `tcf extract` again with --repair"):
        extracted(dataset_of_whole, opt, cache, shard_rows=ROWS)


@pytest.mark.usefixtures("shown_log")
def test_what_is_damaged_in_any_way_is_made_anew(
    whole: Path, cache: Path, dataset_of_whole: Dataset, opt: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shards = sorted((cache / "shards").iterdir())
    for folder, how in zip(shards, WAYS, strict=False):
        damage(folder, how)
    damage(next((cache / "datasets").iterdir()), "flip")
    repaired = extracted(dataset_of_whole, opt, cache, shard_rows=ROWS, repair=True)
    assert content(cache) == content(whole / "c")
    assert repaired.computed == repaired.sequences
    said = capsys.readouterr().err
    assert f"{cache}: --repair has dropped {len(shards)} damaged shards and 1 damaged text map" in said
    assert said.count("repair: dropping ") == len(shards) + 1
    assert "again with --repair" not in said  # that is being done


@pytest.mark.usefixtures("shown_log")
def test_what_is_whole_stays_and_other_datasets_are_named(
    cache: Path, whole: Path, dataset_of_whole: Dataset, opt: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = content(cache)
    assert extracted(dataset_of_whole, opt, cache, shard_rows=ROWS, repair=True).computed == 0
    assert content(cache) == before
    other = save_dataset(tmp_path / "other", TEXTS[:2])
    extracted(other, opt, cache)
    opened = VectorCache.open(cache)
    elsewhere = next(n for n in range(len(opened.folders)) if n not in opened.shards_of(opened.rows_for(other)))
    lost = int(opened.starts[elsewhere + 1] - opened.starts[elsewhere])
    damage(opened.folders[elsewhere], "flip")
    capsys.readouterr()
    assert extracted(other, opt, cache, repair=True).computed == 0
    said = capsys.readouterr().err
    assert "--repair has dropped 1 damaged shard and 0 damaged text maps" in said
    assert f"{cache}: {lost} token sequences of other datasets were in the damaged shards; run `tcf extract`" in said
    assert extracted(dataset_of_whole, opt, cache, shard_rows=ROWS).computed == lost


def test_a_shard_that_another_worker_computes_is_left_to_it(
    cache: Path, dataset_of_whole: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:

    folder = sorted((cache / "shards").iterdir())[0]
    damage(folder, "flip")
    with monkeypatch.context() as patch:
        patch.setattr(shard_leases, "acquire", lambda file: False)
        assert drop_damaged(cache, VECTORS).shards == 0
    assert drop_damaged(cache, VECTORS).shards == 1
    assert drop_damaged(cache, VECTORS).shards == 0


def test_a_cache_whose_own_manifest_is_damaged_is_not_repaired(
    cache: Path, dataset_of_whole: Dataset, opt: Path
) -> None:
    file = cache / MANIFEST
    flip_bit(file, file.read_bytes().index(b"small"))
    with pytest.raises(CacheError, match="changed since it was written; the origin of its numbers is unknown"):
        extracted(dataset_of_whole, opt, cache, repair=True)


def test_what_cannot_be_read_is_not_dropped(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:

    before = content(cache)
    monkeypatch.setattr(os, "access", lambda file, mode: False)
    with pytest.raises(RunError, match=r"cannot be read \(permission denied\); fix that"):
        module.drop_damaged(cache, VECTORS)
    assert content(cache) == before


def test_one_of_several_jobs_does_not_repair() -> None:
    with pytest.raises(ConfigError, match="--repair: expected no --shards"):
        config(shards="0/2", repair=True)
