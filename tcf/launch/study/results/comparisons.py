"""The comparison of all settings and baselines of a study, dataset by dataset."""

import logging
import math
from collections.abc import Mapping

from tcf.common.errors import ConfigError
from tcf.common.memory import host_memory
from tcf.common.units import as_bytes, counted
from tcf.evaluate.compare.compare import compare, metrics_named
from tcf.evaluate.compare.comparison import Comparison
from tcf.evaluate.compare.pairs import Draws
from tcf.evaluate.evaluation_table import Compared
from tcf.evaluate.groups.grouping import groupings_of
from tcf.evaluate.seeds import SeedEvaluations
from tcf.launch.study.results.finished import Finished
from tcf.launch.study.study import Study

__all__ = ["compare_datasets", "draws_for"]

logger = logging.getLogger(__name__)

_FLIPS = 9_999
_COPIES = 3  # of the differences of all pairs, which are the largest part


def compare_datasets(study: Study, finished: Finished) -> dict[str, Comparison]:
    """Compare what has been evaluated on each dataset; datasets with less than two evaluations are left out.

    A setting of which a seed is missing is left out, since seeds of two settings stand beside one another; and so is
    everything of a dataset that would not fit into memory. Both are said.

    Raises:
        RunError: a file of ranks is missing or damaged.
    """
    found = {}
    for dataset in study.datasets:
        partial = finished.partial(dataset)
        if partial:
            logger.warning(f"{dataset}: not compared, since seeds are missing: {', '.join(partial)}")
        compared = {name: entry for name, entry in finished.compared(dataset).items() if name not in partial}
        if len(compared) < 2:
            continue
        draws = draws_for(compared, study.evaluate.confidence)
        if draws is None:
            continue
        try:
            found[dataset] = compare(
                compared,
                draws,
                metrics=metrics_named(study.metrics, "[evaluate] metrics"),
                groupings=groupings_of(study.by),
            )
        except ConfigError as error:
            logger.warning(f"{dataset}: not compared: {error}")
    return found


def draws_for(compared: Mapping[str, Compared], confidence: float) -> Draws | None:
    """How often to draw: as the evaluations' intervals, and as often as so many tests ask for, if memory allows.

    None, which is said, if there are no intervals, or if not even the former fit into memory.

    Args:
        compared: what is to be compared.
        confidence: the probability of the intervals.
    """
    first = next(iter(compared.values()))
    resamples, seed = first.bootstrap.resamples, first.bootstrap.seed
    if not resamples:
        logger.info("results: nothing is compared, since the evaluations have no intervals (resamples = 0)")
        return None
    pairs = math.comb(len(compared), 2)
    asked = math.ceil(pairs / (1 - confidence)) if confidence < 1 else 0
    free = host_memory()[1] // 2
    for least in (asked, 0):
        draws = Draws(max(resamples, least), max(_FLIPS, least), seed, confidence)
        if (needed := _bytes(compared, pairs, draws)) <= free:
            return draws
    logger.warning(
        f"results: not compared, since {counted(pairs, 'pair')} of {counted(len(compared), 'ranking')} take about "
        f"{as_bytes(needed)} of memory, and half of what is free is {as_bytes(free)}; compare some of them with "
        "`tcf compare`, or run this on a machine with more memory"
    )
    return None


def _bytes(compared: Mapping[str, Compared], pairs: int, draws: Draws) -> int:
    """Memory that a comparison by one metric takes, roughly."""
    users = int(next(iter(compared.values())).metrics["users"])
    seeds = max(len(entry.evaluations) if isinstance(entry, SeedEvaluations) else 1 for entry in compared.values())
    return 8 * (_COPIES * pairs * seeds * users + draws.resamples * (pairs + len(compared)))
