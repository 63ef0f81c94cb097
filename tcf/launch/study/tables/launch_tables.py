"""The table [launch] of a study file: where and how units of each stage run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tcf.common.errors import ConfigError
from tcf.config.launch import LaunchConfig
from tcf.launch.study.tables.section import FileSection, known_words
from tcf.launch.units.tasks import Stage
from tcf.launch.units.unit import STAGES

__all__ = ["read_launch"]


def read_launch(path: Path, values: Any) -> Mapping[Stage, LaunchConfig]:
    """Return the settings of every stage: those of [launch], overridden by those of its own table.

    Args:
        path: the file.
        values: the content of [launch].

    Raises:
        ConfigError: a setting or stage is unknown, has the wrong type, or settings contradict one another.
    """
    own = {key: value for key, value in values.items() if isinstance(value, dict)} if isinstance(values, dict) else {}
    shared = FileSection(path, "launch", {k: v for k, v in values.items() if k not in own} if own else values)
    base = shared.others(LaunchConfig)
    shared.rest(LaunchConfig)
    for stage in own:
        if stage not in STAGES:
            raise ConfigError(f"{path}: [launch.{stage}] unknown stage {stage}{known_words(stage, STAGES)}")
    return {
        stage: FileSection(path, f"launch.{stage}", own.get(stage, {})).rest(LaunchConfig, base) for stage in STAGES
    }
