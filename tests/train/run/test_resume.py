"""A training that is interrupted and taken up again ends as one undisturbed, to the bit."""

import time
from pathlib import Path
from typing import Any

import pytest

from small.train.trainings import Killed, Train, epochs_of, interrupted_at, measured, same
from tcf.common.errors import RunError
from tcf.train import trainer
from tcf.train.run import records
from tcf.train.run.epoch_log import Epoch
from tcf.train.validation import Validation


@pytest.mark.parametrize(
    "settings",
    [
        {"dropout": 0.3},
        {"dropout": 0.3, "save_minutes": 0.0},
        {"items": "id", "save_minutes": 0.0},
        {"loss": "sampled", "negatives": 8, "save_minutes": 0.0},
        {"validation_users": 20, "save_minutes": 0.0},
        {"backbone": "dssm", "save_minutes": 0.0},
        {"windows": "random", "history": 3, "save_minutes": 0.0},
        {"schedule": "cosine", "warmup_steps": 5, "clip_norm": 0.1, "item_learning_rate": 0.02, "save_minutes": 0.0},
        {"whiten": 4, "save_minutes": 0.0},
        {"deterministic": True, "save_minutes": 0.0},
        {"items": "id", "id_init": "text", "save_minutes": 0.0},
        {
            **{"items": "text+id", "id_init": "zero", "id_gate": 2.0, "id_dropout": 0.4, "id_learning_rate": 0.03},
            **{"id_weight_decay": 0.0, "save_minutes": 0.0},
        },
    ],
    ids=str,
)
@pytest.mark.usefixtures("shown_log")
def test_in_the_middle_of_an_epoch(
    run_train: Train, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], settings: dict[str, Any]
) -> None:
    """Steps 7 and 5 of the processes: in the second epoch, and in the third or again in the second."""
    undisturbed = run_train("undisturbed", epochs=4, **settings)
    for number in (7, 5):
        with monkeypatch.context() as patch:
            interrupted_at(patch, number)
            with pytest.raises(Killed):
                run_train("killed", epochs=4, **settings)
    capsys.readouterr()
    same(run_train("killed", epochs=4, **settings), undisturbed)
    said = capsys.readouterr().err
    [line] = [line for line in said.splitlines() if line.startswith("train: resuming at epoch ")]
    assert (", step " in line) == ("save_minutes" in settings)


@pytest.mark.parametrize("better", [True, False])
def test_between_the_state_and_the_model(run_train: Train, monkeypatch: pytest.MonkeyPatch, better: bool) -> None:
    """The state of an epoch is there and its model is not yet: it must be kept if that epoch was the best."""
    script = {1: 0.5, 2: 0.7 if better else 0.1, 3: 0.6 if better else 0.2}
    calls: list[int] = []

    def scripted(self: Validation, model: Any, device: str) -> dict[str, float]:
        calls.append(1)
        return measured(script[min(3, len(calls))])

    def killed(self: records.FolderRecords, trainer: trainer.Trainer, epoch: int) -> None:
        raise Killed

    monkeypatch.setattr(Validation, "measure", scripted)
    undisturbed = run_train("undisturbed", epochs=3)
    calls.clear()
    with monkeypatch.context() as patch:
        keep, kept = records.FolderRecords.keep_best, []

        def second(self: records.FolderRecords, trainer: trainer.Trainer, epoch: int) -> None:
            kept.append(1)
            (killed if len(kept) == 2 else keep)(self, trainer, epoch)

        patch.setattr(records.FolderRecords, "keep_best", second)
        if better:
            with pytest.raises(Killed):
                run_train("killed", epochs=3)
        else:
            run_train("killed", epochs=3)
    done = run_train("killed", epochs=3)
    assert done.manifest.facts["best_epoch"] == (2 if better else 1)
    same(done, undisturbed)


def test_after_the_last_epoch(run_train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    """All epochs are done, and nothing is published: no step is taken any more."""
    undisturbed = run_train("undisturbed", epochs=3)

    def end(epoch: Epoch, goes_on: bool) -> None:
        if epoch.number == 3:
            raise Killed

    with pytest.raises(Killed):
        run_train("killed", epochs=3, watch=end)
    interrupted_at(monkeypatch, 1)
    told: list[tuple[int, bool]] = []
    same(run_train("killed", epochs=3, watch=lambda epoch, goes_on: told.append((epoch.number, goes_on))), undisturbed)
    # Nobody who watches can take it for one that could still be ended.
    assert told == [(1, False), (2, False), (3, False)]


def test_patience_counts_epochs_of_earlier_attempts(run_train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def falling(self: Validation, model: Any, device: str) -> dict[str, float]:
        calls.append(1)
        return measured(1 / len(calls))

    def end(epoch: Epoch, goes_on: bool) -> None:
        raise Killed

    monkeypatch.setattr(Validation, "measure", falling)
    for _ in range(2):
        with pytest.raises(Killed):
            run_train(epochs=9, patience=2, watch=end)
    # The second attempt was told the first epoch again, and ended there.
    assert len(calls) == 1
    told: list[bool] = []
    done = run_train(epochs=9, patience=2, watch=lambda epoch, goes_on: told.append(goes_on))
    assert done.manifest.facts["epochs"] == 3
    assert told == [True, True, False]  # patience has run out


def test_an_error_of_who_watches_leaves_a_run_to_take_up(run_train: Train) -> None:
    undisturbed = run_train("undisturbed", epochs=3)
    seen: list[int] = []

    def prune(epoch: Epoch, goes_on: bool) -> None:
        seen.append(epoch.number)
        if epoch.number == 2:
            raise ValueError("pruned")

    for _ in range(2):
        with pytest.raises(ValueError, match="pruned"):
            run_train("pruned", epochs=3, watch=prune)
    assert seen == [1, 2, 1, 2]
    seen.clear()
    with pytest.raises(RunError, match="unfinished"):
        run_train("pruned", epochs=4)
    same(run_train("pruned", epochs=3, watch=lambda epoch, goes_on: seen.append(epoch.number)), undisturbed)
    assert seen == [1, 2, 3]


def test_the_log_is_that_of_the_state(run_train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines that a killed process wrote beyond its state, or half a line, are gone; TensorBoard's events go on."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    undisturbed = run_train("undisturbed", epochs=3)
    interrupted_at(monkeypatch, 6)
    with pytest.raises(Killed):
        run_train("killed", epochs=3)
    monkeypatch.undo()
    path = undisturbed.path.with_name("killed")
    assert [epoch["epoch"] for epoch in epochs_of(path)] == [1]
    with (path / "epochs.jsonl").open("a") as file:
        file.write('{"epoch": 2, "loss": 77.0, "hr@10": 1.0, "ndcg@10": 1.0}\n{"epoch": 3, "lo')
    time.sleep(1.1)  # files of events are named by the second
    same(run_train("killed", epochs=3), undisturbed)
    events = EventAccumulator(str(path / "events"))
    events.Reload()
    assert [point.step for point in events.Scalars("validation/hr@10")] == [1, 2, 3]


def test_devices_and_the_rhythm_of_saving_may_change(run_train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    undisturbed = run_train("undisturbed")
    interrupted_at(monkeypatch, 6)
    with pytest.raises(Killed):
        run_train("killed", save_minutes=0.0)
    monkeypatch.undo()
    done = run_train("killed", devices="auto", save_minutes=30.0)
    assert (done.path / "model.safetensors").read_bytes() == (undisturbed.path / "model.safetensors").read_bytes()
    assert done.manifest.config["save_minutes"] == 30.0
    assert "save_minutes = 30.0" in (done.path / "config.toml").read_text()
    assert done.manifest.fingerprint == undisturbed.manifest.fingerprint


@pytest.mark.parametrize("damage", ["gone", "cut", "of another epoch", "of other numbers"])
def test_the_best_model_of_an_unfinished_run_must_be_whole(
    run_train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    """Epoch 1 is the best and the process ends in epoch 3: what was kept is what will be published."""
    script = iter([measured(0.5), measured(0.4)])
    monkeypatch.setattr(Validation, "measure", lambda self, model, device: next(script))
    with monkeypatch.context() as patch:
        interrupted_at(patch, 11)
        with pytest.raises(Killed):
            run_train("killed", epochs=4, save_minutes=0.0)
    model = tmp_path / "killed" / "model.safetensors"
    kept = model.read_bytes()
    damaged = {
        "cut": kept[:-100],
        "of another epoch": kept.replace(b'epoch\\": 1', b'epoch\\": 2'),
        "of other numbers": kept[:-4] + bytes(4),
    }
    if damage == "gone":
        model.unlink()
    else:
        assert damaged[damage] != kept
        model.write_bytes(damaged[damage])
    with pytest.raises(RunError, match="expected the parameters of the best epoch so far, 1, found"):
        run_train("killed", epochs=4, save_minutes=0.0)
