"""Inner products scaled so that each user's scores over all items have mean 0 and standard deviation 1.

With c the mean of the item vectors v and C their population covariance, a user's scores u . v have the mean u . c and
the variance u C u. So the product of v - c with u / sqrt(u C u) is the standardised score, exactly, without a pass over
the scores of any user.

Shapes: N items of the dataset, B users, D width.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tcf.ranking.catalogue import blocks

__all__ = ["StandardScores"]

_AT_ONCE = 1 << 13
_ROUNDING = 1e-14
"""A variance below this part of its bound, |u|^2 tr C, is the rounding of vectors in float32, not a preference."""


@dataclass(frozen=True, eq=False)
class StandardScores:
    """Item vectors about their mean, and what standardises a user's products with them.

    Attributes:
        vectors_ND: float32, each item's vector less the mean of all; equal vectors stay equal, bit by bit.
        covariance_DD: float64, their covariance over all items.
    """

    vectors_ND: npt.NDArray[np.float32]
    covariance_DD: npt.NDArray[np.float64]

    @classmethod
    def of(cls, vectors_ND: npt.NDArray[np.float32]) -> "StandardScores":
        """Centre the vectors of all items of a dataset; sums are in float64."""
        n_items, width = vectors_ND.shape
        first_D = vectors_ND[0].astype(np.float64)
        # About the first vector, because equal vectors then have a mean of exactly 0.
        shift_D = np.zeros(width)
        for block in blocks(n_items, _AT_ONCE):
            shift_D += (vectors_ND[block] - first_D).sum(0)
        shift_D /= n_items
        centred_ND, covariance_DD = np.empty_like(vectors_ND), np.zeros((width, width))
        for block in blocks(n_items, _AT_ONCE):
            part_ID = (vectors_ND[block] - first_D) - shift_D
            centred_ND[block] = part_ID
            covariance_DD += part_ID.T @ part_ID
        return cls(centred_ND, covariance_DD / n_items)

    def states(self, states_BD: npt.NDArray[np.float32], weight: float = 1.0) -> npt.NDArray[np.float32]:
        """Return states whose products with the centred vectors are standardised scores times a weight, (B, D).

        A user to whom all items are alike has 0 throughout.
        """
        scaled_BD = np.empty_like(states_BD)
        bound = _ROUNDING * float(np.trace(self.covariance_DD))
        for block in blocks(len(states_BD), _AT_ONCE):
            part_ID = states_BD[block].astype(np.float64)
            variance_I = np.einsum("id,id->i", part_ID @ self.covariance_DD, part_ID)
            varies_I = variance_I > bound * np.einsum("id,id->i", part_ID, part_ID)
            factor_I = np.divide(
                weight, np.sqrt(np.where(varies_I, variance_I, 1)), where=varies_I, out=np.zeros(len(part_ID))
            )
            scaled_BD[block] = part_ID * factor_I[:, None]
        return scaled_BD
