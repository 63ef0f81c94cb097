"""A final refit: trained anew on training and validation items, for as many epochs as were best before."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file

from small.train.runs import csr, walks
from small.train.trainings import SMALL, TEXTS, Killed, Train, epochs_of, interrupted_at, same
from tcf.common.errors import ConfigError, RunError
from tcf.config.evaluate import EvaluateConfig
from tcf.config.train import TrainConfig
from tcf.data.dataset import open_dataset, write_dataset
from tcf.data.split import EventPart, by_parts
from tcf.evaluate.recommend import recommend
from tcf.evaluate.stage import evaluate_run
from tcf.train.estimate import estimate
from tcf.train.run.epoch_log import Epoch
from tcf.train.run.list_runs import find_runs
from tcf.train.run.open_run import open_run
from tcf.train.run.records import FolderRecords
from tcf.train.run.run_folder import RunFolder
from tcf.train.stage import TrainResult


def all_but_the_last(folder: Path) -> Path:
    """A dataset that says itself what a refit should see: all items but the test target are for training."""
    lists = walks()
    parts = [[EventPart.TRAINING] * (len(items) - 1) + [EventPart.VALIDATION] for items in lists]
    return write_dataset(
        folder / "told",
        item_ids=pa.array([f"i{item}" for item in range(len(TEXTS))], pa.large_string()),
        texts=pa.array(TEXTS, pa.large_string()),
        user_ids=pa.array([f"u{user}" for user in range(len(lists))], pa.large_string()),
        split=by_parts(csr(lists), np.array([part for user in parts for part in user], np.int8)),
        inputs={},
        config={},
        statistics={},
    ).path


def parameters(run: Path) -> dict[str, Any]:
    return load_file(run / "model.safetensors")


@pytest.mark.parametrize(
    "settings",
    [
        {"whiten": 4, "normalise": True, "schedule": "cosine"},  # counts of in-batch, statistics of the vectors
        {"items": "id", "backbone": "dssm", "loss": "sampled", "negatives": 8},  # popularity, users
        {"items": "id", "id_init": "text"},  # statistics of the vectors that ids start from
    ],
    ids=str,
)
def test_it_is_trained_as_if_validation_items_had_been_training_items(
    run_train: Train, tmp_path: Path, settings: dict[str, Any]
) -> None:
    done = run_train("refit", epochs=4, learning_rate=0.03, refit=True, **settings)
    best = open_run(tmp_path / "refit" / "selection", device="cpu").manifest.facts["best_epoch"]
    assert done.manifest.facts["epochs"] == done.manifest.facts["selected_epoch"] == best

    def stop(epoch: Epoch, goes_on: bool) -> None:
        if epoch.number == best:
            raise Killed

    with pytest.raises(Killed):
        run_train("told-run", data=all_but_the_last(tmp_path), epochs=4, learning_rate=0.03, watch=stop, **settings)
    expected = [{"epoch": line["epoch"], "loss": line["loss"]} for line in epochs_of(tmp_path / "told-run")]
    assert epochs_of(done.path) == expected
    state = load_file(tmp_path / "told-run" / "state.safetensors")
    for name, value in parameters(done.path).items():
        np.testing.assert_array_equal(value, state[f"model.{name}"])


def test_what_chose_its_epochs_is_an_ordinary_run(run_train: Train, tmp_path: Path) -> None:
    done, usual = run_train("refit", refit=True), run_train("usual")
    chooser = open_run(done.path / "selection", device="cpu")
    same(TrainResult(chooser.path, chooser.manifest, trained=True), usual)
    facts, run = done.manifest.facts, open_run(done.path, device="cpu")
    assert facts["selection"] == usual.manifest.fingerprint != done.manifest.fingerprint
    assert (facts["trained_on"], facts["selected_epoch"]) == ("training and validation", chooser.metadata["best_epoch"])
    for name in ("hr@10", "ndcg@10"):
        assert facts[f"selection_validation_{name}"] == usual.manifest.facts[name]
        assert name not in facts and f"validation_{name}" not in run.metadata
    assert list(run.metadata)[:3] == ["trained_on", "selected_epoch", "selection_validation_hr@10"]
    assert repr(run).endswith(f"refit on training and validation items for {facts['epochs']} epochs)")
    assert [*run.to_pandas().columns] == ["epoch", "loss"]
    assert not any(name.startswith("selection") for name in done.manifest.files)
    # 60 users, one more item each than without the refit.
    assert facts["targets"] == usual.manifest.facts["targets"] + 60
    assert run_train("refit", refit=True).trained is False


def test_both_are_listed(run_train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        interrupted_at(patch, 13)  # after two epochs of four steps of the first training, and one of the second
        with pytest.raises(Killed):
            run_train("refit", refit=True)
    told = [(str(run.path.relative_to(tmp_path)), run.state, run.epochs, run.best_epoch) for run in find_runs(tmp_path)]
    assert told == [("refit", "resumable", 1, None), ("refit/selection", "finished", 2, 2)]
    run_train("refit", refit=True)
    first, second = find_runs(tmp_path)
    assert (first.state, first.epochs, first.best_epoch, first.metrics) == ("finished", 2, None, {})
    assert (first.settings["refit"], second.settings["refit"], second.best_epoch) == (True, False, 2)


@pytest.mark.parametrize(("save_minutes", "last"), [(0.0, 4), (10.0, 6)])
def test_interrupted_in_either_training_it_ends_as_undisturbed(
    run_train: Train, monkeypatch: pytest.MonkeyPatch, save_minutes: float, last: int
) -> None:
    """Once in the first training, and twice in the second, the last time in its second epoch."""
    settings = {"epochs": 3, "refit": True, "save_minutes": save_minutes, "whiten": 4}
    undisturbed = run_train("undisturbed", **settings)
    for number in (7, 10, last):
        with monkeypatch.context() as patch:
            interrupted_at(patch, number)
            with pytest.raises(Killed):
                run_train("killed", **settings)
    same(run_train("killed", **settings), undisturbed)
    chooser = [
        open_run(run / "selection", device="cpu").manifest
        for run in (undisturbed.path, undisturbed.path.parent / "killed")
    ]
    assert chooser[0].fingerprint == chooser[1].fingerprint


@pytest.mark.parametrize("what", ["keep_best", "publish"])
def test_interrupted_after_its_last_epoch(run_train: Train, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """The state of the last epoch is there; its model, or the manifest, is not yet."""
    undisturbed = run_train("undisturbed", refit=True)
    owner: Any = FolderRecords if what == "keep_best" else RunFolder
    method = getattr(owner, what)

    def killed(self: Any, *arguments: Any) -> Any:
        folder = self._folder if what == "keep_best" else self
        if folder.settings["refit"]:
            raise Killed
        return method(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(owner, what, killed)
        with pytest.raises(Killed):
            run_train("killed", refit=True)
    interrupted_at(monkeypatch, 1)  # no step is left
    same(run_train("killed", refit=True), undisturbed)


def test_its_test_asks_as_ever_and_its_validation_is_refused(run_train: Train, tmp_path: Path) -> None:
    done = run_train("refit", refit=True)
    config = EvaluateConfig(device="cpu")
    tested = evaluate_run(done.path, out=tmp_path / "test", config=config)
    usual = evaluate_run(done.path / "selection", out=tmp_path / "usual", config=config)
    for name in ("user_id", "item_id", "candidates"):
        assert pq.read_table(tested.path / "ranks.parquet")[name] == pq.read_table(usual.path / "ranks.parquet")[name]
    assert tested.ranking == f"{usual.ranking}, refit"
    assert tested.manifest.inputs["dataset"] == usual.manifest.inputs["dataset"]
    with pytest.raises(ConfigError, match=r"--split validation: .*refit on training and .*evaluate .*refit/selection"):
        evaluate_run(done.path, out=tmp_path / "validation", config=replace(config, split="validation"))
    assert evaluate_run(done.path / "selection", out=tmp_path / "v", config=replace(config, split="validation"))
    had = [set(items) for items in walks()]
    rows = recommend(done.path, out=None, k=5, device="cpu").table.to_pylist()
    assert len(rows) == 5 * len(had)
    assert all(int(row["item_id"][1:]) not in had[int(row["user_id"][1:])] for row in rows)
    prepared, seen = open_dataset(tmp_path / "data"), open_run(done.path, device="cpu").dataset
    assert (seen.split.training == prepared.split.training + 1).all() and not seen.split.validation.any()
    # What --catalogue trained ranks follows from these.
    assert seen.training_interactions.sum() == prepared.training_interactions.sum() + len(had)


def test_other_runs_are_refused(run_train: Train, tmp_path: Path) -> None:
    done, usual = run_train("refit", refit=True), run_train("usual")
    with pytest.raises(RunError, match="refit: true found, false requested"):
        run_train("refit")
    with pytest.raises(RunError, match="refit: false found, true requested"):
        run_train("usual", refit=True)
    assert not (usual.path / "selection").exists()
    (done.path / "manifest.json").unlink()
    with pytest.raises(RunError, match=r"expected a run or nothing, found other files \(selection\)"):
        run_train("refit")


def test_a_state_for_another_number_of_epochs_is_refused(
    run_train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        interrupted_at(patch, 14)
        with pytest.raises(Killed):
            run_train("refit", refit=True, save_minutes=0.0)
    manifest = tmp_path / "refit" / "selection" / "manifest.json"
    content = json.loads(manifest.read_text())

    def other(self: RunFolder) -> Any:
        found = finished(self)
        return found and replace(found, fingerprint="another")

    finished = RunFolder.finished
    monkeypatch.setattr(RunFolder, "finished", other)
    assert content["facts"]["best_epoch"] == 2
    with pytest.raises(RunError, match="expected the state of this run, found another's"):
        run_train("refit", refit=True, save_minutes=0.0)


def test_the_estimate_has_both(run_train: Train, tmp_path: Path) -> None:
    found = estimate(data=tmp_path / "data", config=TrainConfig(**(SMALL | {"items": "id", "refit": True})))
    assert found.refit is not None
    assert (found.targets, found.refit.targets) == (264, 324)
    assert found.as_json()["refit"]["targets"] == 324
    words = found.for_people()["refit"]
    assert words == "324 targets of 60 users, 4 steps an epoch, as many epochs as were best"
