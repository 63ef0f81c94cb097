"""Training in two processes, on the CPU: it is the training of one process at the same batches."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from small.train.groups import in_group, in_processes
from small.train.runs import make_cache, make_dataset, walks
from small.train.trainings import SMALL, Train, epochs_of
from tcf.config.train import TrainConfig
from tcf.launch.train_process import train_as_rank
from tcf.launch.workers.jobs import TrainingJob
from tcf.train.assemble import assemble, training_data
from tcf.train.batch.batch import share
from tcf.train.distributed import DistributedGroup
from tcf.train.follow import follow
from tcf.train.inputs import Inputs
from tcf.train.loss_meter import LossMeter
from tcf.train.parallel import EpochTask, Parallel, SingleProcess
from tcf.train.run.open_run import open_run
from tcf.train.trainer import Trainer

# Sixty users and 324 pairs: the last batch of 59 users, or of 17 pairs, is one row, so a process has none.
CASES: dict[str, dict[str, Any]] = {
    "text, in-batch": {"clip_norm": 0.5, "batch_size": 59},
    "text, full": {"loss": "full", "item_learning_rate": 0.003},
    "text, sampled": {"loss": "sampled", "negatives": 7, "batch_size": 59, "normalise": True},
    "text from the cache's files": {"table": "cache"},
    "id, in-batch": {"items": "id", "norm": "pre", "batch_size": 59},
    "id, full": {"items": "id", "loss": "full", "batch_size": 59},
    "id, sampled": {"items": "id", "loss": "sampled", "negatives": 7},
    "text+id, gbce": {"items": "text+id", "loss": "gbce", "negatives": 3, "batch_size": 59},
    "text+id, gated": {"items": "text+id", "id_init": "zero", "id_gate": 2.0, "id_learning_rate": 0.02},
    "id from texts": {"items": "id", "id_init": "text"},
    "bfloat16": {"precision": "bfloat16"},
    "dssm": {"backbone": "dssm", "batch_size": 17, "mlp_layers": 1},
    "dssm that reads": {"backbone": "dssm", "batch_size": 17, "user_tower": "history", "items": "id"},
}
BASE: dict[str, Any] = {"width": 8, "batch_size": 16, "devices": "cpu", "learning_rate": 0.01, "dropout": 0.0}
Numbers = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Curve:
    """The loss of each step, and the parameters after the last one."""

    losses: list[float] = field(default_factory=list)
    parameters: dict[str, Numbers] = field(default_factory=dict)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    dataset = make_dataset(folder, walks(), [f"text {i}" for i in range(30)])
    make_cache(folder, dataset, np.random.default_rng(0).normal(size=(30, 12)).astype(np.float32))
    return folder


def trainer_of(folder: Path, settings: dict[str, Any], group: Parallel | None = None) -> Trainer:
    torch.set_num_threads(1)
    config = TrainConfig(**{**BASE, **settings})
    inputs = Inputs.of_training(config, folder / "data", [folder / "cache"] if config.needs_cache else [])
    data, device = training_data(inputs, config), torch.device("cpu")
    return assemble(inputs, data, inputs.fit(config, data.items, device), config, device, group).trainer


def run_epochs(trainer: Trainer, epochs: Sequence[int] = (1, 2)) -> Curve:
    """The first process's epochs; another one only follows."""
    losses: list[float] = []

    class Kept(LossMeter):
        def add(self, loss: Tensor, targets: int) -> None:
            losses.append(loss.item())
            super().add(loss, targets)

    for number in epochs:
        if trainer.parallel.rank_and_size[0] > 0:
            task = trainer.parallel.next_task()  # type: ignore[attr-defined]
            assert task == EpochTask(number, 0)
        trainer.run_epoch(number, Kept(number, 0.01))
    return Curve(losses, {name: value.numpy().copy() for name, value in trainer.model.state_dict().items()})


def curves(group: DistributedGroup, folder: Path, cases: dict[str, dict[str, Any]]) -> dict[str, Curve]:
    return {name: run_epochs(trainer_of(folder, settings, group)) for name, settings in cases.items()}


@pytest.fixture(scope="module")
def together(folder: Path) -> list[dict[str, Curve]]:
    """What each of two processes found in all cases."""
    return in_group(curves, folder, CASES)


@pytest.mark.parametrize("case", CASES)
def test_two_processes_train_as_one(folder: Path, together: list[dict[str, Curve]], case: str) -> None:
    one = run_epochs(trainer_of(folder, CASES[case]))
    first, second = (found[case] for found in together)
    assert len(one.losses) in (4, 8, 40)
    rounding = 1000 if case == "bfloat16" else 1
    np.testing.assert_allclose(first.losses, one.losses, rtol=rounding * 2e-5)
    assert first.losses == second.losses
    assert first.parameters.keys() == one.parameters.keys()
    for name, value in one.parameters.items():
        # AdamW divides by the root of a mean square, so rounding counts for much where a gradient is nearly nothing.
        np.testing.assert_allclose(first.parameters[name], value, rtol=1e-3, atol=rounding * 2e-4, err_msg=name)
        np.testing.assert_array_equal(first.parameters[name], second.parameters[name], err_msg=name)


@pytest.mark.parametrize(
    ("count", "parts", "expected"),
    [
        (7, 3, [(0, 3), (3, 6), (6, 7)]),
        (4, 4, [(0, 1), (1, 2), (2, 3), (3, 4)]),
        (3, 2, [(0, 2), (2, 3)]),
        (1, 3, [(0, 1), (1, 1), (1, 1)]),
        (0, 2, [(0, 0), (0, 0)]),
        (5, 1, [(0, 5)]),
    ],
)
def test_shares(count: int, parts: int, expected: list[tuple[int, int]]) -> None:
    found = [share(count, (index, parts)) for index in range(parts)]
    assert [(part.start, part.stop) for part in found] == expected


def gathered(group: DistributedGroup, count: int) -> tuple[Numbers, Numbers]:
    """What is gathered of rows that name their items; the gradient of a sum in which process r counts r + 1 times."""
    whole_UD = torch.arange(2 * count, dtype=torch.float32).view(count, 2)
    own_SD = whole_UD[share(count, group.rank_and_size)].requires_grad_()
    joined_UD = group.gather(own_SD, count)
    (joined_UD * torch.arange(1, count + 1)[:, None] * (group.rank + 1)).sum().backward()  # type: ignore[no-untyped-call]
    assert own_SD.grad is not None
    return joined_UD.detach().numpy(), own_SD.grad.numpy()


def gathered_each(group: DistributedGroup, counts: Sequence[int]) -> list[tuple[Numbers, Numbers]]:
    return [gathered(group, count) for count in counts]


def test_shares_are_gathered_and_gradients_come_back() -> None:
    """Of three processes the last one has no share of one or four items; a gradient is 1 + 2 + 3 of its own."""
    counts = (1, 3, 4, 7)
    found = in_group(gathered_each, counts, size=3)
    for place, count in enumerate(counts):
        whole_UD = np.arange(2 * count, dtype=np.float32).reshape(count, 2)
        for process in found:
            np.testing.assert_array_equal(process[place][0], whole_UD)
        gradients = np.concatenate([process[place][1] for process in found])
        np.testing.assert_array_equal(gradients, 6 * np.arange(1, count + 1)[:, None] * np.ones((1, 2)))


def taken_up(group: DistributedGroup, folder: Path, settings: dict[str, Any]) -> tuple[Curve, Curve, list[float]]:
    """Two epochs; and the second one again, of which only the first process knows what came before it.

    Also the numbers that dropout draws in a step.
    """
    trainer = trainer_of(folder, settings, group)
    run_epochs(trainer, (1,))
    parameters = copy.deepcopy(trainer.model.state_dict())
    moments = copy.deepcopy([trainer.optimizer.adamw.state[p] for p in trainer.model.parameters()])
    straight = run_epochs(trainer, (2,))
    again = trainer_of(folder, settings, group)
    if group.rank == 0:
        again.model.load_state_dict(parameters)
        for parameter, state in zip(again.model.parameters(), moments, strict=True):
            again.optimizer.adamw.state[parameter].update(state)
    found = run_epochs(again, (2,))
    again._seed_dropout(7)
    return straight, found, torch.rand(4).tolist()


def test_the_others_get_what_the_first_one_took_up(folder: Path) -> None:
    settings = {"dropout": 0.5, "loss": "sampled", "negatives": 5}
    (*first, numbers), (*second, others) = in_group(taken_up, folder, settings)
    assert set(numbers).isdisjoint(others)
    for straight, again in (first, second):
        assert straight.losses == again.losses
        for name, value in straight.parameters.items():
            np.testing.assert_array_equal(again.parameters[name], value, err_msg=name)


class Silent:
    """A group whose first process has nothing to do, or dies right after its first word."""

    part, device, devices = (1, 2), torch.device("cpu"), "cpu,cpu"

    def next_task(self) -> None:
        return None


def test_without_a_task_nothing_is_opened(tmp_path: Path) -> None:
    follow(data=tmp_path / "none", out=tmp_path / "run", config=TrainConfig(items="id"), group=Silent())  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_one_process_is_a_group_of_one() -> None:
    alone, loss = SingleProcess(), torch.tensor(3.0, requires_grad=True)
    alone.backward(2 * loss)
    total = alone.total(loss)
    assert loss.grad is not None
    assert (alone.rank_and_size, loss.grad.item(), total.item(), total.requires_grad) == ((0, 1), 2.0, 3.0, False)


def test_two_processes_refit_as_one(run_train: Train, tmp_path: Path) -> None:
    settings = {"refit": True, "dropout": 0.0}
    one = run_train("one", **settings)
    config = TrainConfig(**(SMALL | settings))
    job = TrainingJob(tmp_path / "data", (tmp_path / "cache",), tmp_path / "two", config, threads=1)
    in_processes(train_as_rank, job)
    for place in ("two", "two/selection"):
        found, expected = epochs_of(tmp_path / place), epochs_of(tmp_path / place.replace("two", "one"))
        assert [line["loss"] for line in found] == pytest.approx([line["loss"] for line in expected], rel=1e-5)
    assert open_run(tmp_path / "two", device="cpu").config.devices == "cpu,cpu"
    np.testing.assert_allclose(
        open_run(tmp_path / "two", device="cpu").item_vectors(),
        open_run(one.path, device="cpu").item_vectors(),
        atol=1e-3,
    )
