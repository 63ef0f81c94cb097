import io
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import torch

from small.train.trainings import Train, epochs_of, measured
from tcf.common.errors import RunError
from tcf.common.files import is_published
from tcf.common.manifest import sha256_file
from tcf.config.fields import read_toml
from tcf.config.train import Monitor
from tcf.train.model.sasrec import SASRec
from tcf.train.run.epoch_log import Epoch
from tcf.train.run.open_run import open_run
from tcf.train.trainer import Trainer
from tcf.train.validation import Validation


@pytest.mark.parametrize("items", ["text", "id"])
def test_a_run_learns_and_says_so(run_train: Train, items: str, capsys: pytest.CaptureFixture[str]) -> None:
    result = run_train(items=items, epochs=12, dropout=0.0)
    epochs = epochs_of(result.path)
    assert epochs[-1]["loss"] < 0.5 * epochs[0]["loss"]
    # By chance a target is among ten of about 27 candidates 0.37 of the time.
    assert result.manifest.facts["hr@10"] > 0.9
    assert result.manifest.facts["ndcg@10"] > 0.6
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("train: epoch ")]
    assert len(lines) == len(epochs)
    first = epochs[0]
    metrics = f"validation hr@10 {first['hr@10']:.2%}, ndcg@10 {first['ndcg@10']:.2%} (best so far), "
    assert lines[0].startswith(f"train: epoch 1 of at most 12: loss {first['loss']:.4f}, {metrics}")


def test_what_a_run_holds(run_train: Train, tmp_path: Path) -> None:
    result = run_train()
    run = result.path
    assert sorted(p.name for p in run.iterdir()) == [
        "config.toml", "epochs.jsonl", "events", "manifest.json", "model.safetensors", "optimizer.safetensors",
    ]  # fmt: skip
    config = read_toml(run / "config.toml")
    assert config["inputs"] == {"data": "../data", "cache": "../cache"}
    assert (config["patience"], config["devices"], config["width"], config["dropout"]) == (5, "cpu", 16, 0.1)
    model = safetensors.numpy.load_file(run / "model.safetensors")
    optimizer = safetensors.numpy.load_file(run / "optimizer.safetensors")
    assert "items.dtl.layers.0.weight" in model and not any("table" in name for name in model)
    assert set(optimizer) == {f"{name}.{part}" for name in model for part in ("step", "exp_avg", "exp_avg_sq")}
    assert optimizer["backbone.position.weight.exp_avg"].shape == (20, 16)
    facts = result.manifest.facts
    assert facts["parameters"] == sum(value.size for value in model.values())
    users_of_two = sum(1 for h in open_run(run).dataset.histories.lengths if h >= 4)
    assert (facts["users"], facts["users_left_out"]) == (users_of_two, 60 - users_of_two)
    assert set(result.manifest.inputs) == {"dataset", "cache"}
    assert list((run / "events").iterdir())
    assert set(epochs_of(run)[0]) == {"epoch", "loss", "hr@10", "ndcg@10"}


def test_tensorboard_reads_the_events(run_train: Train) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = run_train().path
    events = EventAccumulator(str(run / "events"))
    events.Reload()
    found = [point.value for point in events.Scalars("validation/hr@10")]
    assert found == pytest.approx([epoch["hr@10"] for epoch in epochs_of(run)])
    assert {"train/loss", "train/examples_per_second", "validation/ndcg@10"} <= set(events.Tags()["scalars"])


@pytest.mark.parametrize("items", ["text", "id"])
def test_equal_runs_have_equal_bytes(run_train: Train, items: str) -> None:
    torch.manual_seed(1)
    one = run_train("one", items=items)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    other = run_train("other", items=items)
    assert torch.equal(torch.get_rng_state(), state)
    for name in ("model.safetensors", "optimizer.safetensors", "epochs.jsonl", "config.toml"):
        assert (one.path / name).read_bytes() == (other.path / name).read_bytes(), name
    assert one.manifest.fingerprint == other.manifest.fingerprint
    third = run_train("third", items=items, seed=1)
    assert sha256_file(third.path / "model.safetensors") != sha256_file(one.path / "model.safetensors")
    assert third.manifest.fingerprint != one.manifest.fingerprint


def test_the_best_epoch_is_kept_and_measured_on_all(run_train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    script = [0.1, 0.3, 0.3, 0.2, 0.9]
    vectors, asked = [], []

    def scripted(self: Validation, model: Any, device: str) -> dict[str, float]:
        vectors.append(model.item_vectors().numpy().copy())
        asked.append(self.users.tolist())
        return measured(script[len(vectors) - 1], 0.01 * len(vectors))

    monkeypatch.setattr(Validation, "measure", scripted)
    result = run_train(epochs=10, patience=2, validation_users=20)
    # Four epochs, each measured on the same twenty users, then the best one on all.
    assert [len(users) for users in asked] == [20, 20, 20, 20, 60]
    assert asked[0] == asked[3] == sorted(asked[0])
    facts = result.manifest.facts
    assert (facts["best_epoch"], facts["hr@10"], facts["ndcg@10"], facts["epochs"]) == (2, 0.9, 0.05, 4)
    kept = open_run(result.path, device="cpu").item_vectors()
    assert np.array_equal(kept, vectors[1])
    assert np.array_equal(kept, vectors[4])
    assert not np.array_equal(kept, vectors[3])


@pytest.mark.parametrize(("monitor", "best", "epochs"), [("hr@10", 2, 4), ("ndcg@10", 4, 6)])
def test_the_monitor_chooses_the_best_epoch(
    run_train: Train,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    monitor: Monitor,
    best: int,
    epochs: int,
) -> None:
    hits, gains = [0.1, 0.5, 0.4, 0.4, 0.3, 0.2, 0.9], [0.1, 0.2, 0.2, 0.3, 0.1, 0.3, 0.9]
    script = [measured(hr, ndcg) for hr, ndcg in zip(hits, gains, strict=True)]
    done: list[int] = []

    def scripted(self: Validation, model: Any, device: str) -> dict[str, float]:
        done.append(1)
        return script[len(done) - 1]

    monkeypatch.setattr(Validation, "measure", scripted)
    result = run_train(epochs=7, patience=2, monitor=monitor)
    assert (result.manifest.facts["best_epoch"], result.manifest.facts["epochs"]) == (best, epochs)
    assert result.manifest.config["monitor"] == monitor
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.endswith(f"; best validation {monitor} {script[best - 1][monitor]:.2%}, epoch {best}")


def test_a_loss_that_is_not_finite_stops_training(
    run_train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, calls = Trainer.step, []

    def broken(self: Trainer, *rest: Any) -> torch.Tensor:
        calls.append(1)
        loss = step(self, *rest)
        return loss * math.nan if len(calls) == 7 else loss

    monkeypatch.setattr(Trainer, "step", broken)
    steps = math.ceil(run_steps(tmp_path) / 16)
    with pytest.raises(RunError, match=rf"epoch 2, step {7 - steps}: .*found nan.*--learning-rate \(now 0.01\)"):
        run_train(epochs=3)
    assert not is_published(tmp_path / "run")


def run_steps(tmp_path: Path) -> int:
    """Users with a training target."""
    offsets = np.load(tmp_path / "data" / "history_offsets.npy")
    return int((np.diff(offsets) >= 4).sum())


def test_training_that_diverges_publishes_nothing(run_train: Train, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"nothing was published; try a lower --learning-rate \(now 1e\+30\)"):
        run_train(learning_rate=1e30, epochs=5)
    assert not is_published(tmp_path / "run")


def test_states_that_are_not_finite_stop_training(run_train: Train, tmp_path: Path) -> None:
    """One step is enough here to ruin the model, so that the loss before it is finite and validation finds it."""
    said = r"epoch 1: .*expected finite values.*; nothing was published; try a lower --learning-rate \(now 1e\+30\)"
    with pytest.raises(RunError, match=said):
        run_train(learning_rate=1e30, batch_size=100)
    assert not is_published(tmp_path / "run")


class Terminal(io.StringIO):
    """Standard error as a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_a_bar_and_a_line_an_epoch(run_train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    run_train(epochs=1)
    # Sixty users, sixteen a batch.
    assert "train: at most 1 epoch of 4 steps\n" in terminal.getvalue()
    assert "━" in terminal.getvalue()
    assert "train: epoch 1 of at most 1: loss " in terminal.getvalue()


def test_settings_reach_the_optimiser_and_the_model(run_train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    trainers = []
    start = Trainer.__init__

    def spy(self: Trainer, *args: Any) -> None:
        start(self, *args)
        trainers.append(self)

    monkeypatch.setattr(Trainer, "__init__", spy)
    run_train(epochs=1, learning_rate=0.003, weight_decay=0.05, history=3, blocks=3, heads=4, dtl_layers=1)
    (trainer,) = trainers
    items, rest = trainer.optimizer.adamw.param_groups
    for group in (items, rest):
        assert (group["lr"], group["weight_decay"]) == (0.003, 0.05)
    assert len(items["params"]) + len(rest["params"]) == len(list(trainer.model.parameters()))
    backbone = trainer.model.backbone
    assert isinstance(backbone, SASRec)
    assert (backbone.positions, len(backbone.blocks)) == (3, 3)
    assert {module.heads for module in backbone.modules() if hasattr(module, "heads")} == {4}
    assert trainer.feed.positions == 3


def test_each_epoch_is_told_to_who_watches(run_train: Train) -> None:
    seen: list[tuple[Epoch, bool]] = []
    path = run_train(epochs=3, watch=lambda *told: seen.append(told)).path
    assert [(e.number, e.loss, *e.metrics.values()) for e, _ in seen] == [tuple(e.values()) for e in epochs_of(path)]
    assert [goes_on for _, goes_on in seen] == [True, True, False]


def test_exact_operations_are_asked_for_within_the_run_alone(run_train: Train) -> None:
    within: list[tuple[bool, str | None]] = []

    def look(epoch: Epoch, goes_on: bool) -> None:
        within.append((torch.are_deterministic_algorithms_enabled(), os.environ.get("CUBLAS_WORKSPACE_CONFIG")))

    exact = run_train("exact", epochs=1, watch=look, deterministic=True)
    usual = run_train("usual", epochs=1, watch=look)
    assert within == [(True, ":4096:8"), (False, None)]
    assert not torch.are_deterministic_algorithms_enabled()
    # On a CPU all that is used is exact anyway.
    assert (exact.path / "model.safetensors").read_bytes() == (usual.path / "model.safetensors").read_bytes()
    with pytest.raises(ZeroDivisionError):
        run_train("failed", watch=lambda epoch, goes_on: print(1 / 0), deterministic=True)
    assert not torch.are_deterministic_algorithms_enabled()
    assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ


@pytest.mark.parametrize("backbone", ["sasrec", "dssm"])
def test_dssm_and_sasrec_train_to_the_end(run_train: Train, backbone: str) -> None:
    facts = run_train(backbone=backbone, epochs=2).manifest.facts
    # A row of DSSM is a pair, and each of the training items is a target; SASRec has no target for a first one.
    assert facts["targets"] == {"sasrec": 264, "dssm": 264 + 60}[backbone]
