"""Whether evaluations ask the same: only then do their users stand beside one another."""

from collections.abc import Mapping
from typing import Any

from tcf.common.errors import ConfigError
from tcf.evaluate.evaluation import Evaluation

__all__ = ["refuse_other_questions"]

_SHOWN = 12  # characters of a value in messages; fingerprints are long


def refuse_other_questions(evaluations: Mapping[str, Evaluation], *, measured: bool) -> None:
    """Refuse evaluations of different datasets, splits, policies, users or items.

    Args:
        evaluations: those to compare, by the name to show.
        measured: whether they must have the same metrics, too.

    Raises:
        ConfigError: they differ, saying in what.
    """
    (first_name, first), *others = ((name, _asked(found, measured)) for name, found in evaluations.items())
    for other_name, other in others:
        name = next((name for name in first if first[name] != other[name]), None)
        if name is not None:
            found = f"{str(first[name])[:_SHOWN]} ({first_name}) and {str(other[name])[:_SHOWN]} ({other_name})"
            raise ConfigError(
                "evaluations: expected those of one dataset, split and users with the same policies, found "
                f"{name} {found}; evaluate all alike"
            )


def _asked(evaluation: Evaluation, measured: bool) -> dict[str, Any]:
    metrics = {"metrics": ",".join(metric.name for metric in evaluation.measured)} if measured else {}
    return {**evaluation.asked, **metrics}
