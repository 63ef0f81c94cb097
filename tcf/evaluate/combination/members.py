"""The members of a combination, and those that score every item by an inner product.

Shapes: B users, N items of the dataset, D width.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from tcf.config.combine import CombinedBaseline
from tcf.data.dataset import Dataset
from tcf.data.histories import Histories
from tcf.data.split import training_counts

__all__ = ["DenseSource", "Member", "MemberKind", "PopularityVectors"]

MemberKind: TypeAlias = Literal["run"] | CombinedBaseline


@dataclass(frozen=True)
class Member:
    """A member of a combination.

    Attributes:
        name: what it is called in tables and in the columns of shares.
        kind: a run, or the baseline that it is.
        weight: what its standardised scores are multiplied by; the weights of all members add up to 1.
        metrics: its own metrics on the validation targets, as fractions, by name.
    """

    name: str
    kind: MemberKind
    weight: float
    metrics: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> "Member":
        """The member that these JSON values describe.

        Raises:
            KeyError: its name, kind or weight is missing.
        """
        metrics = {key: value for key, value in entry.items() if key not in ("name", "kind", "weight")}
        return cls(entry["name"], entry["kind"], entry["weight"], metrics)

    def as_json(self) -> dict[str, Any]:
        """The member as JSON values."""
        return {"name": self.name, "kind": self.kind, "weight": self.weight, **self.metrics}


class DenseSource(Protocol):
    """What scores every item by the product of its vector with the user's state, as a run does."""

    def item_vectors(self) -> npt.NDArray[np.float32]:
        """The vector of every item, (N, D)."""

    def user_states(
        self, users: npt.NDArray[np.int64], histories: Histories, advance: Callable[[int], object] | None = None
    ) -> npt.NDArray[np.float32]:
        """The states of users after their last item, (B, D)."""


@dataclass(frozen=True)
class PopularityVectors:
    """Popularity as a product: an item's vector is log(1 + training interactions), every user's state is 1.

    Attributes:
        counts: (N,) int64, training interactions of each item.
    """

    counts: npt.NDArray[np.int64]

    @classmethod
    def learn(cls, dataset: Dataset) -> "PopularityVectors":
        """Count the items in the training part of all histories."""
        return cls(training_counts(dataset.split, dataset.n_items))

    def item_vectors(self) -> npt.NDArray[np.float32]:
        """The vector of every item, (N, 1)."""
        return np.log1p(self.counts)[:, None].astype(np.float32)

    def user_states(
        self, users: npt.NDArray[np.int64], histories: Histories, advance: Callable[[int], object] | None = None
    ) -> npt.NDArray[np.float32]:
        """The states of users, (B, 1): ones."""
        if advance is not None:
            advance(len(users))
        return np.ones((len(users), 1), np.float32)
