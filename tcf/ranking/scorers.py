"""Scorers: anything that can score every item for a block of users.

Shapes: U users in all, B users of a block, R rows of scores (one item each, or several with equal vectors), D width.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from tcf.common.errors import RunError
from tcf.ranking.catalogue import Catalogue, ScoreRows, check_finite, check_matrix

__all__ = ["InnerProduct", "Scorer"]


class Scorer(Protocol):
    """Scores of every item for every user; a higher score is a better item."""

    @property
    def n_users(self) -> int:
        """Number of users, U."""

    @property
    def rows(self) -> ScoreRows:
        """Which items share a row of scores."""

    def scores(self, users: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Return the scores of all rows for some users, (B, R) float32, finite, the same for any choice of block."""


@dataclass(frozen=True)
class InnerProduct:
    """Inner products of user states and item vectors.

    Attributes:
        catalogue: the items.
        states_UD: one state per user, (U, D) float32.

    Raises:
        RunError: widths differ, a state is not finite, or a score might not fit into float32.
    """

    catalogue: Catalogue
    states_UD: npt.NDArray[np.float32]

    def __post_init__(self) -> None:
        check_matrix(self.states_UD, "user states")
        if self.states_UD.shape[1] != self.catalogue.width:
            raise RunError(
                f"user states: expected width {self.catalogue.width}, that of the item vectors, found "
                f"{self.states_UD.shape[1]}; take states and vectors from the same model"
            )
        self._check_range()

    @property
    def n_users(self) -> int:
        """Number of users."""
        return len(self.states_UD)

    @property
    def rows(self) -> ScoreRows:
        """Which items share a vector."""
        return self.catalogue.rows

    def scores(self, users: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Return the scores of all unique vectors for some users, (B, R)."""
        return np.asarray(self.states_UD[users] @ self.catalogue.vectors_RD.T)

    def _check_range(self) -> None:
        # Neither a score nor a partial sum of it exceeds the product of the two vectors' lengths.
        lengths = check_finite(self.states_UD, "user")
        longest = check_finite(self.catalogue.vectors_RD, "item").max()
        large = np.flatnonzero(lengths * longest > np.finfo(np.float32).max)
        if len(large):
            raise RunError(
                f"user {large[0]}: expected scores within float32, found a state of length {lengths[large[0]]:.3g} and "
                f"an item vector of length {longest:.3g}, {len(large)} users in all; the model has diverged, so train "
                "again with a smaller learning rate"
            )
