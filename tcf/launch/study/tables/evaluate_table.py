"""The table [evaluate] of a study file."""

from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from tcf.common.errors import ConfigError
from tcf.config.evaluate import Baseline, EvaluateConfig
from tcf.config.train import TrainConfig
from tcf.launch.file_terms import errors_in_file_terms
from tcf.launch.study.tables.section import FileSection

__all__ = ["StudyEvaluation", "check_refit", "read_evaluate"]


@dataclass(frozen=True)
class StudyEvaluation:
    """What is evaluated and compared.

    Attributes:
        baselines: untrained rankings to compare with.
        recommend: number of items to recommend to each user; 0 for none.
        by: groups that the comparison is also made for.
        metrics: what is compared; empty for all that was measured.
        config: settings of the evaluations.
    """

    baselines: tuple[Baseline, ...]
    recommend: int
    by: tuple[str, ...]
    metrics: tuple[str, ...]
    config: EvaluateConfig


def read_evaluate(section: FileSection) -> StudyEvaluation:
    """Read the table.

    Raises:
        ConfigError: a setting is unknown or of the wrong type, or groups or a metric are none.
    """
    evaluation = StudyEvaluation(
        baselines=section.choices("baselines", get_args(Baseline)),
        recommend=section.count("recommend"),
        by=section.strings("by"),
        metrics=section.strings("metrics"),
        config=section.rest(EvaluateConfig),
    )
    # These load libraries, so only if there is something to check.
    with errors_in_file_terms(section.path):
        if evaluation.by:
            from tcf.evaluate.groups.grouping import groupings_of

            groupings_of(evaluation.by, f"{section.where} by")
        if evaluation.metrics:
            from tcf.evaluate.compare.compare import metrics_named

            metrics_named(evaluation.metrics, f"{section.where} metrics")
    return evaluation


def check_refit(path: Path, place: str, run: TrainConfig, config: EvaluateConfig) -> None:
    """Refuse an evaluation on the targets that a refit is trained on.

    Args:
        path: the file.
        place: what is trained, for messages.
        run: its settings.
        config: settings of its evaluation.

    Raises:
        ConfigError: the run is a refit, and the targets are those of validation.
    """
    if run.refit and config.split == "validation":
        raise ConfigError(
            f'{path}: {place} refit: expected [evaluate] split = "test", since the run is trained on the '
            "validation targets, found validation; remove one of them"
        )
