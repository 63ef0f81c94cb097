"""The directory of a combination: runs that move, damage, kills, other files."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from small.evaluate.member_runs import trained
from tcf.common.errors import ConfigError, RunError
from tcf.common.manifest import read_manifest, seal
from tcf.config.combine import CombineConfig
from tcf.evaluate.combination.combine import combine
from tcf.evaluate.combination.combined_run import open_combination
from tcf.evaluate.combination.listed_combinations import find_combinations
from tcf.evaluate.combination.recorded_combination import COMBINATION
from tcf.evaluate.finished_run import read_finished_run

CPU = CombineConfig(device="cpu")


def moved(folder: Path, place: Path, change: Callable[[Path], object]) -> Path:
    """A combination of copies of runs, of which something changes afterwards."""
    for name in ("data", "cache", "text", "id"):
        shutil.copytree(folder / name, place / name)
    config = CombineConfig(device="cpu", weights=(1, 1))
    out = combine([place / "text", place / "id"], out=place / "c", config=config, baselines=[]).path
    change(place)
    return out


def test_a_run_that_has_moved_is_named_with_its_place_and_found_by_its_new_one(folder: Path, tmp_path: Path) -> None:
    out = moved(folder, tmp_path, lambda place: (place / "id").rename(place / "away"))
    with pytest.raises(RunError, match=rf"expected the run id that it combines at {tmp_path}/id.*--run id=PATH"):
        open_combination(out)
    with pytest.raises(RunError, match=r"c: expected the run id|text: expected the run id .*found another"):
        open_combination(out, runs={"id": tmp_path / "text"})
    with pytest.raises(RunError, match=rf"combines at {tmp_path}/gone, found nothing there; name the right place with"):
        open_combination(out, runs={"id": tmp_path / "gone"})
    with pytest.raises(ConfigError, match="ids=.*expected a run among the members.*did you mean id"):
        open_combination(out, runs={"ids": tmp_path / "away"})
    (tmp_path / "id").mkdir()
    with pytest.raises(RunError, match="found no finished run there"):
        open_combination(out)
    # The run's own inputs are where they were, relative to it.
    found = open_combination(out, runs={"id": tmp_path / "away"}, device="cpu")
    assert found.item_vectors().shape == (30, 16)
    with pytest.raises(ConfigError, match="--cache: expected the 1 caches"):
        open_combination(out, runs={"id": tmp_path / "away"}, caches=[tmp_path / "cache"] * 2)


def test_caches_that_moved_are_those_that_runs_read_not_what_ids_started_from(folder: Path, tmp_path: Path) -> None:
    data, cache = folder / "data", folder / "cache"
    started = trained(tmp_path, "started", data, cache, items="id", id_init="text")
    moved_cache = shutil.copytree(cache, tmp_path / "elsewhere")
    config = CombineConfig(device="cpu", weights=(1, 1))
    out = combine([started, folder / "text"], out=tmp_path / "c", config=config, caches=[moved_cache]).path
    found = [run.inputs.paths for run in open_combination(out, caches=[moved_cache], device="cpu").runs]
    assert [paths.get("cache") for paths in found] == [None, moved_cache]


def test_a_folder_of_everything_may_be_moved_as_a_whole(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    out = moved(folder, tmp_path / "one", lambda place: place.rename(tmp_path / "two"))
    assert [member.name for member in open_combination(tmp_path / "two" / out.name).members] == ["text", "id"]


@pytest.mark.parametrize("file", ["c/config.toml", "c/manifest.json", "id/model.safetensors", "id/manifest.json"])
def test_damage_is_noticed(folder: Path, tmp_path: Path, file: str) -> None:
    def change(place: Path) -> None:
        content = bytearray((place / file).read_bytes())
        content[len(content) // 2] ^= 1
        (place / file).write_bytes(content)

    out = moved(folder, tmp_path, change)
    with pytest.raises(RunError, match=re.escape(file)):
        open_combination(out, verify="always").item_vectors()


@pytest.mark.parametrize("facts", [{}, {"members": [{"name": "text"}]}])
def test_a_manifest_without_members_is_damaged_for_whoever_reads_it(
    folder: Path, tmp_path: Path, facts: dict[str, Any]
) -> None:
    out = moved(folder, tmp_path, lambda place: None)
    manifest = read_manifest(out, COMBINATION)
    seal(out, COMBINATION, inputs=manifest.inputs, config=manifest.config, facts=facts)
    with pytest.raises(RunError, match=r"expected .*members"):
        open_combination(out)
    [found] = find_combinations(out)
    assert found.state == "damaged" and "members" in found.problem


def test_nothing_is_left_by_a_kill_and_other_files_are_refused(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs, out = [folder / "text", folder / "id"], tmp_path / "c"

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("tcf.evaluate.combination.combine.seal", killed)
        with pytest.raises(KeyboardInterrupt):
            combine(runs, out=out, config=CombineConfig(device="cpu", weights=(1, 1)))
    assert [*tmp_path.iterdir()] == []
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match="c: expected an unused path, found a directory with files"):
        combine(runs, out=out, config=CPU)


def test_a_combination_without_a_readable_manifest_is_still_known_as_one(folder: Path, tmp_path: Path) -> None:
    out = moved(folder, tmp_path, lambda place: (place / "c" / "manifest.json").write_text('{"format'))
    with pytest.raises(RunError, match=r"c/manifest\.json: .*remove .*c and run `tcf combine` again"):
        read_finished_run(out)
    [found] = find_combinations(tmp_path)
    assert (found.path, found.state) == (out, "damaged") and "manifest.json" in found.problem
    (tmp_path / "id" / "manifest.json").write_text("{")  # of a run, which says so itself
    with pytest.raises(RunError, match=r"id/manifest\.json: .*run `tcf train` again"):
        read_finished_run(tmp_path / "id")


def test_errors_name_a_run_where_it_is_and_not_by_steps_back(folder: Path, tmp_path: Path) -> None:
    out = moved(folder, tmp_path, lambda place: (place / "id" / "model.safetensors").unlink())
    with pytest.raises(RunError, match=re.escape(f"{tmp_path}/id/model.safetensors: expected a file")):
        open_combination(out)
    # Behind a link, the folder above is that of its target.
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "link").symlink_to(out)
    with pytest.raises(RunError, match=re.escape("far/link/../id/model.safetensors: expected a file")):
        open_combination(tmp_path / "far" / "link")
