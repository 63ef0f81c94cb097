"""Small units for jobs of Slurm, of the stages that take least time."""

from collections.abc import Mapping
from pathlib import Path
from typing import get_args

from small.data.raw import write_files
from tcf.config.launch import LaunchConfig
from tcf.config.prepare import PrepareConfig
from tcf.launch.units.tasks import PrepareTask, Stage
from tcf.launch.units.unit import Unit

__all__ = ["everywhere", "preparation", "raw_files"]


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
