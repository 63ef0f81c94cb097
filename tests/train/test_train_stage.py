import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import torch

from small_runs import make_cache, make_dataset, walks
from tcf.config import TrainConfig
from tcf.errors import CacheError, ConfigError, DataError, RunError
from tcf.files import is_published
from tcf.manifest import sha256_file
from tcf.settings_fields import read_toml
from tcf.train import loop
from tcf.train.run import open_run
from tcf.train.stage import TrainResult, train
from tcf.train.validation import Metrics, Validation

TEXTS = [f"text {i}" for i in range(30)]
SMALL: dict[str, Any] = {"width": 16, "batch_users": 16, "device": "cpu", "learning_rate": 0.01}
Train = Callable[..., TrainResult]


@pytest.fixture
def run_train(tmp_path: Path) -> Train:
    """Train on the walks; further arguments are settings, or inputs other than the usual ones."""
    dataset = make_dataset(tmp_path, walks(), TEXTS)
    cache = make_cache(tmp_path, dataset, np.random.default_rng(0).normal(size=(30, 12)).astype(np.float16))

    def call(
        out: str = "run", data: Path = dataset.path, cache: Path | None = cache.path, **settings: Any
    ) -> TrainResult:
        config = TrainConfig(**(SMALL | {"epochs": 2} | settings))
        return train(data=data, cache=cache if config.items == "text" else None, out=tmp_path / out, config=config)

    return call


def epochs_of(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "epochs.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("items", ["text", "id"])
def test_a_run_learns_and_says_so(run_train: Train, items: str, capsys: pytest.CaptureFixture[str]) -> None:
    result = run_train(items=items, epochs=12, dropout=0.0)
    epochs = epochs_of(result.path)
    assert epochs[-1]["loss"] < 0.5 * epochs[0]["loss"]
    # By chance a target is among ten of about 27 candidates 0.37 of the time.
    assert result.manifest.facts["hr@10"] > 0.9
    assert result.manifest.facts["ndcg@10"] > 0.6
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("epoch ")]
    assert len(lines) == len(epochs)
    first = epochs[0]
    words = f"epoch 1  loss {first['loss']:.4f}  hr@10 {first['hr@10']:.4f}  ndcg@10 {first['ndcg@10']:.4f}  "
    assert lines[0].startswith(words)
    assert lines[0].endswith(f" examples/s  best {first['hr@10']:.4f} (epoch 1)")


def test_what_a_run_holds(run_train: Train, tmp_path: Path) -> None:
    result = run_train()
    run = result.path
    assert sorted(p.name for p in run.iterdir()) == [
        "config.toml", "epochs.jsonl", "events", "manifest.json", "model.safetensors", "optimizer.safetensors",
    ]  # fmt: skip
    config = read_toml(run / "config.toml")
    assert config["inputs"] == {"data": "../data", "cache": "../cache"}
    assert (config["patience"], config["device"], config["width"], config["dropout"]) == (5, "cpu", 16, 0.1)
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


def test_the_best_epoch_is_kept_and_patience_stops(run_train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    script = [0.1, 0.3, 0.3, 0.2, 0.9]
    vectors = []

    def scripted(self: Validation, model: Any, device: str) -> Metrics:
        vectors.append(model.item_vectors().numpy().copy())
        return Metrics(script[len(vectors) - 1], 0.01 * len(vectors))

    monkeypatch.setattr(Validation, "measure", scripted)
    result = run_train(epochs=10, patience=2)
    assert len(vectors) == 4
    facts = result.manifest.facts
    assert (facts["best_epoch"], facts["hr@10"], facts["ndcg@10"], facts["epochs"]) == (2, 0.3, 0.02, 4)
    kept = open_run(result.path, device="cpu").item_vectors()
    assert np.array_equal(kept, vectors[1])
    assert not np.array_equal(kept, vectors[3])


def test_a_finished_run_is_returned_as_it_is(run_train: Train, capsys: pytest.CaptureFixture[str]) -> None:
    first = run_train()
    stamps = {p.name: p.stat().st_mtime_ns for p in first.path.iterdir()}
    again = run_train()
    assert (first.trained, again.trained) == (True, False)
    assert again.manifest == first.manifest
    assert list(again.facts.items()) == list(first.facts.items())
    assert list(first.facts)[:4] == ["best_epoch", "hr@10", "ndcg@10", "epochs"]
    assert first.facts == first.manifest.facts
    assert {p.name: p.stat().st_mtime_ns for p in first.path.iterdir()} == stamps
    assert "trained already" in capsys.readouterr().err


def test_a_finished_run_of_other_settings_or_inputs_is_refused(run_train: Train, tmp_path: Path) -> None:
    run_train()
    with pytest.raises(RunError, match=r"a finished run .*seed: 0 there, 4 asked for.*name another --out"):
        run_train(seed=4)
    other = make_dataset(tmp_path, walks()[:-1], TEXTS, name="other")
    with pytest.raises(RunError, match="dataset: .* there, .* asked for"):
        run_train(data=other.path)
    encoder = make_cache(tmp_path, other, np.ones((30, 4), np.float32), name="encoder", pooling="first")
    with pytest.raises(RunError, match="cache: .* there, .* asked for"):
        run_train(cache=encoder.path)


def test_a_killed_run_is_no_run_and_starts_again(run_train: Train, capsys: pytest.CaptureFixture[str]) -> None:
    undisturbed = run_train("undisturbed")
    killed = run_train("killed").path
    (killed / "manifest.json").unlink()
    (killed / "optimizer.safetensors").unlink()
    (killed / "model.safetensors").write_bytes(b"half")
    (killed / ".model.safetensors.partial-abc-1-def").write_bytes(b"half")
    with pytest.raises(RunError, match="unfinished"):
        open_run(killed)
    capsys.readouterr()
    result = run_train("killed")
    assert result.trained
    assert "removed an unfinished attempt" in capsys.readouterr().err
    assert not list(killed.glob(".*"))
    assert len(list((killed / "events").iterdir())) == 1
    assert result.manifest.fingerprint == undisturbed.manifest.fingerprint


def test_a_killed_run_of_other_settings_is_refused(run_train: Train) -> None:
    path = run_train().path
    (path / "manifest.json").unlink()
    before = sorted(p.name for p in path.iterdir())
    with pytest.raises(RunError, match=r"an unfinished run .*width: 16 there, 32 asked for.*remove it"):
        run_train(width=32)
    assert sorted(p.name for p in path.iterdir()) == before


@pytest.mark.parametrize("names", [["thesis.doc"], ["config.toml", "thesis.doc"], ["model.safetensors"]])
def test_foreign_files_are_refused_and_stay(run_train: Train, tmp_path: Path, names: list[str]) -> None:
    (tmp_path / "run").mkdir()
    for name in names:
        (tmp_path / "run" / name).write_text("mine")
    with pytest.raises(RunError, match="found other files .*name another --out"):
        run_train()
    assert all((tmp_path / "run" / name).read_text() == "mine" for name in names)


def test_a_foreign_config_or_file_is_refused(run_train: Train, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.toml").write_text("not = [toml")
    with pytest.raises(RunError, match="name another --out"):
        run_train()
    (tmp_path / "run" / "config.toml").write_text('colour = "red"')
    with pytest.raises(RunError, match="colour: red there, nothing asked for"):
        run_train()
    (tmp_path / "file").write_text("mine")
    with pytest.raises(RunError, match="found a file"):
        run_train("file")


def test_a_loss_that_is_not_finite_stops_training(
    run_train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, calls = loop.Trainer.step, []

    def broken(self: loop.Trainer, batch: Any) -> torch.Tensor:
        calls.append(1)
        loss = step(self, batch)
        return loss * math.nan if len(calls) == 7 else loss

    monkeypatch.setattr(loop.Trainer, "step", broken)
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
        run_train(learning_rate=1e30, batch_users=100)
    assert not is_published(tmp_path / "run")


def test_inputs_that_do_not_fit_the_items(run_train: Train, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="add --cache"):
        run_train(cache=None)
    config = TrainConfig(items="id", **SMALL)
    with pytest.raises(ConfigError, match="drop --cache"):
        train(data=tmp_path / "data", cache=tmp_path / "cache", out=tmp_path / "run", config=config)
    assert not (tmp_path / "run").exists()


def test_a_failure_before_training_leaves_no_folder(run_train: Train, tmp_path: Path) -> None:
    other = make_dataset(tmp_path, [[0, 1, 2, 3]], [f"new {i}" for i in range(4)], name="other")
    with pytest.raises(CacheError, match="4 missing"):
        run_train(data=other.path)
    bad = make_cache(tmp_path, other, np.full((4, 3), np.inf, np.float32), name="bad", pooling="first")
    with pytest.raises(CacheError, match="finite"):
        run_train(data=other.path, cache=bad.path)
    short = make_dataset(tmp_path, [[0, 1, 2, 3], [0, 1]], [f"new {i}" for i in range(4)], name="short")
    with pytest.raises(DataError, match="expected 3 items or more a user, found 2 of user 1"):
        run_train(data=short.path, items="id")
    assert not (tmp_path / "run").exists()


class Terminal(io.StringIO):
    """Standard error as a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_a_bar_within_the_epoch(run_train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    users = run_train(epochs=1).manifest.facts["users"]
    assert f"{users}/{users} users" in terminal.getvalue()
    assert "epoch 1  loss" in terminal.getvalue()


def test_settings_reach_the_optimiser_and_the_model(run_train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    trainers = []
    start = loop.Trainer.__init__

    def spy(self: loop.Trainer, *args: Any) -> None:
        start(self, *args)
        trainers.append(self)

    monkeypatch.setattr(loop.Trainer, "__init__", spy)
    run_train(epochs=1, learning_rate=0.003, weight_decay=0.05, history=3, blocks=3, heads=4, dtl_layers=1)
    (trainer,) = trainers
    (group,) = trainer.optimizer.param_groups
    assert (group["lr"], group["weight_decay"], type(trainer.optimizer)) == (0.003, 0.05, torch.optim.AdamW)
    assert len(group["params"]) == len(list(trainer.model.parameters()))
    backbone = trainer.model.backbone
    assert (backbone.positions, len(backbone.blocks)) == (3, 3)
    assert {module.heads for module in backbone.modules() if hasattr(module, "heads")} == {4}
    assert int(trainer.data.sequences.lengths.max()) == 4
