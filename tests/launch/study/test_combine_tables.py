"""Combinations in study and pipeline files: what they join, and their units, counted by hand."""

from collections import Counter
from pathlib import Path

import pytest

from small.launch.pipelines import FILE
from small.launch.studies import STUDY, changed, study_of
from tcf.common.errors import ConfigError
from tcf.config.combine import CombineConfig
from tcf.launch.study.expand import expand
from tcf.launch.study.study import Study
from tcf.launch.study.study_file import StudyFile
from tcf.launch.units.tasks import CombineTask, EvaluateTask, RecommendTask
from tcf.launch.units.unit import Unit, check_names, decode_unit

BOTH = '[combine.both]\nbaselines = ["co-occurrence"]\n'
TEXT, IDS = "tiny-sasrec-text", "sasrec-id"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def file_of(folder: Path, tables: str, *overrides: str, text: str = STUDY) -> StudyFile:
    return study_of(folder, text.replace("[evaluate]", f"{tables}[evaluate]", 1), *overrides)


def expanded(folder: Path, tables: str, *overrides: str, text: str = STUDY) -> Study:
    study = expand(file_of(folder, tables, *overrides, text=text), write=False)
    check_names(study.units)
    assert all(decode_unit(unit.as_message()) == unit for unit in study.units)
    return study


def pipeline(folder: Path, tables: str, *overrides: str) -> Study:
    return expanded(folder, tables, *overrides, text=FILE.replace("FORMAT", "tcf"))


def unit_of(study: Study, name: str) -> Unit:
    return next(unit for unit in study.units if unit.name == name)


def combining(study: Study, name: str) -> CombineTask:
    task = unit_of(study, name).task
    assert isinstance(task, CombineTask)
    return task


def test_units_of_a_combination_for_each_seed(here: Path) -> None:
    study = expanded(here, BOTH, "grid.seeds=[0, 7]", "evaluate.recommend=4", "combine.both.fit_users=9")
    plain = expanded(here, "", "grid.seeds=[0, 7]", "evaluate.recommend=4")
    assert Counter(unit.name for unit in study.units) - Counter(unit.name for unit in plain.units) == Counter(
        [
            *(f"{stage}/walks/both/seed-{seed}" for stage in ("combine", "evaluate") for seed in (0, 7)),
            "recommend/walks/both",
        ]
    )
    out = here / "out"
    assert unit_of(study, "combine/walks/both/seed-7").needs == (
        f"train/walks/{TEXT}/seed-7",
        f"train/walks/{IDS}/seed-7",
    )
    task = combining(study, "combine/walks/both/seed-7")
    assert task.runs == tuple(out / f"runs/walks/{name}/seed-7" for name in (TEXT, IDS))
    assert (task.names, task.baselines) == ((TEXT, IDS), ("co-occurrence",))
    assert (task.out, task.config) == (out / "combinations/walks/both/seed-7", CombineConfig(fit_users=9))
    assert task.command == (
        f"tcf combine {TEXT}={task.runs[0]} {IDS}={task.runs[1]} --baseline co-occurrence --out {task.out} "
        "--fit-users=9"
    )
    evaluate = unit_of(study, "evaluate/walks/both/seed-7")
    assert isinstance(evaluate.task, EvaluateTask) and evaluate.needs == ("combine/walks/both/seed-7",)
    assert (evaluate.task.run_folder, evaluate.task.out) == (task.out, out / "evaluations/walks/both/seed-7")
    recommend = unit_of(study, "recommend/walks/both")
    assert isinstance(recommend.task, RecommendTask) and recommend.needs == ("combine/walks/both/seed-0",)
    assert recommend.task.run_folder == out / "combinations/walks/both/seed-0"
    assert study.recommendations["walks/both"] == out / "recommendations/walks/both.parquet"
    assert "evaluate/walks/both/seed-0" in unit_of(study, "compare").needs
    assert [unit.stage for unit in study.units].index("combine") > max(
        place for place, unit in enumerate(study.units) if unit.stage == "train"
    )


def test_runs_of_all_seeds_in_one_combination(here: Path) -> None:
    study = expanded(here, BOTH + 'seeds = "together"\n', "grid.seeds=[0, 7]")
    task = combining(study, "combine/walks/both")
    assert task.names == tuple(f"{name}-seed-{seed}" for name in (TEXT, IDS) for seed in (0, 7))
    assert task.runs == tuple(here / f"out/runs/walks/{name}/seed-{seed}" for name in (TEXT, IDS) for seed in (0, 7))
    assert len(unit_of(study, "combine/walks/both").needs) == 4
    [planned] = study.combinations
    assert planned.evaluations == {0: here / "out/evaluations/walks/both"}
    assert planned.runs(0) == task.runs and planned.of_all_seeds
    assert planned.axes == {"dataset": "walks", "combines": f"{TEXT}, {IDS}, co-occurrence"}


def test_entries_match_settings_on_each_dataset(here: Path) -> None:
    text = changed("[encoders.tiny]", '[datasets.more]\nraw = "m"\nformat = "tcf"\n[encoders.tiny]')
    tables = '[combine.few]\nruns = [{ items = "id" }, { layer = 0 }, { items = "id", dataset = "more" }]\n'
    file = file_of(here, tables, "grid.layers=[-1, 0]", text=text)
    # In the order of the entries, each setting once.
    assert [(one.name, one.members) for one in file.combinations] == [
        (f"{name}/few", (f"{name}/sasrec-id", f"{name}/tiny-layer0-sasrec-text")) for name in ("walks", "more")
    ]
    tables = '[combine.one]\nruns = [{ items = "id", dataset = "more" }]\nbaselines = ["popularity"]\n'
    file = file_of(here, tables, text=text)
    assert [(one.name, one.members) for one in file.combinations] == [("more/one", ("more/sasrec-id",))]


def test_a_pipeline_names_its_runs(here: Path) -> None:
    study = pipeline(here, '[combine.both]\nruns = ["id", "text"]\n', "train.id.seed=5")
    task = combining(study, "combine/both")
    assert (task.names, task.runs) == (("id", "text"), (here / "out/runs/id", here / "out/runs/text"))
    assert task.out == here / "out/combinations/both"
    [planned] = study.combinations
    assert planned.evaluations == {5: here / "out/evaluations/both"} and planned.runs(5) == task.runs
    assert unit_of(study, "recommend/both").needs == ("combine/both",)
    every = pipeline(here, BOTH, "seeds=[2, 3]")
    assert combining(every, "combine/both/seed-3").runs == tuple(here / f"out/runs/{n}/seed-3" for n in ("text", "id"))


def places(study: Study) -> set[str]:
    return {str(out.relative_to(study.out)) for unit in study.units for out in unit.task.outputs}


@pytest.mark.parametrize(
    ("override", "kinds"),
    [
        ("train.epochs=2", {"runs", "combinations", "evaluations"}),
        ("combine.both.shortlist=20", {"combinations", "evaluations"}),
        ('combine.both.seeds="together"', {"combinations", "evaluations"}),
        ('combine.both.baselines=["popularity"]', {"combinations", "evaluations"}),
        ('combine.both.runs=[{items="id"}, {items="text"}]', {"combinations", "evaluations"}),
        ("evaluate.seen=mask", {"evaluations"}),
        ("combine.both.device=cpu", set()),
        ("train.save_minutes=1.0", set()),
    ],
)
def test_another_member_or_setting_makes_another_combination_beside_the_old_one(
    here: Path, override: str, kinds: set[str]
) -> None:
    def at(*overrides: str) -> set[str]:
        return places(expand(file_of(here, BOTH, "grid.seeds=[0, 1]", *overrides)))

    before, after = at(), at(override)
    moved = {Path(place).parts[0] for place in after - before if "both" in place or "runs" in place}
    assert moved == kinds
    assert at() == before


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        (
            '[combine.x]\nruns = [{ items = "text+id" }]\n',
            r"\[combine\.x\] runs: expected entries that match a setting",
        ),
        ('[combine.x]\nruns = [{ itms = "id" }]\n', r"\[combine\.x\] runs: unknown axis itms"),
        ('[combine.x]\nruns = ["id"]\n', r"\[combine\.x\] runs: expected tables such as"),
        (
            '[combine.x]\nruns = [{ items = "id" }]\n',
            r"\[combine\.x\] expected a run or more, and two .*, found runs: 1, baselines: 0 on walks",
        ),
        (
            '[combine.x]\nbaselines = ["random"]\n',
            r"\[combine\.x\] baselines: expected any of co-occurrence, popularity",
        ),
        ('[combine.x]\nseeds = "all"\n', r"\[combine\.x\] seeds: expected one of each, together, found 'all'"),
        ("[combine.x]\nshort_list = 3\n", r"\[combine\.x\] unknown setting short_list; did you mean shortlist"),
        ("[combine.x]\nshortlist = 0\n", r"\[combine\.x\]: shortlist: expected at least 1, found 0"),
        ("[combine.x]\nruns = []\n", r"\[combine\.x\] runs: expected an entry or more, found none"),
        (
            '[combine.x]\nbaselines = ["popularity", "popularity"]\n',
            r"\[combine\.x\] baselines: expected each once, found popularity, popularity",
        ),
        (
            "[combine.x]\nweights = [1, 2, 3]\n",
            r"\[combine\.x\] weights: expected 2, one for each member on walks, runs first, found 3",
        ),
        ("[combine.popularity]\n", r"\[combine\.popularity\] expected a name that no run and no baseline has"),
        (f"[combine.{IDS}]\n", r"expected a name that no run and no baseline has; rename the table"),
        ("combine = 3\n", r"\[combine\] expected tables such as \[combine\.combined\], found 3"),
    ],
)
def test_errors_of_a_study_file(tmp_path: Path, tables: str, message: str) -> None:
    text = STUDY if tables.startswith("[") else tables + STUDY
    with pytest.raises(ConfigError, match=message):
        file_of(tmp_path, tables if tables.startswith("[") else "", text=text)


@pytest.mark.parametrize(
    ("tables", "overrides", "message"),
    [
        ('[combine.x]\nruns = ["ids"]\n', (), r"\[combine\.x\] runs: unknown run 'ids'; did you mean id\?"),
        ("[combine.text]\n", (), r"\[combine\.text\] expected a name that no run"),
        ("[combine.popularity]\n", (), r"\[combine\.popularity\] expected a name that no run and no baseline has"),
        ("[combine.x]\n", ("train.id.refit=true",), r"expected all or none of the runs to be refits, found that id is"),
        (BOTH, ("evaluate.search=faiss",), r"\[combine\.both\] baselines: expected \[evaluate\] search = \"torch\""),
    ],
)
def test_errors_of_a_pipeline_file(tmp_path: Path, tables: str, overrides: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        file_of(tmp_path, tables, *overrides, text=FILE.replace("FORMAT", "tcf"))
