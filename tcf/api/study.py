"""The public functions that run everything that a study file, or a pipeline file, asks for."""

from collections.abc import Iterable

from tcf.api.arguments import PathLike, as_path
from tcf.common.errors import ConfigError, value_words
from tcf.config.typed_values import typed
from tcf.launch.study.expand import expand
from tcf.launch.study.results.pipeline_result import PipelineResult
from tcf.launch.study.results.pipeline_result import run_pipeline as run_pipeline_units
from tcf.launch.study.results.study_result import StudyResult
from tcf.launch.study.run_study import run_study as run_units_of_study
from tcf.launch.study.study import Study
from tcf.launch.study.study_file import read_study

__all__ = ["run_pipeline", "run_study"]


def run_study(file: PathLike, settings: str | Iterable[str] = ()) -> StudyResult:
    """Run everything that a study file asks for and that has not been done.

    Datasets, extractions, trainings and evaluations are shared out over worker processes of this machine, or over jobs
    of Slurm, as the table `[launch]` of the file says. What fails is reported, tried again and given up in the end,
    while the rest goes on; the result names it in `failed`, and its `check` raises an error. The same call goes on with
    what is missing.

    Args:
        file: a TOML file such as `examples/study.toml`, which explains all entries.
        settings: entries that replace those of the file, each as `key=value`, such as `grid.seeds=[0]`.

    Returns:
        The results; `print(result.summary())` shows the means over seeds, `result.to_pandas()` has all rows.

    Raises:
        ConfigError: the file is missing, or a setting in it is unknown, of the wrong type or missing.
        RunError: another command is at the same study.

    Example:
        ```python
        result = tcf.run_study("study.toml", "grid.seeds=[0]")
        result.check()
        print(result.summary())
        ```
    """
    return run_units_of_study(*_expanded(file, settings))


def run_pipeline(file: PathLike) -> PipelineResult:
    """Run all stages of a pipeline file, a study of one dataset and one encoder, that have not been run yet.

    Args:
        file: a TOML file such as `examples/quickstart.toml`, which explains all entries.

    Returns:
        The results; `print(result.summary())` compares the evaluations.

    Raises:
        ConfigError: the file is missing, or a setting in it is unknown, of the wrong type or missing.
        RunError: a stage failed; the others have been run as far as they do not need it.

    Example:
        ```python
        result = tcf.run_pipeline("pipeline.toml")
        print(tcf.evaluation_table(result.evaluations).to_pandas())
        ```
    """
    study, overrides = _expanded(file, ())
    if not study.is_pipeline:
        raise ConfigError(f"{file}: expected a pipeline file, found a study file; call tcf.run_study")
    result = run_pipeline_units(study, overrides)
    result.check()
    return result


def _expanded(file: PathLike, settings: str | Iterable[str]) -> tuple[Study, tuple[str, ...]]:
    given = [settings] if isinstance(settings, str) else settings
    if not isinstance(given, Iterable):
        raise ConfigError(f"settings: expected entries as key=value, found {value_words(given)}")
    overrides = tuple(typed(entry, str, "settings") for entry in given)
    return expand(read_study(as_path(file, "file"), overrides)), overrides
