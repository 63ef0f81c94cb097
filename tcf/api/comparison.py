"""Public functions that set evaluations side by side: in a table, and in a paired comparison."""

import os
from collections.abc import Iterable, Mapping, Sequence

from tcf.api.arguments import PathLike, as_path, at_least
from tcf.common.errors import ConfigError, value_words
from tcf.config.evaluate import check_confidence
from tcf.config.typed_values import typed
from tcf.evaluate.compare.compare import compare, metrics_named
from tcf.evaluate.compare.comparison import Comparison
from tcf.evaluate.compare.open_compared import open_compared
from tcf.evaluate.compare.pairs import Draws
from tcf.evaluate.evaluation_table import Compared, EvaluationTable
from tcf.evaluate.groups.grouping import groupings_of

__all__ = ["Several", "compare_evaluations", "evaluation_table"]

Several = Mapping[str, Compared | PathLike] | Sequence[Compared | PathLike] | Compared | PathLike


def evaluation_table(evaluations: Several) -> EvaluationTable:
    """Show evaluations side by side in one table.

    Args:
        evaluations: evaluations, or their directories, by the name to show; or a sequence of them, each shown under
            the name of its directory. Those of one setting with several seeds as one `SeedEvaluations`, or as the
            folder that holds them as `seed-0`, `seed-1`, ...

    Returns:
        A table with one row per evaluation, or for the mean of several seeds; `print` shows it.

    Raises:
        RunError: there is no finished evaluation at a path.
        ConfigError: two evaluations have the same name.

    Example:
        ```python
        print(tcf.evaluation_table({"text": "evaluation", "most popular": "popularity"}))
        ```
    """
    return EvaluationTable(_by_name(evaluations))


def compare_evaluations(
    evaluations: Several,
    metrics: str | Iterable[str] = (),
    by: str | Iterable[str] = (),
    *,
    resamples: int = 10_000,
    flips: int = 9_999,
    seed: int = 0,
    confidence: float = 0.95,
) -> Comparison:
    """Compare evaluations of the same users, each two of them, with intervals and tests.

    For each metric: the means with intervals and the groups of rankings that cannot be told apart, the differences of
    all pairs with intervals by the bootstrap over users, paired sign-flip tests with Holm's correction, McNemar's test
    for hit rates without ties, the smallest detectable difference, and which share of the users has a hit of one
    ranking alone. The tests pair users and are about these runs; with several seeds the intervals cross users with
    seeds, and so does a second p-value; Holm's correction takes the larger of the two.

    Args:
        evaluations: two or more, as for `evaluation_table`; of the same dataset, split, policies and users.
        metrics: what to compare by, such as `hr@10` or `ndcg@5`, with any cutoff; by default all that were measured.
        by: groups of targets to compare as well, as for `Evaluation.groups`.
        resamples: of the bootstrap.
        flips: of the sign-flip test.
        seed: of both.
        confidence: the probability of the intervals; 1 less this is the level of the tests.

    Returns:
        The comparison; `print` shows it, `to_pandas` returns its tables.

    Raises:
        RunError: there is no finished evaluation at a path, or a file of ranks is damaged.
        ConfigError: the evaluations are of different datasets, splits, policies or users, or an argument is wrong.
        DataError: a file of groups cannot be read.

    Example:
        ```python
        comparison = tcf.compare_evaluations({"text": "evaluation", "most popular": "popularity"}, ["hr@10", "ndcg@10"])
        print(comparison)
        comparison.to_pandas("means")
        ```
    """
    names = [metrics] if isinstance(metrics, str) else metrics
    if not isinstance(names, Iterable):
        raise ConfigError(f"metrics: expected names of metrics, found {value_words(names)}")
    sure = typed(confidence, float, "confidence")
    check_confidence(sure, "confidence")
    draws = Draws(
        at_least(1, resamples, "resamples"), at_least(1, flips, "flips"), at_least(0, seed, "seed"), confidence=sure
    )
    chosen = metrics_named([typed(name, str, "metrics") for name in names], "metrics")
    groupings = groupings_of(by)
    return compare(_by_name(evaluations), draws, metrics=chosen, groupings=groupings)


def _by_name(evaluations: Several) -> dict[str, Compared]:
    """Evaluations that are opened, by their names."""
    found: dict[str, Compared] = {}
    if isinstance(evaluations, str | os.PathLike | Compared):
        evaluations = (evaluations,)
    if not isinstance(evaluations, Iterable):
        raise ConfigError(f"evaluations: expected evaluations or their directories, found {type(evaluations).__name__}")
    named = evaluations.items() if isinstance(evaluations, Mapping) else ((None, entry) for entry in evaluations)
    for name, entry in named:
        evaluation = entry if isinstance(entry, Compared) else open_compared(as_path(entry, "evaluations"))
        shown = evaluation.path.absolute().name if name is None else typed(name, str, "evaluations: name")
        if shown in found:
            raise ConfigError(f"evaluations: expected different names, found {shown} twice; give a dict with names")
        found[shown] = evaluation
    return found
