"""Predictions for the units of a study made by hand: a text setting for each cache, and one on ids."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from small.train.runs import make_cache, make_dataset, walks
from tcf.config.combine import CombineConfig
from tcf.config.evaluate import EvaluateConfig
from tcf.config.extract import ExtractConfig
from tcf.config.prepare import PrepareConfig
from tcf.config.train import TrainConfig
from tcf.data.dataset import Dataset
from tcf.extract.plan.measured_rates import Rates
from tcf.extract.plan.planner import plan_for_data, planned_widths
from tcf.launch.study.predict import predict, with_predictions
from tcf.launch.study.predictions import paces
from tcf.launch.study.study import Study
from tcf.launch.units.records import Records
from tcf.launch.units.tasks import CombineTask, EvaluateTask, ExtractTask, PrepareTask, RecommendTask, TrainTask
from tcf.launch.units.unit import Unit
from tcf.train.trial import Pace
from tcf.train.vectors.item_vectors import ItemVectors

CONFIG = TrainConfig(width=16, blocks=1, batch_size=16, epochs=3, devices="cpu")
EVALUATE = EvaluateConfig(resamples=1000, device="cpu")
PACE = Pace(step=2.0, item=0.5, user=0.25, pair=0.125)
Tried = list[int]


@pytest.fixture(autouse=True)
def forgetful(own_home: None) -> None:
    """What other tests have timed is not remembered."""


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> Tried:
    """Widths of the vectors that are tried: 0 for ids; a step takes 2 s for ids, else a tenth of the width."""
    widths: Tried = []

    def trial(dataset: Dataset, data: object, vectors: ItemVectors | None, *rest: object) -> Pace:
        widths.append(0 if vectors is None else vectors.width)
        return PACE if vectors is None else dataclasses.replace(PACE, step=vectors.width / 10)

    monkeypatch.setattr(paces, "run_trial", trial)
    return widths


@pytest.fixture
def quick_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plans measure nothing."""
    rates = Rates(products=1e9, plain=1e9, block_share=1.0, storage=1e9)
    monkeypatch.setattr("tcf.extract.plan.planner.measure_rates", lambda *rest: rates)


@pytest.fixture
def data(tmp_path: Path) -> Dataset:
    return make_dataset(tmp_path, walks(), [f"text {i}" for i in range(30)])


def cache_of(folder: Path, dataset: Dataset, width: int) -> Path:
    vectors = np.random.default_rng(0).normal(size=(30, width)).astype(np.float16)
    return make_cache(folder, dataset, vectors, f"cache{width}").path


def trained(folder: Path, name: str, seed: int, caches: tuple[Path, ...], config: TrainConfig) -> list[Unit]:
    run = folder / "runs" / name / f"seed-{seed}"
    train = TrainTask(folder / "data", caches, run, dataclasses.replace(config, seed=seed))
    evaluate = EvaluateTask(run, "", None, (), folder / "evaluations" / name / f"seed-{seed}", EVALUATE)
    return [
        Unit(f"train/{name}/{seed}", train),
        Unit(f"evaluate/{name}/{seed}", evaluate, (f"train/{name}/{seed}",)),
    ]


def study_of(folder: Path, units: list[Unit]) -> Study:
    return Study(folder / "study.toml", folder, (), (), EVALUATE, 0, {}, tuple(units))


def of_ids(folder: Path, *seeds: int) -> Study:
    config = dataclasses.replace(CONFIG, items="id")
    return study_of(folder, [unit for seed in seeds for unit in trained(folder, "ids", seed, (), config)])


def finish(study: Study, name: str, seconds: float) -> None:
    """Record that a unit of the study is done."""
    records = Records(study.state)
    [unit] = [unit for unit in study.units if unit.name == name]
    for out in unit.task.outputs:
        out.mkdir(parents=True)
    records.write(dataclasses.replace(records.begin(unit, ""), ended="done", seconds=seconds))


def test_minutes_memory_and_disk_by_hand(tmp_path: Path, data: Dataset, tried: Tried) -> None:
    study = of_ids(tmp_path, 0)
    found = predict(study)
    training, evaluation = found["train/ids/0"], found["evaluate/ids/0"]
    # Sixty users and thirty items: each epoch is four steps, and ranks all items for all users.
    ranking = 30 * 0.5 + 60 * 0.25 + 60 * 30 * 0.125
    assert training.minutes == pytest.approx(3 * (4 * 2.0 + ranking) / 60)
    parameters = 30 * 16 + 20 * 16 + 32 + 4 * 256 + 2 * 32 + (16 + 1) * 64 + (64 + 1) * 16
    assert training.disk == 3 * 4 * parameters
    assert training.memory is not None and training.memory > 4 * 4 * parameters
    assert evaluation.minutes == pytest.approx((ranking + 7e-9 * 1000 * 60) / 60)
    assert evaluation.disk == 60 * 16


def combined(folder: Path, members: list[str], seed: int) -> list[Unit]:
    """The units that combine runs of a seed, evaluate that, and recommend from it."""
    runs = tuple(folder / "runs" / name / f"seed-{seed}" for name in members)
    out = folder / "combinations" / "both" / f"seed-{seed}"
    combine = CombineTask(runs, tuple(members), ("co-occurrence",), out, CombineConfig())
    evaluate = EvaluateTask(out, "", None, (), folder / "evaluations" / "both" / f"seed-{seed}", EVALUATE)
    recommend = RecommendTask(out, folder / "both.parquet", 4)
    return [
        Unit(f"combine/{seed}", combine, tuple(f"train/{name}/{seed}" for name in members)),
        Unit(f"evaluate/both/{seed}", evaluate, (f"combine/{seed}",)),
        Unit(f"recommend/both/{seed}", recommend, (f"combine/{seed}",)),
    ]


def test_a_combination_ranks_as_long_as_its_members_together(tmp_path: Path, data: Dataset, tried: Tried) -> None:
    units = of_ids(tmp_path, 0, 1).units + tuple(
        unit for seed in (0, 1) for unit in trained(tmp_path, "text", seed, (cache_of(tmp_path, data, 12),), CONFIG)
    )
    joined = [unit for seed in (0, 1) for unit in combined(tmp_path, ["ids", "text"], seed)]
    study = study_of(tmp_path, [*units, *joined, *combined(tmp_path, ["ids", "unknown"], 7)])
    found = predict(study)
    ranking = 30 * 0.5 + 60 * 0.25 + 60 * 30 * 0.125  # all items for sixty users, by either
    assert found["combine/0"].minutes == pytest.approx(2 * ranking / 60)
    assert found["recommend/both/0"].minutes == pytest.approx(2 * ranking / 60)
    assert found["evaluate/both/0"].minutes == pytest.approx((2 * ranking + 7e-9 * 1000 * 60) / 60)
    assert found["combine/7"].note == found["evaluate/both/7"].note == "not predicted"
    for name, seconds in (("combine/0", 30.0), ("evaluate/both/0", 90.0)):
        finish(study, name, seconds)
    again = predict(study)
    assert (again["combine/1"].minutes, again["evaluate/both/1"].minutes) == (0.5, 1.5)


def test_seeds_are_tried_once_and_remembered(tmp_path: Path, data: Dataset, tried: Tried) -> None:
    study = of_ids(tmp_path, 0, 1, 2)
    found = predict(study)
    assert len({found[f"train/ids/{seed}"] for seed in range(3)}) == 1
    assert tried == [0]
    assert predict(study).keys() == found.keys()
    assert tried == [0], "this machine knows the pace"


def test_only_the_narrowest_and_the_widest_vectors_are_tried(tmp_path: Path, data: Dataset, tried: Tried) -> None:
    caches = {width: cache_of(tmp_path, data, width) for width in (12, 20, 52)}
    units = [unit for width, cache in caches.items() for unit in trained(tmp_path, f"w{width}", 0, (cache,), CONFIG)]
    found = predict(study_of(tmp_path, units))
    assert sorted(tried) == [12, 52]
    steps = {width: (found[f"train/w{width}/0"].minutes or 0) * 60 / 3 for width in caches}
    # Four steps of a tenth of the width each.
    assert steps[20] - steps[12] == pytest.approx(4 * 0.8)
    assert steps[52] - steps[20] == pytest.approx(4 * 3.2)


@pytest.mark.parametrize(
    ("settings", "width"),
    [
        ({}, 32),
        ({"whiten": 4}, 8),
        ({"pca": 3, "mix": "weights"}, 6),
        ({"whiten": "full"}, 32),
        ({"whiten": 4, "whiten_form": "zca"}, 32),
        ({"whiten": 4, "whiten_form": "zca", "whiten_groups": 2, "whiten_sum": True}, 64),
    ],
    ids=str,
)
def test_what_a_training_reads_of_an_item(
    settings: dict[str, Any], width: int, tmp_path: Path, data: Dataset, tried: Tried
) -> None:
    """Two caches of widths 12 and 20, transformed as the settings say."""
    config, caches = dataclasses.replace(CONFIG, **settings), tuple(cache_of(tmp_path, data, n) for n in (12, 20))
    study = study_of(tmp_path, trained(tmp_path, "two", 0, caches, config))
    assert predict(study)["train/two/0"].minutes
    assert tried == [width]


def test_a_finished_seed_tells_the_time_of_the_others(tmp_path: Path, data: Dataset, tried: Tried) -> None:
    study = of_ids(tmp_path, 0, 1)
    finish(study, "train/ids/0", 90.0)
    finish(study, "evaluate/ids/0", 6.0)
    found = predict(study)
    assert found.keys() == {"train/ids/1", "evaluate/ids/1"}
    assert found["train/ids/1"].minutes == 1.5
    assert found["train/ids/1"].disk
    assert found["evaluate/ids/1"].minutes == pytest.approx(0.1)
    assert tried == []


def test_other_settings_take_another_time(tmp_path: Path, data: Dataset, tried: Tried) -> None:
    wider = dataclasses.replace(CONFIG, items="id", width=32)
    units = [*of_ids(tmp_path, 0).units, *trained(tmp_path, "wide", 0, (), wider)]
    study = study_of(tmp_path, [unit for unit in units if unit.stage == "train"])
    finish(study, "train/ids/0", 90.0)
    assert predict(study)["train/wide/0"].minutes != 1.5
    assert tried == [0]


def test_what_is_not_known_is_said(tmp_path: Path, tried: Tried) -> None:
    prepare = PrepareTask("movielens", str(tmp_path / "nowhere"), "", tmp_path / "data", PrepareConfig())
    text = trained(tmp_path, "text", 0, (tmp_path / "cache",), CONFIG)
    study = study_of(tmp_path, [Unit("prepare", prepare), *of_ids(tmp_path, 0).units, *text])
    found = predict(study)
    assert [found["train/ids/0"].minutes, found["train/ids/0"].memory, found["prepare"].minutes] == [None] * 3
    assert found["train/ids/0"].note == found["evaluate/ids/0"].note == "known once data is prepared"
    assert "cache" in found["train/text/0"].note
    assert tried == []


def test_a_small_dataset_is_prepared_for_now(tmp_path: Path, tried: Tried, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "items.tsv").write_text("item_id\ttitle\n" + "".join(f"i{i}\ttext {i}\n" for i in range(30)))
    lines = (f"u{user}\t{' '.join(f'i{item}' for item in items)}\n" for user, items in enumerate(walks()))
    (raw / "behaviors.tsv").write_text("user_id\titems\n" + "".join(lines))
    prepare = PrepareTask("tcf", str(raw), "", tmp_path / "data", PrepareConfig(min_history=4))
    study = study_of(tmp_path, [Unit("prepare", prepare), *of_ids(tmp_path, 0).units])
    ranking = 30 * 0.5 + 60 * 0.25 + 60 * 30 * 0.125
    found = predict(study)["train/ids/0"]
    assert found.minutes == pytest.approx(3 * (4 * 2.0 + ranking) / 60), found.note
    assert not (tmp_path / "data").exists()
    monkeypatch.setattr("tcf.launch.study.predictions.inputs._FEW", 100)
    assert predict(study)["train/ids/0"].note == "known once data is prepared"


def test_when_time_is_up_the_rest_is_left_for_another_time(
    tmp_path: Path, data: Dataset, tried: Tried, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paces, "_SECONDS", -1.0)
    found = predict(of_ids(tmp_path, 0))["train/ids/0"]
    assert (found.minutes, tried) == (None, [])
    assert found.disk and "run it again" in found.note


def test_too_little_memory_to_try(tmp_path: Path, data: Dataset, tried: Tried, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tcf.train.trial.host_memory", lambda: (2**30, 1000))
    found = predict(of_ids(tmp_path, 0))["train/ids/0"]
    assert (found.minutes, tried) == (None, [])
    assert found.note.startswith("timing steps takes") and found.memory


def test_units_get_their_minutes(tmp_path: Path, data: Dataset, tried: Tried) -> None:
    study = of_ids(tmp_path, 0, 1)
    finish(study, "train/ids/0", 90.0)
    minutes = {unit.name: unit.minutes for unit in with_predictions(study).units}
    assert minutes["train/ids/0"] is None and minutes["train/ids/1"] == 1.5
    assert [unit.digest for unit in with_predictions(study).units] == [unit.digest for unit in study.units]


def test_recommendations_are_ranked_for_all_users(tmp_path: Path, data: Dataset, tried: Tried) -> None:
    study = of_ids(tmp_path, 0)
    unit = Unit("recommend/ids", RecommendTask(study.units[0].task.outputs[0], tmp_path / "ids.parquet", 10))
    found = predict(dataclasses.replace(study, units=(*study.units, unit)))
    assert found["recommend/ids"].minutes == pytest.approx((30 * 0.5 + 60 * 0.25 + 60 * 30 * 0.125) / 60)


def test_a_cache_that_is_not_there_has_the_width_of_its_encoder(
    tmp_path: Path, data: Dataset, tried: Tried, opt: Path, quick_machine: None
) -> None:
    config = ExtractConfig(layers=(0, -1), devices="cpu")
    extract = Unit("extract", ExtractTask(tmp_path / "data", str(opt), tmp_path / "caches", config))
    text = trained(tmp_path, "text", 0, (tmp_path / "caches" / "layer-1",), CONFIG)
    found = predict(study_of(tmp_path, [extract, *text]))
    plan = plan_for_data(str(opt), tmp_path / "data", None, config)
    assert tried == [planned_widths(str(opt), config)[1]]
    assert found["extract"].disk == plan.output_bytes
    assert found["extract"].minutes and found["extract"].memory and found["train/text/0"].minutes


def test_parts_share_the_work_and_a_last_unit_finds_it_done(
    tmp_path: Path, data: Dataset, opt: Path, quick_machine: None
) -> None:
    def part(shards: str | None) -> ExtractTask:
        config = ExtractConfig(devices="cpu", shards=shards)
        return ExtractTask(tmp_path / "data", str(opt), tmp_path / "cache", config)

    units = [Unit(f"part{number}", part(f"{number}/2")) for number in range(2)]
    joined, whole = Unit("joined", part(None), ("part0", "part1")), Unit("whole", part(None))
    study = study_of(tmp_path, [*units, joined, whole])
    found = predict(study)
    assert found["part0"] == found["part1"]
    assert 0 < (found["part0"].disk or 0) < (found["whole"].disk or 0)
    assert found["joined"].minutes == 0.0
    finish(study, "part0", 30.0)
    assert predict(study)["part1"].minutes == 0.5
