"""An extraction whose shards are shared out over processes of this machine, or over jobs of Slurm."""

import dataclasses
from pathlib import Path

from tcf.assets.models import MODEL_NAMES
from tcf.common.errors import ConfigError
from tcf.common.manifest import read_manifest
from tcf.config.extract import ExtractConfig
from tcf.config.launch import LaunchConfig
from tcf.config.toml_files import user_path
from tcf.data.dataset import DATASET
from tcf.encoders.folder.local_model import local_model
from tcf.extract.result import Extraction
from tcf.launch.launchers.run_command import run_command_units, state_folder
from tcf.launch.launchers.shares import shares, this_machine
from tcf.launch.units.results import read_result
from tcf.launch.units.tasks import ExtractTask, Stage
from tcf.launch.units.unit import Unit

__all__ = ["extract_in_parts"]

_WHOLE = "extract/whole"


def extract_in_parts(
    *, data: Path, model: str, out: Path, config: ExtractConfig, launch: LaunchConfig, again: str
) -> Extraction:
    """Fill caches with vectors of every item text of a dataset, in as many units as there are workers.

    Each unit computes its part of the shards, under leases that all share. A last one, when they are done, computes
    what is still missing, which is nothing as a rule, and checks and counts all.

    Args:
        data: a dataset directory.
        model: as typed: a name, a hub id, or a path. It is downloaded here, because other nodes may lack the internet.
        out: the cache, or the folder of several.
        config: settings.
        launch: where and how the units run.
        again: the command line, for messages.

    Raises:
        DataError: there is no dataset at the path.
        ModelError: the model cannot be found or downloaded.
        ConfigError: settings contradict one another.
        RunError: a unit was given up.
    """
    dataset = read_manifest(data, DATASET)
    local_model(model)
    task = ExtractTask(data.absolute(), _absolute_model(model), out.absolute(), config)
    number = _number_of_parts(config, launch)
    parts = [_part(task, part, number, dataset.fingerprint) for part in range(number)] if number > 1 else []
    whole = Unit(_WHOLE, _with_result(task, _WHOLE), needs=tuple(unit.name for unit in parts))
    kept = [unit.name for unit in parts]
    results = run_command_units([*parts, whole], launch, out, again, kept=kept)
    found = {name: _extraction(read_result(_result_file(out, name))) for name in (*results.done, *results.found)}
    computed = sum(extraction.computed for name, extraction in found.items() if name in results.done)
    done = dataclasses.replace(found[_WHOLE], computed=computed)
    return dataclasses.replace(
        done,
        caches=tuple(_as_typed(path, out) for path in done.caches),
        parquet=tuple(_as_typed(path, out) for path in done.parquet),
    )


def _number_of_parts(config: ExtractConfig, launch: LaunchConfig) -> int:
    """The number of units that share out the shards."""
    if config.shards is not None:
        raise ConfigError(
            f"--shards: expected to be left out with --launcher or --workers, which share out all shards, found "
            f"{config.shards}"
        )
    if config.repair:
        return 1  # damaged shards are dropped before anything is computed, by one process
    if launch.launcher == "slurm":
        return launch.workers or 1
    if config.devices not in ("auto", "cpu"):
        raise ConfigError(
            f"--devices: expected auto or cpu with --workers, found {config.devices}; --gpus-per-worker says how many "
            "GPUs each has"
        )
    asked: dict[Stage, LaunchConfig] = {"extract": launch}
    return launch.workers or shares(asked, this_machine(asked))["extract"].most


def _part(task: ExtractTask, part: int, number: int, dataset: str) -> Unit:
    """The unit of a part; its name has the dataset's fingerprint, so that another dataset makes other units."""
    name = f"extract/{dataset[:8]}/{part}-of-{number}"
    config = dataclasses.replace(task.config, shards=f"{part}/{number}", parquet=False)
    return Unit(name, _with_result(dataclasses.replace(task, config=config), name))


def _with_result(task: ExtractTask, unit: str) -> ExtractTask:
    return dataclasses.replace(task, result=_result_file(task.out, unit))


def _result_file(out: Path, unit: str) -> Path:
    return state_folder(out) / "results" / f"{unit}.json"


def _extraction(values: dict[str, object]) -> Extraction:
    """An extraction from the values that its task has written."""
    places = {name: tuple(map(Path, _strings(values[name]))) for name in ("caches", "parquet")}
    return Extraction(**{**values, **places})  # type: ignore[arg-type]


def _strings(value: object) -> list[str]:
    return [str(part) for part in value] if isinstance(value, list) else []


def _absolute_model(model: str) -> str:
    """A model such that a process in another folder finds the same."""
    path = user_path(model)
    return model if model in MODEL_NAMES or not path.exists() else str(path.absolute())


def _as_typed(path: Path, out: Path) -> Path:
    """An output at or beside `out`, as the user has typed `out`."""
    return Path(f"{out}{str(path).removeprefix(str(out.absolute()))}")
