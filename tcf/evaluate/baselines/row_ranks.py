"""Ranks of targets among the sums of sparse rows.

The items of a user's main row that no other row names are counted in the row's sorted values; all other items with a
score above 0 are those of the merged rows, and the rest of the catalogue has 0.

Shapes: B users of a block, T targets of these, G pairs of a user and an item of the merged rows.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tcf.data.histories import owners, per_user
from tcf.evaluate.baselines.merged_rows import MergedRows
from tcf.evaluate.baselines.pair_counts import PairCounts, Whole
from tcf.evaluate.baselines.recent_rows import RecentRows
from tcf.ranking.task import RankingTask

__all__ = ["count_scored"]


@dataclass(frozen=True)
class _MainRows:
    """What a block needs of its users' main rows.

    Attributes:
        at_G: (G,) int64 weighted counts at the pairs of the merged rows, 0 where there is none.
        values: the main rows' counts, sorted within a row.
        starts_B: where the main row of each user begins in `values`.
        stops_B: where it ends.
    """

    at_G: npt.NDArray[np.int64]
    values: Whole
    starts_B: npt.NDArray[np.int64]
    stops_B: npt.NDArray[np.int64]

    @classmethod
    def of(cls, pairs: PairCounts, rows: RecentRows, merged: MergedRows, cells_N: Whole) -> "_MainRows":
        """Look the merged rows' items up in the main rows; cells_N is (N,) zeros, before and after."""
        items_G, at_G = merged.items, np.zeros(len(merged.keys), np.int64)
        sorted_rows = [pairs.counts[:0]]
        starts_B, stops_B, n_values = np.zeros(len(rows), np.int64), np.zeros(len(rows), np.int64), 0
        for item, first, past in rows.runs:
            row, pairs_G = pairs.row(item), slice(merged.offsets[first], merged.offsets[past])
            columns, counts = pairs.columns[row], pairs.counts[row]
            cells_N[columns] = counts
            at_G[pairs_G] = cells_N[items_G[pairs_G]]
            cells_N[columns] = 0
            sorted_rows.append(np.sort(counts))
            starts_B[first:past], stops_B[first:past] = n_values, n_values + len(counts)
            n_values += len(counts)
        at_G *= np.repeat(rows.main_weights_U, merged.lengths)
        return cls(at_G, np.concatenate(sorted_rows), starts_B, stops_B)

    def counts(
        self, levels_T: npt.NDArray[np.float32], users_T: npt.NDArray[np.int64], weights_B: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return how many items of the users' main rows have more than a level from these rows, and how many it."""
        starts_T, stops_T, weights_T = self.starts_B[users_T], self.stops_B[users_T], weights_B[users_T]
        from_T, above_T = (
            _bisected(self.values, starts_T, stops_T, weights_T, least)
            for least in (levels_T, np.nextafter(levels_T, np.float32(np.inf)))
        )
        return stops_T - above_T, above_T - from_T


def count_scored(
    pairs: PairCounts, rows: RecentRows, task: RankingTask, bits: int, cells_N: Whole
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Count the candidates of a block of users that score above each target, and the others that score the same.

    Args:
        pairs: the counts.
        rows: the users' rows.
        task: these users' targets and excluded items.
        bits: `value_bits` of the counts.
        cells_N: (N,) zeros, in which the function works; zeros again afterwards.

    Returns:
        Two arrays, (T,).
    """
    excluded, targets = task.excluded, task.targets
    merged = MergedRows.of(pairs, rows, excluded, targets, bits)
    main = _MainRows.of(pairs, rows, merged, cells_N)
    alone_G = main.at_G.astype(np.float32)
    scores_G = (merged.sums + main.at_G).astype(np.float32)
    levels_T = scores_G[merged.places(targets)]
    scores_G[merged.excluded] = -1
    greater_T, equal_T = main.counts(levels_T, owners(targets), rows.main_weights_U)
    # Of the items that the merged rows name, the score of the main row alone was counted; the whole score counts.
    for turn in range(int(targets.lengths.max(initial=0))):
        users = np.flatnonzero(targets.lengths > turn)
        places = targets.offsets[users] + turn
        levels_B = np.full(len(rows), np.inf, np.float32)
        levels_B[users] = levels_T[places]
        levels_G = np.repeat(levels_B, merged.lengths)
        for counts_T, compare in ((greater_T, np.greater), (equal_T, np.equal)):
            more_B = per_user(compare(scores_G, levels_G), merged.offsets)
            more_B -= per_user(compare(alone_G, levels_G), merged.offsets)
            counts_T[places] += more_B[users]
    zeros_T = pairs.n_columns - np.repeat(excluded.lengths, targets.lengths) - greater_T
    return greater_T, np.where(levels_T > 0, equal_T, zeros_T) - 1  # without the target itself


def _bisected(
    values: Whole,
    starts_T: npt.NDArray[np.int64],
    stops_T: npt.NDArray[np.int64],
    weights_T: npt.NDArray[np.int64],
    levels_T: npt.NDArray[np.float32],
) -> npt.NDArray[np.int64]:
    """Return the first position from start to stop where the weighted value reaches the level; values rise there."""
    starts_T, stops_T = starts_T.copy(), stops_T.copy()
    while (open_T := starts_T < stops_T).any():
        middles_T = (starts_T + stops_T) // 2
        reached_T = (values[np.minimum(middles_T, len(values) - 1)] * weights_T).astype(np.float32) >= levels_T
        stops_T = np.where(open_T & reached_T, middles_T, stops_T)
        starts_T = np.where(open_T & ~reached_T, middles_T + 1, starts_T)
    return starts_T
