"""Evaluations side by side, as a table for the terminal."""

from collections.abc import Mapping

from tcf.evaluate.evaluation import Evaluation

__all__ = ["comparison"]

_COLUMNS = ("hr@10", "ndcg@10", "mrr")


def comparison(evaluations: Mapping[str, Evaluation]) -> str:
    """One line an evaluation, with its metrics in percent.

    Args:
        evaluations: finished evaluations by the name to show, in the order to show.
    """
    width = max(len(name) for name in ("ranking", *evaluations))
    lines = [" ".join(["ranking".ljust(width), *(f"{name:>9}" for name in (*_COLUMNS, "users", "items"))])]
    for name, evaluation in evaluations.items():
        metrics = evaluation.metrics
        percents = [f"{100 * metrics[column]:>8.2f}%" for column in _COLUMNS]
        lines.append(" ".join([name.ljust(width), *percents, f"{metrics['users']:>9}", f"{metrics['candidates']:>9}"]))
    return "\n".join(lines)
