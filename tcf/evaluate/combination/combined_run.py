"""A combination that is open: item vectors, user states and added scores, as evaluation and recommendation need them.

Shapes: B users, N items of the dataset, D width of all members together, K places, M members.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from tcf.common.integrity.checksums import Verify
from tcf.common.manifest import Manifest
from tcf.config.combine import CombineConfig
from tcf.data.dataset import Dataset
from tcf.data.histories import Histories
from tcf.evaluate.combination.members import DenseSource, Member, PopularityVectors
from tcf.evaluate.combination.recorded_combination import RecordedCombination, read_combination
from tcf.evaluate.combination.standardise import StandardScores
from tcf.train.run.open_inputs import OpenInputs
from tcf.train.run.open_run import Run

__all__ = ["CombinedRun", "open_combination", "opened_combination"]

_USERS_AT_ONCE = 4096  # a multiple of what runs compute at once, so that their states have the same bits


@dataclass(frozen=True, repr=False, eq=False)
class CombinedRun:
    """Finished runs and baselines whose standardised scores are added.

    Attributes:
        path: its directory.
        manifest: what it was made from, its members and its validation metrics.
        config: its settings.
        members: runs first, then baselines.
        runs: those that are runs, in order.
        device: where the runs compute, and where it is ranked.
    """

    path: Path
    manifest: Manifest
    config: CombineConfig
    members: tuple[Member, ...]
    runs: tuple[Run, ...]
    device: torch.device

    @property
    def dataset(self) -> Dataset:
        """Users, items and histories; of refits, validation items are for training."""
        return self.runs[0].dataset

    @property
    def reads_text(self) -> bool:
        """Whether a member reads texts, so that it knows something of items without a training interaction."""
        return any(run.config.reads_text for run in self.runs)

    @property
    def learns_users(self) -> bool:
        """Whether a member has learned a vector for each user with a training interaction, and has none for others."""
        return any(run.config.learns_users for run in self.runs)

    @property
    def is_refit(self) -> bool:
        """Whether the runs were trained on the validation targets too."""
        return self.runs[0].config.refit

    @property
    def metadata(self) -> dict[str, Any]:
        """The validation metrics as fractions, the members, and how many users the weights were fitted to."""
        return dict(self.manifest.facts)

    def item_vectors(self) -> npt.NDArray[np.float32]:
        """The vector of every item, (N, D): those of the members about their means; equal texts keep equal bits."""
        return self._vectors_ND

    def user_states(
        self, users: npt.NDArray[np.int64], histories: Histories, advance: Callable[[int], object] | None = None
    ) -> npt.NDArray[np.float32]:
        """The states of users after their last item, (B, D); see `Run.user_states`.

        The product with an item's vector, plus its added score, is the weighted sum of the members' scores, each
        standardised for the user over all items of the dataset; of an added score only up to a constant of the user.
        """
        states_BD = np.empty((len(users), self._vectors_ND.shape[1]), np.float32)
        for start in range(0, len(users), _USERS_AT_ONCE):
            part = np.arange(start, min(start + _USERS_AT_ONCE, len(users)))
            for dense in self._dense:
                found = dense.source.user_states(users[part], histories.take(part))
                states_BD[part, dense.columns] = dense.scores.states(found, dense.weight)
            if advance is not None:
                advance(len(part))
        return states_BD

    def added_scores(self, earlier: Histories) -> Any:
        """What is added to the products, for users who have had these items; None if no member scores sparsely."""
        return None

    def shares(
        self, users: npt.NDArray[np.int64], histories: Histories, items_BK: npt.NDArray[np.int32]
    ) -> npt.NDArray[np.float32]:
        """Each member's part of the scores of some items, (B, K, M); the parts of a score add up to it.

        Args:
            users: (B,) their indices among all users of the dataset.
            histories: each user's items, oldest first.
            items_BK: indices of items; -1 where there is none, whose parts are 0.
        """
        states_BD = self.user_states(users, histories)
        shares_BKM = np.zeros((*items_BK.shape, len(self.members)), np.float32)
        for row, items_K in enumerate(items_BK):
            for dense in self._dense:
                parts_K = self._vectors_ND[items_K, dense.columns] @ states_BD[row, dense.columns]
                shares_BKM[row, :, dense.place] = np.where(items_K >= 0, parts_K, 0)
        return shares_BKM

    def __repr__(self) -> str:
        """What it is, in a line."""
        shown = ", ".join(f"{member.weight:.3g} {member.name}" for member in self.members)
        return f"CombinedRun({str(self.path)!r}: {shown})"

    @functools.cached_property
    def _dense(self) -> tuple["_Dense", ...]:
        return tuple(dense_members(self.members, self.runs, self.dataset))

    @functools.cached_property
    def _vectors_ND(self) -> npt.NDArray[np.float32]:
        return np.concatenate([dense.scores.vectors_ND for dense in self._dense], axis=1)


@dataclass(frozen=True)
class _Dense:
    """A member that scores by products.

    Attributes:
        place: its place among the members.
        weight: its weight.
        source: its item vectors and states.
        scores: what standardises its scores.
        columns: its part of the width of all members.
    """

    place: int
    weight: float
    source: DenseSource
    scores: StandardScores
    columns: slice


def dense_members(members: Sequence[Member], runs: Sequence[Run], dataset: Dataset) -> list[_Dense]:
    """Compute the item vectors of the members that score by products."""
    found, start, waiting = list[_Dense](), 0, iter(runs)
    for place, member in enumerate(members):
        match member.kind:
            case "run":
                source: DenseSource = next(waiting)
            case "popularity":
                source = PopularityVectors.learn(dataset)
            case "co-occurrence":
                continue
        scores = StandardScores.of(source.item_vectors())
        stop = start + scores.vectors_ND.shape[1]
        found.append(_Dense(place, member.weight, source, scores, slice(start, stop)))
        start = stop
    return found


def open_combination(
    path: Path,
    *,
    data: Path | None = None,
    caches: Sequence[Path] = (),
    runs: Mapping[str, Path] | None = None,
    device: str = "auto",
    verify: Verify = "once",
) -> CombinedRun:
    """Open a finished combination.

    Args:
        path: its directory.
        data: where the dataset is now; the recorded place if None.
        caches: where the runs' caches are now, member by member, in the order of training; the recorded places if
            empty.
        runs: where runs that have moved are now, by their names as members.
        device: where to compute.
        verify: whether large files that this machine has verified are verified again.

    Raises:
        RunError: `path` is no finished combination, it is damaged, or a run is gone, damaged or another one.
        TcfError: the dataset or a cache is missing or damaged.
    """
    return opened_combination(read_combination(path, data=data, caches=caches, runs=runs), OpenInputs(verify), device)


def opened_combination(recorded: RecordedCombination, inputs: OpenInputs, device: str = "auto") -> CombinedRun:
    """Open the runs of a combination.

    Args:
        recorded: what its directory says.
        inputs: opens datasets and caches.
        device: where to compute.

    Raises:
        RunError: a run is damaged, or its dataset or caches are others.
    """
    runs = tuple(inputs.run(run, device) for run in recorded.runs)
    return CombinedRun(recorded.path, recorded.manifest, recorded.config, recorded.members, runs, runs[0].device)
