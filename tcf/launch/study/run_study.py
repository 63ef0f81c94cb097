"""Runs a study: everything of it that is not done, and then its results."""

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from tcf.common.errors import RunError
from tcf.config.combine import CombineConfig
from tcf.config.evaluate import EvaluateConfig
from tcf.config.extract import ExtractConfig
from tcf.config.launch import LaunchConfig
from tcf.config.prepare import PrepareConfig
from tcf.config.train import TrainConfig
from tcf.launch.file_terms import in_file_terms, keys_of
from tcf.launch.launchers.launcher import Launcher
from tcf.launch.launchers.run_units import UnitResults, check_results, run_units
from tcf.launch.study.status.started import claimed, note_start, study_command
from tcf.launch.study.study import Study
from tcf.launch.units.records import Records
from tcf.launch.units.tasks import Stage
from tcf.launch.units.unit import Unit

if TYPE_CHECKING:
    from tcf.launch.study.results.study_result import StudyResult

__all__ = ["Opener", "forget_results", "run_study", "run_study_units"]

logger = logging.getLogger(__name__)

Opener = Callable[[Mapping[Stage, LaunchConfig], Records], Launcher]
"""Opens what runs the units of a study."""

_TABLES: Mapping[Stage, tuple[str, tuple[str, ...]]] = {
    "prepare": ("data", keys_of(PrepareConfig)),
    "extract": ("extract", (*keys_of(ExtractConfig), "model")),
    "train": ("train", keys_of(TrainConfig)),
    "combine": ("combine", keys_of(CombineConfig)),
    "evaluate": ("evaluate", keys_of(EvaluateConfig)),
    "recommend": ("evaluate", keys_of(EvaluateConfig)),
}
"""The table of the file that has the settings of a stage, and what they are called there."""


def run_study(study: Study, overrides: Sequence[str] = (), opener: Opener | None = None) -> "StudyResult":
    """Run everything of a study that is not done; what fails is reported, and the rest goes on.

    Args:
        study: the expanded study.
        overrides: the entries that replaced those of its file, for messages and for `tcf study status`.
        opener: opens what runs the units; None for what the study's own settings say.

    Raises:
        RunError: another command is at it, or the study's folder cannot be written.
        TcfError: a launcher cannot run units at all.
    """
    results, problem = run_study_units(study, overrides, opener)
    from tcf.launch.study.results.study_result import StudyResult

    return StudyResult(study.out, results.failed, results.left, study, problem)


def run_study_units(
    study: Study, overrides: Sequence[str] = (), opener: Opener | None = None
) -> tuple[UnitResults, str]:
    """Run the units of a study; returns what became of them, and what failed in a sentence, empty if nothing did.

    Args:
        study: as for `run_study`, as are the others.
        overrides: the entries that replaced those of its file.
        opener: opens what runs the units.

    Raises:
        RunError: as `run_study` does.
        TcfError: as well.
    """
    if opener is None:
        from tcf.launch.launchers.open_launcher import open_launcher

        opener = open_launcher
    records = Records(study.state)
    _check_libraries(study)
    with claimed(study):
        note_start(study, overrides)
        forget_results(study, records)
        tries = {stage: config.tries for stage, config in study.launch.items()}
        units = _with_minutes(study)
        done = run_units(units, records, opener(study.launch, records), tries=tries, what="study")
        done = dataclasses.replace(done, failed=_failed_in_file_terms(study, done.failed))
        return done, _problem(done, records, study_command(study.path, overrides, study.options))


def _with_minutes(study: Study) -> tuple[Unit, ...]:
    """The units, with predicted minutes if short ones are packed into jobs; predictions take half a minute at most."""
    if all(study.launch[stage].launcher == "local" for stage in {unit.stage for unit in study.units}):
        return study.units
    from tcf.launch.study.predict import with_predictions

    return with_predictions(study).units


def forget_results(study: Study, records: Records) -> None:
    """Have the results written again if an evaluation is going to be made: those there may lack it.

    Args:
        study: the study.
        records: of its units.
    """
    units = {unit.name: unit for unit in study.units}
    for unit in study.units:
        if unit.stage == "compare" and any(records.state(units[need]) != "done" for need in unit.needs):
            records.file(unit.name).unlink(missing_ok=True)


def _check_libraries(study: Study) -> None:
    """Refuse a study whose trainings would fail for want of FAISS, before hours of extraction."""
    if study.settings:
        from tcf.ranking.faiss_search import load_faiss

        load_faiss()


def _problem(results: UnitResults, records: Records, again: str) -> str:
    """Log the ends of the logs of what failed; returns what to do about it."""
    try:
        check_results(results, records, again)
    except RunError as error:
        return str(error)
    return ""


def _failed_in_file_terms(study: Study, failed: Mapping[str, str]) -> dict[str, str]:
    """Why units failed, in terms of the study's file, which has keys where their commands have options."""
    units = {unit.name: unit for unit in study.units}
    return {name: _in_file_terms(study, units[name], reason) for name, reason in failed.items()}


def _in_file_terms(study: Study, unit: Unit, reason: str) -> str:
    table, keys = _TABLES.get(unit.stage, ("", ()))
    return in_file_terms(reason, study.path, table, keys)
