"""Co-occurrence as a member of a combination: scores of few items of each user, standardised for the user.

Most scores of co-occurrence are 0, and the others span orders of magnitude, so the logarithm of 1 + score is taken.
A score is standardised by its mean and standard deviation over all items; the mean, the same for all items of a user,
decides no rank and is left out, so that items that never occurred close to the user's latest ones keep 0.

Shapes: U users in all, B users of a block, N items of the catalogue, M ranked items, G items of a block above 0.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from tcf.common.ragged import offsets_from
from tcf.data.histories import Histories, latest, per_user
from tcf.data.split import Split, training_histories
from tcf.evaluate.baselines.merged_rows import value_bits
from tcf.evaluate.baselines.pair_counts import WEIGHTS, WINDOW, PairCounts, Whole
from tcf.evaluate.baselines.recent_rows import RecentRows
from tcf.evaluate.baselines.sparse_sums import SparseSums, users_at_once
from tcf.ranking.added_scores import Added
from tcf.ranking.catalogue import blocks
from tcf.ranking.ranked_items import RankedItems

__all__ = ["CoOccurrenceScores"]

_UNITS = int(WEIGHTS[0]) ** 2
"""The whole numbers that co-occurrence adds up are in units of 1 / 3600: 1 / distance times 1 / position."""

_LOGARITHMS = np.log1p(np.arange(1 << 16) / _UNITS)  # looked up in a tenth of the time; few scores are larger


@dataclass(frozen=True)
class CoOccurrenceScores:
    """Adds `weight` x log(1 + c) / s to the score of an item, with c its score by co-occurrence.

    c is the sum, over the user's last 5 items, of 1 / position from the end x the sum of 1 / distance over all pairs
    of the two items in training histories. s is the standard deviation of log(1 + c) over all N items of the
    catalogue, those with 0 included, whichever of them are ranked; where all have the same, 0 is added.

    Attributes:
        recent: the last items of the users, by their indices in the catalogue.
        pairs: the counts of all items.
        ranked: the items that are ranked; None: the whole catalogue.
        weight: factor of all scores.
    """

    recent: Histories
    pairs: PairCounts
    ranked: RankedItems | None = None
    weight: float = 1.0

    @classmethod
    def learn(cls, split: Split, earlier: Histories, n_items: int, *, weight: float = 1.0) -> "CoOccurrenceScores":
        """Count pairs in the training part of all histories, to score what follows the earlier items.

        Args:
            split: all users' histories, of which only the training part is used.
            earlier: the items of the users to score for, before what is to be ranked.
            n_items: size of the catalogue.
            weight: factor of all scores.
        """
        return cls(latest(earlier, WINDOW), PairCounts.learn(training_histories(split), n_items), weight=weight)

    def after(self, earlier: Histories) -> "CoOccurrenceScores":
        """Return the same for other users, or after other items, without counting pairs again."""
        return replace(self, recent=latest(earlier, WINDOW))

    def weighted(self, weight: float) -> "CoOccurrenceScores":
        """Return the same with another weight."""
        return replace(self, weight=weight)

    def among(self, ranked: RankedItems) -> "CoOccurrenceScores":
        """Return the same scores of these items of the whole catalogue alone, by their places."""
        return replace(self, ranked=None if ranked.are_all else ranked)

    @property
    def n_users(self) -> int:
        """Number of users, U."""
        return len(self.recent)

    @property
    def n_items(self) -> int:
        """Number of ranked items, M."""
        return self.pairs.n_columns if self.ranked is None else len(self.ranked)

    def of(self, users: npt.NDArray[np.int64]) -> Added:
        """Return what is added to the scores of some users.

        Args:
            users: (B,) positions among the U users.

        Raises:
            RunError: the counts are too large to be added up.
        """
        rows, bits = RecentRows.of(self.recent.take(users), self.pairs, may_look=False), value_bits(self.pairs)
        parts = [
            self._added(SparseSums.of(self.pairs, rows.take(np.arange(block.start, block.stop)), bits))
            for block in blocks(len(users), users_at_once(self.pairs.n_columns))
        ]
        lengths = [np.diff(part.offsets) for part in parts]
        return Added(
            offsets_from(np.concatenate([np.zeros(0, np.int64), *lengths])),
            np.concatenate([np.zeros(0, np.int32), *(part.items for part in parts)]),
            np.concatenate([np.zeros(0, np.float32), *(part.values for part in parts)]),
        )

    def _added(self, found: SparseSums) -> Added:
        """Return the scores of some users, of the ranked items."""
        logarithms_G = _logarithms(found.sums)
        weights_B = self.weight * _inverse_deviations(logarithms_G, found.offsets, self.pairs.n_columns)
        logarithms_G *= np.repeat(weights_B, np.diff(found.offsets))
        values_G = logarithms_G.astype(np.float32)
        if self.ranked is None:
            return Added(found.offsets, found.items, values_G)
        places_G = self.ranked.places[found.items]
        kept_G = places_G >= 0
        return Added(offsets_from(per_user(kept_G, found.offsets)), places_G[kept_G], values_G[kept_G])


def _logarithms(sums_G: Whole) -> npt.NDArray[np.float64]:
    """Return log(1 + c) for sums of whole numbers, (G,)."""
    last = len(_LOGARITHMS) - 1
    logarithms_G = _LOGARITHMS[np.minimum(sums_G, last)]
    large = np.flatnonzero(sums_G > last)
    logarithms_G[large] = np.log1p(sums_G[large] / _UNITS)
    return logarithms_G


def _inverse_deviations(
    values_G: npt.NDArray[np.float64], offsets: npt.NDArray[np.int64], n_items: int
) -> npt.NDArray[np.float64]:
    """Return 1 / standard deviation of each user's values, (B,), those of unnamed items 0; 0 if all are the same.

    Args:
        values_G: the values above 0.
        offsets: (B + 1,) where those of each user begin.
        n_items: number of items.
    """
    lengths_B, inverse_B = np.diff(offsets), np.zeros(len(offsets) - 1)
    some = np.flatnonzero(lengths_B)
    if not len(some):
        return inverse_B
    starts, lengths = offsets[some], lengths_B[some]
    means = np.add.reduceat(values_G, starts) / n_items
    squares_G = values_G - np.repeat(means, lengths)
    squares_G *= squares_G
    squares = np.add.reduceat(squares_G, starts) + (n_items - lengths) * means**2
    differ = lengths < n_items  # rounding of the mean would make equal values seem to differ
    differ |= np.maximum.reduceat(values_G, starts) > np.minimum.reduceat(values_G, starts)
    inverse_B[some[differ]] = np.sqrt(n_items / squares[differ])
    return inverse_B
