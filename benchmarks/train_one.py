"""One training for a given time, by tcf or the straightforward step, in a process that is measured from outside.

    python benchmarks/train_one.py JOB.json

The clock starts with the first step and stops after the step in which the time is up; imports, opening the dataset and
initialising the model are not included. Then the file `trained` is created, and the model is evaluated as `tcf train`
does after each epoch. With the kind `check`, nothing is trained; the loss and gradients of both steps are compared.
"""

import dataclasses
import json
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from train_straightforward import PaddedSamples, Straightforward, log_frequency

from tcf.common.devices import resolve_device
from tcf.config.fields import from_mapping
from tcf.config.train import TrainConfig
from tcf.data.cache.caches import VectorCache
from tcf.train.assemble import TrainingSetup, assemble, training_data
from tcf.train.batch.batch import row_order
from tcf.train.batch.training_data import TrainingData
from tcf.train.inputs import Inputs
from tcf.train.loss_meter import LossMeter

__all__ = ["main"]


@dataclass(frozen=True)
class _Task:
    """The settings, data and device of a training, and the job it belongs to."""

    config: TrainConfig
    inputs: Inputs
    data: TrainingData
    device: torch.device
    job: dict[str, Any]

    def assemble(self, config: TrainConfig | None = None) -> TrainingSetup:
        """Set up training as `tcf train` does."""
        config = self.config if config is None else config
        projections = self.inputs.fit(config, self.data.items, self.device)
        return assemble(self.inputs, self.data, projections, config, self.device)

    def weights(self) -> dict[str, Tensor]:
        """The initial weights of tcf; its table of vectors is not loaded."""
        return self.assemble(dataclasses.replace(self.config, table="cache")).trainer.model.state_dict()

    def device_peak(self) -> int:
        """Peak memory of the GPU so far in bytes; 0 without one."""
        return torch.cuda.max_memory_allocated(self.device) if self.device.type == "cuda" else 0


def main() -> None:
    """Train, evaluate, and save the result."""
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    torch.set_num_threads(job["threads"])
    config = from_mapping(TrainConfig, job["settings"], sys.argv[1])
    inputs = Inputs.open(config.items, Path(job["data"]), [Path(job["cache"])] if job["cache"] else [])
    task = _Task(config, inputs, training_data(inputs, config), resolve_device(config.devices), job)
    torch.manual_seed(config.seed)
    match job["kind"]:
        case "tcf":
            found = _tcf(task)
        case "straightforward":
            found = _straightforward(task)
        case "check":
            found = _check(task)
        case kind:
            sys.exit(f"{sys.argv[1]}: expected the kind tcf, straightforward or check, found {kind}")
    Path(job["result"]).write_text(json.dumps(found), encoding="utf-8")


class _Clock:
    """Counts steps and targets, and checks whether the time is up."""

    def __init__(self, seconds: float, device: torch.device) -> None:
        self.limit, self.device = seconds, device
        self.seconds, self.targets, self.steps = 0.0, 0, 0
        self.began = time.perf_counter()

    def is_up(self, targets: int) -> bool:
        """Count a step with this many targets; returns whether the time is up."""
        self.steps += 1
        self.targets += targets
        if time.perf_counter() - self.began < self.limit:
            return False
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.seconds = time.perf_counter() - self.began
        return True


def _tcf(task: _Task) -> dict[str, float]:
    assembled = task.assemble()
    trainer = assembled.trainer
    trainer.model.train()
    clock, epoch, is_up = _Clock(task.job["seconds"], task.device), 0, False
    while not is_up:
        epoch += 1
        meter = LossMeter(epoch, task.config.learning_rate)
        with closing(trainer.feed.epoch(epoch)) as batches:
            for fed in batches:
                meter.add(trainer.step(fed.batch, fed.read_UV, clock.steps), fed.batch.n_targets)
                is_up = clock.is_up(fed.batch.n_targets)
                if is_up:
                    break
    Path(task.job["trained"]).touch()
    peak = task.device_peak()
    return {**_measured(task, clock, epoch, assembled), "device_peak": peak}


def _straightforward(task: _Task) -> dict[str, float]:
    config, model = task.config, _straightforward_model(task)
    model.load_state_dict(task.weights())
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    samples = PaddedSamples(task.data)
    loader = DataLoader(samples, batch_size=config.batch_size, shuffle=True)
    clock, epoch = _Clock(task.job["seconds"], task.device), 1
    for number, items_BS, real_BS in _epochs(loader):
        epoch = number
        optimizer.zero_grad()
        loss: Tensor = model(items_BS.to(task.device), real_BS.to(task.device))
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if clock.is_up(int((real_BS[:, 1:] & real_BS[:, :-1]).sum())):
            break
    Path(task.job["trained"]).touch()
    peak = task.device_peak()
    # Evaluated by the code that evaluates tcf, whose table is loaded only now.
    assembled = task.assemble()
    assembled.trainer.model.load_state_dict(model.state_dict())
    return {**_measured(task, clock, epoch, assembled), "device_peak": peak}


def _epochs(loader: "DataLoader[tuple[Tensor, Tensor]]") -> Iterator[tuple[int, Tensor, Tensor]]:
    """Yield batches without end, with the number of their epoch."""
    epoch = 0
    while True:
        epoch += 1
        for items_BS, real_BS in loader:
            yield epoch, items_BS, real_BS


def _straightforward_model(task: _Task) -> Straightforward:
    cache = VectorCache.open(Path(task.job["cache"]))
    vectors_NV = torch.from_numpy(cache.vectors_for(task.inputs.dataset).astype(np.float32))
    config = task.config
    return Straightforward(
        vectors_NV,
        log_frequency(task.data),
        width=config.width,
        layers=config.dtl_layers,
        positions=config.history,
        blocks=config.blocks,
        heads=config.heads,
        dropout=config.dropout,
    ).to(task.device)


def _measured(task: _Task, clock: _Clock, epoch: int, assembled: TrainingSetup) -> dict[str, float]:
    """The counts and times, and the model's NDCG@10."""
    on_gpu, model = task.device.type == "cuda", assembled.trainer.model
    if assembled.validation is None:
        raise ValueError("expected a training with a validation, found a refit")
    validation = assembled.validation.sample(task.job["validation_users"], 0)
    metrics = validation.measure(model, "cuda" if on_gpu else "cpu")
    return {
        "targets": clock.targets,
        "seconds": clock.seconds,
        "steps": clock.steps,
        "epochs": epoch,
        "ndcg": metrics["ndcg@10"],
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "threads": torch.get_num_threads(),
    }


def _check(task: _Task) -> dict[str, float]:
    """The loss of one batch by both steps, and the relative difference of their gradients."""
    trainer, other = task.assemble().trainer, _straightforward_model(task)
    other.load_state_dict(trainer.model.state_dict())
    samples = PaddedSamples(task.data)
    order = row_order(len(samples), task.config.seed, 1)[: task.config.batch_size]
    items_BS, real_BS = (torch.stack(part) for part in zip(*(samples[int(row)] for row in order), strict=True))
    plain: Tensor = other(items_BS.to(task.device), real_BS.to(task.device))
    plain.backward()  # type: ignore[no-untyped-call]
    with closing(trainer.feed.epoch(1)) as batches:
        fed = next(batches)
    states_PD, vectors_UD = trainer.model(fed.batch, fed.read_UV)
    loss = trainer.loss(states_PD, vectors_UD, fed.batch)
    loss.backward()  # type: ignore[no-untyped-call]
    ours, theirs = _gradient(trainer.model), _gradient(other)
    gap = float((ours - theirs).norm() / theirs.norm())
    return {"loss": float(loss), "straightforward": float(plain), "gradient_gap": gap}


def _gradient(model: torch.nn.Module) -> Tensor:
    """The gradients of all parameters, concatenated in the order of their names, (n,)."""
    named = sorted((name, p.grad) for name, p in model.named_parameters() if p.grad is not None)
    return torch.cat([gradient.flatten() for _, gradient in named])


if __name__ == "__main__":
    main()
