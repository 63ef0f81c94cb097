"""A small study and a small pipeline with combinations, run in this process."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file

from small.launch.pipelines import FILE, write_tcf
from small.launch.studies import STUDY, study_place
from small.launch.study_here import InThisProcess, Opener, run_pipeline_here
from tcf.config.launch import LaunchConfig
from tcf.evaluate.combination.combined_run import open_combination
from tcf.evaluate.evaluation import Evaluation
from tcf.evaluate.seeds import SeedEvaluations
from tcf.launch.study.expand import expand
from tcf.launch.study.results.study_result import StudyResult
from tcf.launch.study.run_study import run_study
from tcf.launch.study.study import Study
from tcf.launch.study.study_file import read_study
from tcf.launch.units.records import Records
from tcf.launch.units.tasks import Stage
from tcf.launch.units.unit import Unit
from tcf.train.run.open_run import open_run

TABLES = """
[combine.both]
baselines = ["co-occurrence"]
shortlist = 5
device = "cpu"
[evaluate]
resamples = 100
"""
OVERRIDES = ("grid.layers=[[0, -1]]", "evaluate.recommend=2")
TEXT, IDS = "tiny-sasrec-text", "sasrec-id"


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("combined")
    study_place(folder).write_text(STUDY.replace("[evaluate]\n", TABLES))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder


class KilledBefore(Opener):
    """Opens launchers that are killed when a unit of this stage is about to begin."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self.stage = stage

    def __call__(self, launch: Mapping[Stage, LaunchConfig], records: Records) -> InThisProcess:
        """Open one."""
        launcher = _Killed(records, self.stage)
        self.taken = launcher.taken
        return launcher


class _Killed(InThisProcess):
    def __init__(self, records: Records, stage: Stage) -> None:
        super().__init__(records)
        self.stage = stage

    def take(self, units: Sequence[Unit]) -> Sequence[Unit]:
        """Run the first unit, or be killed."""
        if units[0].stage == self.stage:
            raise KeyboardInterrupt
        return super().take(units)


def study_of(*overrides: str) -> Study:
    return expand(read_study(Path("s.toml"), [*OVERRIDES, *overrides]))


def run(opener: Opener, *overrides: str) -> StudyResult:
    done = run_study(study_of(*overrides), [*OVERRIDES, *overrides], opener)
    done.check()
    return done


@pytest.fixture(scope="module")
def finished(here: Path) -> StudyResult:
    """The study, killed once before it combines, and finished."""
    with pytest.raises(KeyboardInterrupt):
        run(KilledBefore("combine"))
    opener = Opener()
    done = run(opener)
    assert opener.taken[0] == "combine/walks/both/seed-0"
    assert not [name for name in opener.taken if name.startswith(("train", "extract"))]
    return done


def test_the_combination_joins_the_runs_of_the_study(finished: StudyResult) -> None:
    combined = open_combination(finished.path / "combinations/walks/both/seed-0", device="cpu")
    assert [(member.name, member.kind) for member in combined.members] == [
        (TEXT, "run"),
        (IDS, "run"),
        ("co-occurrence", "co-occurrence"),
    ]
    assert combined.config.shortlist == 5
    runs = [finished.path / f"runs/walks/{name}/seed-0" for name in (TEXT, IDS)]
    assert [run.path.resolve() for run in combined.runs] == [run.resolve() for run in runs]
    # Two layers together: their vectors stand side by side.
    caches = [finished.path / f"caches/tiny/layer{layer}" for layer in (0, -1)]
    assert {*open_run(runs[0], device="cpu").manifest.inputs} == {"dataset", "cache", "cache.2"}
    assert finished.study.settings[0].caches == tuple(caches)


def test_its_evaluation_has_rows_like_that_of_a_run(finished: StudyResult) -> None:
    rows = finished.results.to_pylist()
    assert [(row["setting"], row["seed"]) for row in rows] == [
        ("popularity", "mean"),
        *((name, seed) for name in (TEXT, IDS, "both") for seed in ("0", "mean")),
    ]
    row = rows[-1]
    assert row["combines"] == f"{TEXT}, {IDS}, co-occurrence" and rows[1]["combines"] is None
    assert [one["layer"] for one in rows] == [None, "0+-1", "0+-1", *[None] * 4]
    assert row["recommender_parameters"] == rows[2]["recommender_parameters"] + rows[4]["recommender_parameters"]
    # The encoder counts once for both of its layers, whose vectors are read side by side.
    saved = load_file("model/model.safetensors").values()
    assert row["encoder_parameters"] == rows[1]["encoder_parameters"] == sum(values.size for values in saved)
    assert row["encoder_width"] == rows[1]["encoder_width"] == 2 * 32
    assert row["train_seconds"] is None and rows[1]["train_seconds"] > 0
    evaluation = finished.evaluations["walks/both"]
    assert isinstance(evaluation, Evaluation)
    assert row["hr@10"] == evaluation.metrics["hr@10"]
    compared = {row["ranking"] for row in finished.comparisons["walks"]["means"]}
    assert compared == {"popularity", TEXT, IDS, "both"}
    assert "both" in finished.summary()


def test_its_recommendations(finished: StudyResult) -> None:
    file = finished.study.recommendations["walks/both"]
    assert pq.read_table(file).num_rows == 2 * 54
    assert finished.as_json()["recommendations"]["walks/both"] == str(file)


def test_again_nothing_is_done_and_without_notes_all_is_found(finished: StudyResult) -> None:
    opener = Opener()
    run(opener)
    assert opener.taken == []
    places = finished.path / "state/places.json"
    kept = places.read_bytes()
    places.unlink()
    assert [one.combinations for one in study_of().combinations] == [
        one.combinations for one in finished.study.combinations
    ]
    other = study_of("combine.both.shortlist=6").combinations[0].combinations[0]
    assert other.parent.name.startswith("both-")
    places.write_bytes(kept)


def test_a_changed_member_makes_another_combination_beside_the_old_one(finished: StudyResult) -> None:
    before = (finished.path / "combinations/walks/both/seed-0/manifest.json").read_bytes()
    wide = ["grid.layers=[-1]", 'grid.items=["id"]', "combine.both.seeds=together"]
    opener = Opener()
    done = run(opener, *wide, "train.width=4", "grid.seeds=[0, 1]")
    [planned] = done.study.combinations
    [place] = planned.combinations.values()
    assert place.name.startswith("both-") and place.parent == finished.path / "combinations/walks"
    assert (finished.path / "combinations/walks/both/seed-0/manifest.json").read_bytes() == before
    names = [member.name for member in open_combination(place, device="cpu").members]
    assert names == [f"{IDS}-seed-0", f"{IDS}-seed-1", "co-occurrence"]
    # One combination of all seeds has one row, as a baseline has; it stands beside the means of the others.
    rows = done.results.to_pylist()
    assert [row["seed"] for row in rows if row["setting"] == "both"] == ["mean"]
    assert {row["ranking"] for row in done.comparisons["walks"]["means"]} == {"popularity", IDS, "both"}


def test_a_pipeline_with_several_seeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tcf(tmp_path / "raw")
    text = FILE.replace("FORMAT", "tcf").replace("epochs = 2", "epochs = 1").replace("[train.text]", "[train.wide]")
    text = text.replace('items = "text"', 'items = "id"').replace("width = 8", "width = 4", 1).replace("= 4\n", "= 2\n")
    text = text.replace('model = "model"\ndevices = "cpu"\ntokens_per_batch = 512\n', "").replace("[extract]\n", "")
    text = text.replace('"popularity", "random", "co-occurrence"', '"popularity"')
    (tmp_path / "p.toml").write_text("seeds = [3, 1]\n" + text.replace("[evaluate]\n", TABLES))
    monkeypatch.chdir(tmp_path)
    done = run_pipeline_here(Path("p.toml"))
    assert [*done.combinations] == ["both/seed-3", "both/seed-1"]
    mean = done.evaluations["both"]
    assert isinstance(mean, SeedEvaluations) and [*mean.evaluations] == [3, 1]
    assert [line.split()[0] for line in done.summary().split("\n\n")[0].splitlines()][1:5] == [
        *("popularity", "wide", "id", "both"),
    ]
    assert done.examples.startswith("Some recommendations of both/seed-3:\n")
    assert done.recommendations["both"] == Path("out/recommendations/both.parquet").absolute()
    assert done.as_json()["combinations"] == {name: str(path) for name, path in done.combinations.items()}
