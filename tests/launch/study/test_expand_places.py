"""Places of results: other settings get another place, and settings that come back find their own."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from small.launch.pipelines import FILE, workplace, write_tcf
from small.launch.studies import STUDY, changed, study_of, study_place
from tcf.common.errors import RunError
from tcf.launch.study.expand import expand
from tcf.launch.study.places import Places
from tcf.launch.study.study import Study
from tcf.launch.study.study_file import read_study

TEXT, IDS = "walks/tiny-sasrec-text", "walks/sasrec-id"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def expanded(folder: Path, *overrides: str, text: str = STUDY, write: bool = True) -> Study:
    return expand(study_of(folder, text, *overrides), write=write)


def places(study: Study) -> set[str]:
    """Where everything is that a study makes, below its folder; numbers in names are kept short."""
    made = (out for unit in study.units if unit.stage not in ("download", "compare") for out in unit.task.outputs)
    return {str(out.relative_to(study.out)) for out in made}


def runs(study: Study) -> list[str]:
    return [str(run.relative_to(study.out / "runs")) for setting in study.settings for run in setting.runs.values()]


def run_all(study: Study) -> None:
    for unit in study.units:
        if unit.stage != "compare":
            unit.task.run()


def stamps(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_a_changed_setting_makes_a_new_run_and_back_again_the_old_one_is_found(here: Path) -> None:
    first = expanded(here)
    assert runs(first) == [f"{TEXT}/seed-0", f"{IDS}/seed-0"]
    wide = expanded(here, "train.width=16")
    assert all(
        len(new) == len(old) + 9 and new.startswith(old[:-7]) for new, old in zip(runs(wide), runs(first), strict=True)
    )
    assert not places(wide) & {f"runs/{name}" for name in runs(first)}
    assert {"datasets/walks", "caches/tiny/layer-1", "evaluations/walks/popularity"} <= places(wide)
    assert places(expanded(here)) == places(first)
    assert places(expanded(here, "train.width=16")) == places(wide)
    # The grid has both now; each has the place that it had.
    text = STUDY.replace("width = 8\n", "").replace("seeds = [0]", "seeds = [0]\nwidth = [8, 16]")
    assert set(runs(expanded(here, text=text))) == {*runs(first), *runs(wide)}


def test_further_seeds_and_what_decides_nothing_keep_the_place(here: Path) -> None:
    first = expanded(here)
    more = expanded(here, "grid.seeds=[0, 1]", "train.save_minutes=1.0", "train.patience=5", "launch.workers=2")
    assert runs(more)[:2] == [f"{TEXT}/seed-0", f"{TEXT}/seed-1"]
    assert set(runs(first)[:1]) < set(runs(more))
    assert expanded(here, "grid.seeds=[1]").settings[0].runs == {1: here / "out/runs" / TEXT / "seed-1"}
    layers = expanded(here, "grid.layers=[-1, 0]")
    assert {"caches/tiny/layer-1", "caches/tiny/layer0", f"runs/{TEXT}/seed-0"} <= places(layers)
    assert (
        expanded(here, "extract.shard_rows=7", "extract.verify=always").settings[0].caches == first.settings[0].caches
    )


@pytest.mark.parametrize(
    ("override", "kinds"),
    [
        ("datasets.walks.min_history=6", {"datasets", "runs", "evaluations"}),
        ("extract.max_tokens=9", {"caches", "runs", "evaluations"}),
        ("encoders.tiny.model=minilm", {"caches", "runs", "evaluations"}),
        ("train.epochs=2", {"runs", "evaluations"}),
        ("evaluate.seen=mask", {"evaluations"}),
    ],
)
def test_what_reads_something_else_moves_as_well(here: Path, override: str, kinds: set[str]) -> None:
    before, after = places(expanded(here)), places(expanded(here, override))
    assert {Path(place).parts[0] for place in after - before} == kinds


def test_other_raw_files_make_everything_anew_beside_what_was_made_of_the_old_ones(here: Path) -> None:
    write_tcf(here / "raw")
    first = places(expanded(here))
    items = here / "raw" / "items.tsv"
    before = items.read_text()
    items.write_text(f"{before}new\ta new item\n")
    # A cache serves any number of datasets.
    assert places(expanded(here)) & first == {"caches/tiny/layer-1"}
    items.write_text(before)
    assert places(expanded(here)) == first


def test_another_dataset_at_the_same_path_moves_its_runs(here: Path) -> None:
    text = changed('raw = "raw"\nformat = "tcf"', 'path = "d"')
    (here / "d").mkdir()

    def of(fingerprint: str) -> list[str]:
        (here / "d/manifest.json").write_text(json.dumps({"fingerprint": fingerprint}))
        return runs(expanded(here, text=text))

    first, second = of("a"), of("b")
    assert not {*first} & {*second} and of("a") == first


def test_a_dry_run_writes_nothing_and_says_the_same(here: Path) -> None:
    assert runs(expanded(here, write=False)) == [f"{TEXT}/seed-0", f"{IDS}/seed-0"]
    assert [path.name for path in here.iterdir()] == ["s.toml"]
    expanded(here)
    noted = (here / "out/state/places.json").read_bytes()
    wide = expanded(here, "train.width=16", write=False)
    assert (here / "out/state/places.json").read_bytes() == noted
    assert places(expanded(here, "train.width=16")) == places(wide)


def test_damaged_notes_are_refused(here: Path) -> None:
    expanded(here)
    file = here / "out/state/places.json"
    good = file.read_text()
    for bad in (good.replace("datasets/walks", "datasets/other"), good[:40], "[]", json.dumps({"version": 1})):
        file.write_text(bad)
        with pytest.raises(RunError, match=r"places\.json: expected notes of which .*; remove this file: results that"):
            expanded(here)


def test_two_processes_that_note_places_lose_none(here: Path) -> None:
    one, other = Places.open(here), Places.open(here)
    one.of("a", "1" * 64, lambda path: False)
    other.of("b", "2" * 64, lambda path: False)
    one.write()
    other.write()
    assert Places.open(here).noted == {"a": "1" * 64, "b": "2" * 64}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with all results of the study, and of a pipeline."""
    folder = tmp_path_factory.mktemp("finished")
    study_place(folder)
    (folder / "with pipeline").mkdir()
    workplace(folder / "with pipeline")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run_all(expand(read_study(Path("s.toml"), ["grid.layers=[-1, 0]"])))
        patch.chdir(folder / "with pipeline")
        Path("p.toml").write_text(short_pipeline())
        run_all(expand(read_study(Path("p.toml"))))
    yield folder


def short_pipeline() -> str:
    text = FILE.replace("FORMAT", "tcf").replace("epochs = 2", "epochs = 1").replace("recommend = 4\n", "")
    return text.replace(', "random", "co-occurrence"', "")


def test_results_are_found_again_without_notes(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(finished)
    overrides = ["grid.layers=[-1, 0]"]
    before = expand(read_study(Path("s.toml"), overrides), write=False)
    wide = expand(read_study(Path("s.toml"), [*overrides, "train.width=16"]), write=False)
    (finished / "out/state/places.json").rename(finished / "kept")
    assert places(expand(read_study(Path("s.toml"), overrides), write=False)) == places(before)
    # One seed more: the places that were there are still these results' own.
    more = expand(read_study(Path("s.toml"), [*overrides, "grid.seeds=[0, 1]"]), write=False)
    assert [one.runs[0] for one in more.settings] == [one.runs[0] for one in before.settings]
    # One layer less: its cache is found.
    fewer = expand(read_study(Path("s.toml")), write=False)
    assert str(fewer.settings[0].caches[0].relative_to(fewer.out)) == "caches/tiny/layer-1"
    # Others have what is there, so these settings get what they had beside it.
    assert places(expand(read_study(Path("s.toml"), [*overrides, "train.width=16"]), write=False)) == places(wide)
    other = expand(read_study(Path("s.toml"), [*overrides, "datasets.walks.min_history=6"]), write=False)
    assert not {place for place in places(other) & places(before) if not place.startswith("caches")}
    (finished / "kept").rename(finished / "out/state/places.json")


def test_nothing_is_done_twice(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(finished, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    study = expand(read_study(Path("s.toml"), ["grid.layers=[-1, 0]"]))
    before = stamps(tmp_path / "copy/out/runs") | stamps(tmp_path / "copy/out/evaluations")
    run_all(study)
    assert stamps(tmp_path / "copy/out/runs") | stamps(tmp_path / "copy/out/evaluations") == before


def test_a_pipeline_of_an_earlier_version_is_found(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(finished / "with pipeline")
    shutil.rmtree("out/state", ignore_errors=True)  # which earlier versions had not

    def of(*overrides: str) -> Study:
        return expand(read_study(Path("p.toml"), overrides), write=False)

    assert places(of()) == {
        "dataset", "cache", "runs/text", "runs/id", "evaluations/text", "evaluations/id", "evaluations/popularity",
    }  # fmt: skip
    # A setting that changes now makes a result beside it, and so do seeds.
    new = places(of("train.id.width=16")) - places(of())
    assert sorted(place[:-8] for place in new) == ["evaluations/id-", "runs/id-"]
    assert all(run.startswith(("text-", "id-")) for run in runs(of("seeds=[0, 1]")))
    assert {place for place in places(of("extract.max_tokens=9")) if place.startswith("cache-")}
    assert "runs/id" in places(of("extract.max_tokens=9"))


def test_parts_and_two_datasets_fill_one_cache(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(finished)
    text = (finished / "s.toml").read_text() + '[datasets.longer]\nraw = "raw"\nformat = "tcf"\nmin_history = 6\n'
    (finished / "two.toml").write_text(text)
    given = ["launch.extract.workers=2", "extract.shard_rows=8", 'out="two"', 'grid.items=["text"]']
    study = expand(read_study(Path("two.toml"), given))
    cache = study.out / "caches/tiny/layer-1"
    made: dict[str, set[str]] = {}
    for unit in study.units:
        if unit.stage in ("prepare", "extract"):
            unit.task.run()
            made[unit.name] = {path.name for path in (cache / "shards").glob("[!.]*")} if cache.exists() else set()
    parts = [f"extract/tiny/walks/part-{part}-of-2" for part in range(2)]
    assert len(made[parts[0]]) == len(made[parts[1]]) / 2 > 0
    # The unit that finishes them, and the other dataset, whose texts are the same, find all of it.
    assert made["extract/tiny/walks"] == made["extract/tiny/longer"] == made[parts[1]]
    assert len(list((cache / "datasets").glob("[!.]*"))) == 2
    for unit in study.units:
        if unit.stage == "train":
            unit.task.run()
    assert len(study.settings) == 2
