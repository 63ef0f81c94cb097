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
from tcf.common.units import counted
from tcf.config.combine import CombineConfig
from tcf.data.dataset import Dataset
from tcf.data.histories import Histories
from tcf.evaluate.baselines.co_occurrence_scores import CoOccurrenceScores
from tcf.evaluate.combination.dense_members import DenseMember, dense_members, joined_states, joined_vectors
from tcf.evaluate.combination.members import Member
from tcf.evaluate.combination.recorded_combination import RecordedCombination, read_combination
from tcf.ranking.catalogue import blocks
from tcf.ranking.metrics import VALIDATION_METRICS, named_as_validation
from tcf.train.run.open_inputs import OpenInputs
from tcf.train.run.open_run import Run, checked_users

__all__ = ["CombinedRun", "open_combination", "opened_combination"]

_VECTORS_AT_ONCE = 1 << 15


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
    def run_places(self) -> dict[str, Path]:
        """Where its runs are, by their names as members."""
        names = (member.name for member in self.members if member.kind == "run")
        return {name: run.path for name, run in zip(names, self.runs, strict=True)}

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
    def metrics(self) -> Mapping[str, float]:
        """The metrics of the combination on the validation targets of `users` users, as fractions, by name."""
        facts = self.manifest.facts
        return {metric.name: facts[metric.name] for metric in VALIDATION_METRICS if metric.name in facts}

    @property
    def fit_words(self) -> str:
        """What the weights come from, and of whom the metrics are, in a line."""
        facts = self.manifest.facts
        fitted = int(facts["fitted_targets"])
        source = "given" if self.config.weights else f"fitted to {counted(fitted, 'target')} that a member lists"
        return f"weights: {source}; metrics: {counted(int(facts['users']), 'validation user')}"

    def as_json(self) -> dict[str, Any]:
        """The combination as JSON values: its members, the validation metrics of each and of all, and of whom."""
        facts = self.manifest.facts
        return {
            "combination": str(self.path),
            "members": [named_as_validation(member.as_json()) for member in self.members],
            **named_as_validation(self.metrics),
            "users": facts["users"],
            "fitted_targets": facts["fitted_targets"],
        }

    def item_vectors(self) -> npt.NDArray[np.float32]:
        """The vector of every item, (N, D): those of the members about their means; equal texts keep equal bits."""
        return joined_vectors(self._dense)

    def user_states(
        self, users: npt.NDArray[np.int64], histories: Histories, advance: Callable[[int], object] | None = None
    ) -> npt.NDArray[np.float32]:
        """The states of users after their last item, (B, D); see `Run.user_states`.

        The product with an item's vector, plus its added score, is the weighted sum of the members' scores, each
        standardised for the user over all items of the dataset; of an added score only up to a constant of the user.

        Args:
            users: (B,) their indices among all users of the dataset.
            histories: each user's items, oldest first, at least one; a run reads as many of the latest as it can.
            advance: called with the number of users whose states have just been computed.

        Raises:
            ConfigError: an argument has another type, or there are not as many histories as users.
            DataError: a user has no item.
        """
        indices = checked_users(users, histories)
        return joined_states(self._dense, self._weights, indices, histories, advance)

    def added_scores(self, earlier: Histories) -> CoOccurrenceScores | None:
        """What is added to the products, among all items; None if no member scores sparsely.

        Args:
            earlier: the items of each user for whom it is asked, oldest first.
        """
        learned = self._co_occurrence
        return None if learned is None else learned.after(earlier)

    def shares(
        self, users: npt.NDArray[np.int64], histories: Histories, items_BK: npt.NDArray[np.int32]
    ) -> npt.NDArray[np.float32]:
        """Each member's part of the scores of some items, (B, K, M); the parts of a score add up to it.

        Args:
            users: (B,) their indices among all users of the dataset.
            histories: each user's items, oldest first.
            items_BK: indices of items; -1 where there is none, whose parts are 0.
        """
        states_BD, added = self.user_states(users, histories), self.added_scores(histories)
        shares_BKM = np.zeros((*items_BK.shape, len(self.members)), np.float32)
        for block in blocks(len(users), max(1, _VECTORS_AT_ONCE // max(1, items_BK.shape[1]))):
            there_IK = items_BK[block] >= 0
            for dense in self._dense:
                vectors_IKD = dense.scores.vectors_ND[items_BK[block]]
                parts_IK = np.einsum("ikd,id->ik", vectors_IKD, states_BD[block, dense.columns])
                shares_BKM[block, :, dense.place] = np.where(there_IK, parts_IK, 0)
            if added is not None:
                found = added.of(np.arange(block.start, block.stop))
                shares_BKM[block, :, self._sparse] = found.at(items_BK[block])
        return shares_BKM

    @property
    def words(self) -> str:
        """Weights and names of the members, in a line."""
        return " + ".join(f"{member.weight:.3g} {member.name}" for member in self.members)

    def __repr__(self) -> str:
        """What it is, in a line."""
        return f"CombinedRun({str(self.path)!r}: {self.words})"

    @property
    def _weights(self) -> list[float]:
        return [member.weight for member in self.members]

    @property
    def _sparse(self) -> int:
        """The place of the member that scores sparsely."""
        return [member.kind for member in self.members].index("co-occurrence")

    @functools.cached_property
    def _co_occurrence(self) -> CoOccurrenceScores | None:
        """Pairs of items, counted once: recommendations ask for one block of users after another."""
        for member in self.members:
            if member.kind == "co-occurrence":
                split, n_items = self.dataset.split, self.dataset.n_items
                nobody = split.histories.take(np.zeros(0, np.int64))
                return CoOccurrenceScores.learn(split, nobody, n_items, weight=member.weight)
        return None

    @functools.cached_property
    def _dense(self) -> tuple[DenseMember, ...]:
        return tuple(dense_members([member.kind for member in self.members], self.runs, self.dataset))


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
