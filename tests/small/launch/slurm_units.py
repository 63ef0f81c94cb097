"""Small units for jobs of Slurm, of the stages that take least time."""

from collections.abc import Mapping
from pathlib import Path
from typing import get_args

from small.data.raw import write_files
from tcf.config.evaluate import EvaluateConfig
from tcf.config.extract import ExtractConfig
from tcf.config.launch import LaunchConfig
from tcf.config.prepare import PrepareConfig
from tcf.config.train import TrainConfig
from tcf.launch.launchers.slurm.slurm_launcher import SlurmLauncher
from tcf.launch.units.records import Records
from tcf.launch.units.tasks import EvaluateTask, ExtractTask, PrepareTask, Stage, TrainTask
from tcf.launch.units.unit import Unit

__all__ = ["everywhere", "launcher_of", "preparation", "preparations", "raw_files", "small_study", "training"]


def everywhere(config: LaunchConfig) -> Mapping[Stage, LaunchConfig]:
    """The same settings for all stages."""
    return dict.fromkeys(get_args(Stage), config)


def raw_files(folder: Path) -> Path:
    """Raw files of three users and three items."""
    return write_files(
        folder, {"items.tsv": "a\tA\nb\tB\nc\tC\n", "behaviors.tsv": "u1\ta b c\nu2\tb c a\nu3\tc a b\n"}
    )


def preparation(raw: Path, out: Path, minutes: float | None = None) -> Unit:
    """The preparation of a dataset from raw files, as a unit of the dataset's name."""
    config = PrepareConfig(min_history=3)
    return Unit(f"prepare/{out.name}", PrepareTask("tcf", str(raw), "", out, config), minutes=minutes)


def preparations(folder: Path, number: int) -> list[Unit]:
    """As many preparations, of files that are not there."""
    return [preparation(folder / "raw", folder / f"d{i}") for i in range(number)]


def launcher_of(records: Records, config: LaunchConfig, patience: float = 0.0) -> SlurmLauncher:
    """A launcher that looks at the queue whenever it is asked."""
    return SlurmLauncher(everywhere(config), records, poll=0.0, patience=patience)


def small_study(folder: Path, out: Path, epochs: int = 2) -> list[Unit]:
    """A dataset, its vectors, a run on text for each of two seeds, their evaluations and one of a baseline.

    Args:
        folder: has `raw` and `model`.
        out: where all results go.
        epochs: of each training.
    """
    data, cache = out / "data", out / "cache"
    extract = ExtractConfig(devices="cpu", tokens_per_batch=512, shard_rows=4)
    units = [
        Unit("prepare", PrepareTask("tcf", str(folder / "raw"), "", data, PrepareConfig(min_history=4))),
        Unit("extract", ExtractTask(data, str(folder / "model"), cache, extract), needs=("prepare",)),
        Unit(
            "evaluate/popularity",
            EvaluateTask(None, "popularity", data, (), out / "popularity", EvaluateConfig(device="cpu")),
            needs=("prepare",),
        ),
    ]
    for seed in (0, 1):
        run = training(data, cache, out / f"run-{seed}", epochs, seed)
        evaluation = EvaluateTask(out / f"run-{seed}", "", None, (), out / f"eval-{seed}", EvaluateConfig(device="cpu"))
        units += [run, Unit(f"evaluate/run-{seed}", evaluation, needs=(run.name,))]
    return units


def training(data: Path, cache: Path, out: Path, epochs: int = 2, seed: int = 0, devices: str = "cpu") -> Unit:
    """A training on text, as a unit of the run's name; what it needs is called `prepare` and `extract`."""
    config = TrainConfig(
        items="text", width=8, epochs=epochs, patience=epochs, batch_size=16, devices=devices, seed=seed
    )
    return Unit(f"train/{out.name}", TrainTask(data, (cache,), out, config), needs=("prepare", "extract"))
