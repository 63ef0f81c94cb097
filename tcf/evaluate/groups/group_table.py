"""The metrics of groups, with intervals, as a table for people, as JSON and as a frame."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tcf.data.data_frames import data_frame
from tcf.evaluate.cells import aligned, metric_columns, wide_table
from tcf.evaluate.groups.grouping import groupings_of
from tcf.evaluate.groups.target_groups import target_groups
from tcf.evaluate.intervals import Bootstrap, Interval, end_columns, intervals_of
from tcf.ranking.metrics import Metric, rank_metric
from tcf.ranking.ranks import Ranks

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Group", "GroupTable", "RankedTargets", "group_table"]


class RankedTargets(Protocol):
    """An evaluation, as far as groups need it."""

    @property
    def measured(self) -> Sequence[Metric]:
        """What was measured."""

    @property
    def bootstrap(self) -> Bootstrap:
        """How intervals are computed."""

    @property
    def ranks(self) -> Ranks:
        """The rank of every target."""

    def table(self) -> pa.Table:
        """The file of ranks, a row for each target."""


@dataclass(frozen=True)
class Group:
    """A group of targets and its metrics.

    Attributes:
        by: what decided the group, such as `warm:20,50,200`.
        name: what it is called, such as `warm-20`.
        users: users with a target in it.
        targets: targets in it.
        metrics: the mean of each metric over these users; none if there are no users.
        intervals: the interval of each mean: lower and upper end.
    """

    by: str
    name: str
    users: int
    targets: int
    metrics: Mapping[str, float]
    intervals: Mapping[str, Interval]

    def as_json(self) -> dict[str, Any]:
        """The group as JSON values."""
        about = {"by": self.by, "group": self.name, "users": self.users, "targets": self.targets}
        return {**about, **self.metrics, "intervals": dict(self.intervals)}


@dataclass(frozen=True, repr=False)
class GroupTable:
    """The metrics of groups, one line each.

    Attributes:
        groups: the groups, those of one grouping side by side.
        measured: what was measured.
        bootstrap: how intervals were computed.
    """

    groups: tuple[Group, ...]
    measured: tuple[Metric, ...]
    bootstrap: Bootstrap

    def to_pandas(self) -> "pd.DataFrame":
        """One row for each group: `by`, `group`, `users`, `targets`, and each metric with its ends (`hr@10_low`, ...).

        Raises:
            ConfigError: pandas is not installed.
        """
        rows = [
            {"by": g.by, "group": g.name, "users": g.users, "targets": g.targets, **g.metrics}
            | end_columns(g.intervals)
            for g in self.groups
        ]
        columns = dict.fromkeys(column for row in rows for column in row)
        return data_frame(pa.Table.from_pylist([{name: row.get(name) for name in columns} for row in rows]))

    def as_json(self) -> list[dict[str, Any]]:
        """The groups as JSON values."""
        return [group.as_json() for group in self.groups]

    def __repr__(self) -> str:
        """One line for each group, with its metrics as each is shown."""
        if not self.groups:
            return "no groups"
        keys = [
            ["by", *(group.by for group in self.groups)],
            ["group", *(group.name for group in self.groups)],
            aligned("users", [f"{group.users:,}" for group in self.groups]),
            aligned("targets", [f"{group.targets:,}" for group in self.groups]),
        ]
        columns = [
            metric_columns(
                metric,
                [group.metrics.get(metric.name) for group in self.groups],
                [group.intervals.get(metric.name) for group in self.groups],
            )
            for metric in self.measured
        ]
        note = f"\nintervals: {self.bootstrap.words} over users" if self.bootstrap.resamples else ""
        return wide_table(keys, columns) + note


def group_table(evaluation: RankedTargets, by: str | Iterable[str]) -> GroupTable:
    """Measure groups of an evaluation's targets, from its saved ranks.

    Args:
        evaluation: the evaluation.
        by: what decides the group, or several of these: `cold`, `warm:20,50,200`, `popularity:10`, `history:5,10,20`
            or `FILE:COLUMN`.

    Raises:
        ConfigError: it is something else, or a file lacks the column.
        DataError: a file cannot be read, or gives an id several values.
        RunError: the file of ranks is missing or damaged.
    """
    groupings = groupings_of(by)
    targets, ranks = evaluation.table(), evaluation.ranks
    measured = tuple(metric for metric in evaluation.measured if rank_metric(metric.name) is not None)
    groups = [
        _group(text, name, ranks, chosen_T, measured, evaluation.bootstrap)
        for text, grouping in groupings.items()
        for name, chosen_T in target_groups(grouping, targets)
    ]
    return GroupTable(tuple(groups), measured, evaluation.bootstrap)


def _group(
    by: str,
    name: str,
    ranks: Ranks,
    chosen_T: npt.NDArray[np.bool_],
    measured: Sequence[Metric],
    bootstrap: Bootstrap,
) -> Group:
    if not chosen_T.any():
        return Group(by, name, 0, 0, {}, {})
    chosen = ranks.where(chosen_T)
    columns = {metric.name: metric.per_user(chosen) for metric in measured}
    means = {metric: float(values_U.mean()) for metric, values_U in columns.items()}
    return Group(by, name, len(chosen), len(chosen.greater), means, intervals_of(columns, bootstrap))
