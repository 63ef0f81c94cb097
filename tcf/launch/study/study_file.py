"""Reading a study file: datasets, encoders and a grid of what is trained on them, in one TOML file.

A pipeline file, which has one dataset, one encoder and a table for each run, is read into the same form.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from tcf.config.fields import read_toml
from tcf.config.toml_files import is_study
from tcf.launch.study.tables.content import StudyFile
from tcf.launch.study.tables.overrides import with_overrides
from tcf.launch.study.tables.pipeline_tables import read_pipeline_tables
from tcf.launch.study.tables.study_tables import read_study_tables

__all__ = ["StudyFile", "read_study"]


def read_study(path: Path, overrides: Sequence[str] = ()) -> StudyFile:
    """Read a study file, or a pipeline file.

    Args:
        path: the file.
        overrides: entries that replace those of the file, as `KEY=VALUE`; see `tcf.launch.study.tables.overrides`.

    Raises:
        ConfigError: the file is not TOML, a setting is unknown or of the wrong type, or a required one is missing.
    """
    values = with_overrides(read_toml(path), overrides)
    read = read_study_tables if is_study(values) else read_pipeline_tables
    return dataclasses.replace(read(path, values), overrides=tuple(overrides))
