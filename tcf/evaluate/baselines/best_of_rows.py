"""Lists of the best items among the sums of sparse rows.

Shapes: B users of a block, E their items with a score above 0 that are not excluded, K list length.
"""

import numpy as np
import numpy.typing as npt

from tcf.common.ragged import offsets_from
from tcf.data.histories import Histories, per_user
from tcf.evaluate.baselines.free_places import first_free
from tcf.evaluate.baselines.merged_rows import MergedRows
from tcf.evaluate.baselines.pair_counts import PairCounts
from tcf.evaluate.baselines.recent_rows import RecentRows
from tcf.ranking.ranked_lists import Entries, RankedLists, place_best

__all__ = ["best_of_rows"]


def best_of_rows(pairs: PairCounts, rows: RecentRows, excluded: Histories, k: int, bits: int) -> RankedLists:
    """Return the k best candidates of each user of a block.

    Args:
        pairs: the counts.
        rows: the users' rows, all of them to be merged.
        excluded: the users' items that are no candidates.
        k: list length.
        bits: `value_bits` of the counts.
    """
    no_targets = Histories(np.zeros(len(rows) + 1, np.int64), np.zeros(0, np.int32))
    merged = MergedRows.of(pairs, rows, excluded, no_targets, bits)
    users_E = np.repeat(np.arange(len(rows)), merged.lengths)[~merged.excluded]
    scores_E = merged.sums[~merged.excluded].astype(np.float32)
    numbers_B = per_user(~merged.excluded, merged.offsets)
    kept = _may_be_listed(users_E, scores_E, offsets_from(numbers_B), k)
    lists = RankedLists.empty(len(rows), k)
    entries = Entries(users_E[kept], merged.items[~merged.excluded][kept], scores_E[kept])
    place_best(entries, np.arange(len(rows)), lists)
    users = np.flatnonzero(numbers_B < k)  # whose lists end with items that have 0
    named = Histories(merged.offsets, merged.items.astype(np.int32)).take(users)
    zeros_SK = first_free(named, k, pairs.n_columns)
    places_SK = np.arange(k) + numbers_B[users, None]
    listed, place = np.nonzero((zeros_SK >= 0) & (places_SK < k))
    at = users[listed], places_SK[listed, place]
    lists.items_UK[at], lists.scores_UK[at] = zeros_SK[listed, place], 0
    return lists


def _may_be_listed(
    users_E: npt.NDArray[np.int64], scores_E: npt.NDArray[np.float32], offsets: npt.NDArray[np.int64], k: int
) -> npt.NDArray[np.bool_]:
    """Return which entries score at least as much as their user's k-th best one, (E,)."""
    # The bits of floats above 0 rise like the floats.
    keys_E = (users_E << 32) + (np.int64(2**31 - 1) - scores_E.view(np.int32))
    if not len(keys_E):
        return np.zeros(0, np.bool_)
    last_B = np.sort(keys_E)[np.maximum(np.minimum(offsets[:-1] + k, offsets[1:]) - 1, 0)]
    kept: npt.NDArray[np.bool_] = keys_E <= last_B[users_E]
    return kept
