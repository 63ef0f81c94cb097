"""Training on the device: compared with the CPU, repeated, killed and resumed; and its speed."""

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from gpu_parts.part import Finding, Setting, absent, at_most, has_faiss, holds, noted
from gpu_parts.trainings import training_inputs, training_setup
from tcf.config.train import TrainConfig
from tcf.train.batch.feed import FedBatch
from tcf.train.determinism import deterministic_operations
from tcf.train.stage import train
from tcf.train.trainer import Trainer

__all__ = ["check_training", "measure_training"]

_LOSSES_DIFFER = 1e-4  # relative, after any of the steps, in float32
# With the default of 1e-3, rounding alone takes losses 8e-3 apart within 200 steps (on a CPU, oneDNN on and off).
_LEARNING_RATE = 3e-5
_RUN_FILES = ("model.safetensors", "optimizer.safetensors", "epochs.jsonl")


def check_training(setting: Setting) -> Iterator[Finding]:
    """Compare 200 steps with the CPU, repeat the same steps, and kill and resume a run."""
    steps = 40 if setting.small else 200
    users, items = (600, 200) if setting.small else (8_000, 2_000)
    config = TrainConfig(
        width=32 if setting.small else 128,
        batch_size=64,
        dropout=0.0,
        learning_rate=_LEARNING_RATE,
        precision="float32",
        deterministic=True,
        devices=str(setting.device),
    )
    on_cpu = replace(setting, device=torch.device("cpu"))
    with deterministic_operations(True):
        first = _losses(setting, config, steps, users, items)
        beside = _losses(on_cpu, replace(config, devices="cpu"), steps, users, items)
    apart = float(((first - beside) / beside).abs().max())
    yield at_most(f"{steps} steps: loss beside the CPU's, relative", apart, _LOSSES_DIFFER, ".2e")
    # Dropout, of which the CPU draws other numbers, must be the same again on the same device.
    config = replace(config, dropout=0.2, learning_rate=1e-3)
    with deterministic_operations(True):
        first, again = (_losses(setting, config, steps, users, items) for _ in range(2))
    yield holds("the same steps twice", torch.equal(first, again), "equal to the bit", "they differ")
    if has_faiss():
        yield _killed_and_resumed(setting, config, users, items)
    else:
        yield absent("killed and resumed", "FAISS, which validation needs, is not installed here")


def measure_training(setting: Setting) -> Iterator[Finding]:
    """Measure targets per second at several batch sizes, with width 512 as in the study."""
    users, items, seconds = (2_000, 500, 0.3) if setting.small else (100_000, 50_000, 5.0)
    for batch_size in (64,) if setting.small else (256, 1_024, 4_096):
        config = TrainConfig(width=32 if setting.small else 512, batch_size=batch_size, devices=str(setting.device))
        rate = _rate(training_setup(setting, config, users=users, items=items).trainer, seconds, setting)
        yield noted(f"training, batches of {batch_size}", f"{rate:,.0f} targets/s")


def _losses(setting: Setting, config: TrainConfig, steps: int, users: int, items: int) -> Tensor:
    """The loss of each step, (steps,), on the CPU."""
    torch.manual_seed(0)
    trainer = training_setup(setting, config, users=users, items=items).trainer
    found: list[Tensor] = []
    while len(found) < steps:
        for fed in _epoch(trainer, 1 + len(found) // trainer.feed.steps):
            found.append(trainer.step(fed.batch, fed.read_UV, len(found)).detach())
            if len(found) == steps:
                break
    return torch.stack(found).double().cpu()


def _killed_and_resumed(setting: Setting, config: TrainConfig, users: int, items: int) -> Finding:
    """Compare a run that was interrupted in its second epoch and resumed with one that was not."""
    dataset, cache = training_inputs(setting, users=users, items=items)
    config = replace(config, epochs=3, save_minutes=0.0)

    def run(name: str) -> dict[str, bytes]:
        out = setting.scratch / name
        train(data=dataset.path, caches=[cache.path], out=out, config=config)
        return {file: (out / file).read_bytes() for file in _RUN_FILES}

    whole = run("whole")
    step, kill_at = Trainer.step, -(-users // config.batch_size) * 3 // 2
    calls = 0

    def interrupted(self: Trainer, *arguments: Any) -> Tensor:
        nonlocal calls
        calls += 1
        if calls == kill_at:
            raise KeyboardInterrupt
        return step(self, *arguments)

    try:
        with patch.object(Trainer, "step", interrupted):
            run("resumed")
    except KeyboardInterrupt:
        pass
    resumed = run("resumed")
    differing = [file for file in _RUN_FILES if resumed[file] != whole[file]]
    return holds("killed and resumed", not differing, "equal to the byte", f"{', '.join(differing)} differ")


def _rate(trainer: Trainer, seconds: float, setting: Setting) -> float:
    """Targets per second, after some warm-up steps."""
    targets, number, began = 0, 0, 0.0
    while True:
        for fed in _epoch(trainer, 1 + number // trainer.feed.steps):
            if number == 5:
                _wait(setting)
                began, targets = time.perf_counter(), 0
            trainer.step(fed.batch, fed.read_UV, number)
            number += 1
            targets += fed.batch.n_targets
            if number > 5 and time.perf_counter() - began > seconds:
                _wait(setting)
                return targets / (time.perf_counter() - began)


def _epoch(trainer: Trainer, number: int) -> Iterator[FedBatch]:
    with closing(trainer.feed.epoch(number)) as batches:
        yield from batches


def _wait(setting: Setting) -> None:
    if setting.on_cuda:
        torch.cuda.synchronize(setting.device)
