"""Rankings without a model, for a model to beat; each is a scorer for `tcf.ranking.ranks.rank_targets`.

They learn from training interactions only, and score every item of the catalogue.

Shapes: U evaluated users, B users of a block, N items.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tcf.common.ragged import spans
from tcf.common.random_streams import RandomStream, generator
from tcf.config.evaluate import Baseline
from tcf.data.histories import Histories, latest
from tcf.data.split import Queries, Split, training_counts, training_histories
from tcf.ranking.catalogue import ScoreRows
from tcf.ranking.scorers import Scorer

__all__ = ["CoOccurrence", "Popularity", "Random", "baseline"]

_WINDOW = 5
# 1 / distance as whole numbers, whose sums do not depend on their order, so that equal scores tie exactly.
_WEIGHTS = math.lcm(*range(1, _WINDOW + 1)) // np.arange(1, _WINDOW + 1)


def baseline(name: Baseline, split: Split, queries: Queries, n_items: int, *, seed: int = 0) -> Scorer:
    """Build a baseline.

    Args:
        name: the baseline.
        split: all users' histories, of which only the training part is used.
        queries: the evaluated users, and their items before the targets.
        n_items: size of the catalogue.
        seed: seed of the random scores.
    """
    match name:
        case "popularity":
            return Popularity.learn(split, len(queries), n_items)
        case "random":
            return Random(queries.users, n_items, seed)
        case "co-occurrence":
            return CoOccurrence.learn(split, queries.earlier, n_items)


@dataclass(frozen=True)
class Popularity:
    """Scores an item by its number of training interactions, the same for every user.

    Attributes:
        n_users: number of users.
        counts: training interactions of every item, (N,).
    """

    n_users: int
    counts: npt.NDArray[np.int64]

    @classmethod
    def learn(cls, split: Split, n_users: int, n_items: int) -> "Popularity":
        """Count items in the training part of all histories, to score for so many evaluated users."""
        return cls(n_users, training_counts(split, n_items))

    @property
    def rows(self) -> ScoreRows:
        """Every item has its own score."""
        return ScoreRows.one_each(len(self.counts))

    def scores(self, users: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Scores of all items for some users, (B, N)."""
        return np.tile(self.counts.astype(np.float32), (len(users), 1))


@dataclass(frozen=True)
class Random:
    """Scores every item for every user by a random number that depends only on user, item and seed.

    Attributes:
        users: (U,) the index of each evaluated user among all users.
        n_items: number of items.
        seed: seed of the ranking.
    """

    users: npt.NDArray[np.int64]
    n_items: int
    seed: int

    @property
    def n_users(self) -> int:
        """Number of evaluated users."""
        return len(self.users)

    @property
    def rows(self) -> ScoreRows:
        """Every item has its own score."""
        return ScoreRows.one_each(self.n_items)

    def scores(self, users: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Scores of all items for some users, (B, N), uniform in [0, 1)."""
        key = generator(RandomStream.RANDOM_BASELINE, self.seed).integers(0, 2**32, dtype=np.uint32)
        users_B = _mixed(_mixed(self.users[users].astype(np.uint32)) ^ key)
        items_N = _mixed(np.arange(self.n_items, dtype=np.uint32))
        bits_BN = _mixed(users_B[:, None] ^ items_N[None, :])
        return (bits_BN >> np.uint32(8)).astype(np.float32) * np.float32(2**-24)


@dataclass(frozen=True)
class CoOccurrence:
    """Scores an item by how often, and how close, it occurred to the user's latest items in training histories.

    Two items at most 5 positions apart in a training history add 1 / distance to their count. A user's score for an
    item is the sum of its counts with the user's last 5 items, each times 1 / (that item's position from the end).

    Attributes:
        recent: the last items of the evaluated users.
        offsets: (N + 1,) int64; item i has counts with columns[offsets[i]:offsets[i + 1]].
        columns: item indices, ascending within an item.
        counts: float64, whole numbers in units of 1 / 60.
    """

    recent: Histories
    offsets: npt.NDArray[np.int64]
    columns: npt.NDArray[np.int64]
    counts: npt.NDArray[np.float64]

    @classmethod
    def learn(cls, split: Split, earlier: Histories, n_items: int) -> "CoOccurrence":
        """Count pairs in the training part of all histories, to score what follows the earlier items."""
        keys, weights = _pairs(training_histories(split), n_items)
        pairs, pair_of_key = np.unique(keys, return_inverse=True)
        counts = np.bincount(pair_of_key, weights, minlength=len(pairs)).astype(np.float64)
        first, second = np.divmod(pairs, n_items)
        offsets = np.searchsorted(first, np.arange(n_items + 1))
        return cls(latest(earlier, _WINDOW), offsets.astype(np.int64), second, counts)

    @property
    def n_users(self) -> int:
        """Number of users."""
        return len(self.recent)

    @property
    def rows(self) -> ScoreRows:
        """Every item has its own score."""
        return ScoreRows.one_each(len(self.offsets) - 1)

    def scores(self, users: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Scores of all items for some users, (B, N), summed in float64."""
        n_items, recent = len(self.offsets) - 1, self.recent.take(users)
        owners = np.repeat(np.arange(len(users)), recent.lengths)
        back = np.repeat(recent.offsets[1:], recent.lengths) - np.arange(len(recent.items))
        starts, stops = self.offsets[recent.items], self.offsets[recent.items + 1]
        lengths = stops - starts
        entries = spans(starts, lengths)
        cells = np.repeat(owners * n_items, lengths) + self.columns[entries]
        gains = np.repeat(_WEIGHTS[back - 1], lengths) * self.counts[entries]
        return np.bincount(cells, gains, minlength=len(users) * n_items).reshape(-1, n_items).astype(np.float32)


def _pairs(histories: Histories, n_items: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """All pairs of items within the window, in both directions, as first * n_items + second, with their weights."""
    users = np.repeat(np.arange(len(histories)), histories.lengths)
    items = histories.items.astype(np.int64)
    keys, weights = [], []
    for distance, weight in enumerate(_WEIGHTS, start=1):
        together = users[distance:] == users[:-distance]
        earlier, later = items[:-distance][together], items[distance:][together]
        keys += [earlier * n_items + later, later * n_items + earlier]
        weights.append(np.full(2 * len(earlier), weight))
    return np.concatenate(keys), np.concatenate(weights)


def _mixed(values: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """Mix 32-bit integers one to one, by alternating shifts and multiplications with odd factors, modulo 2^32."""
    mixed = values.copy()
    for shift, factor in ((16, 0x21F0AAAD), (15, 0xD35A2D97)):
        mixed ^= mixed >> np.uint32(shift)
        mixed *= np.uint32(factor)
    mixed ^= mixed >> np.uint32(15)
    return mixed
