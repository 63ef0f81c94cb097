"""The baseline that scores items at random.

Shapes: U evaluated users, B users of a block, N ranked items.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tcf.common.random_streams import RandomStream, generator
from tcf.ranking.catalogue import ScoreRows, blocks
from tcf.ranking.ranked_items import RankedItems

__all__ = ["Random"]

_CACHED = 1 << 16  # scores that stay in the processor's cache while they are made


@dataclass(frozen=True)
class Random:
    """Scores every item for every user by a random number that depends only on user, item and seed.

    Attributes:
        users: (U,) the index of each evaluated user among all users.
        items: (N,) the index of each ranked item in the catalogue.
        seed: seed of the ranking.
    """

    users: npt.NDArray[np.int64]
    items: npt.NDArray[np.int64]
    seed: int

    def among(self, ranked: RankedItems) -> "Random":
        """Return the ranking of these items of the whole catalogue alone, by their places."""
        return Random(self.users, self.items[ranked.items], self.seed)

    @property
    def n_users(self) -> int:
        """Number of evaluated users."""
        return len(self.users)

    @property
    def rows(self) -> ScoreRows:
        """Every item has its own score."""
        return ScoreRows.one_each(len(self.items))

    def scores(self, users: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Scores of all items for some users, (B, N), uniform in [0, 1)."""
        key = generator(RandomStream.RANDOM_BASELINE, self.seed).integers(0, 2**32, dtype=np.uint32)
        users_B = _mixed(_mixed(self.users[users].astype(np.uint32)) ^ key)
        items_N = _mixed(self.items.astype(np.uint32))
        scores_BN = np.empty((len(users), len(items_N)), np.float32)
        for block in blocks(len(items_N), max(1, _CACHED // max(1, len(users)))):
            scores_BN[:, block] = _mixed(users_B[:, None] ^ items_N[None, block]) >> np.uint32(8)
            scores_BN[:, block] *= np.float32(2**-24)
        return scores_BN


def _mixed(values: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """Mix 32-bit integers one to one, by alternating shifts and multiplications with odd factors, modulo 2^32."""
    mixed = values.copy()
    for shift, factor in ((16, 0x21F0AAAD), (15, 0xD35A2D97)):
        mixed ^= mixed >> np.uint32(shift)
        mixed *= np.uint32(factor)
    mixed ^= mixed >> np.uint32(15)
    return mixed
