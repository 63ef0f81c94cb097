"""The result of a comparison: as text for people, as JSON values, as frames and as files."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa

from tcf.config.typed_values import typed
from tcf.data.data_frames import data_frame
from tcf.evaluate.compare.pairs import Draws
from tcf.evaluate.compare.rows import DifferenceRow, MeanRow, ServedRow
from tcf.evaluate.compare.shown import shown_part
from tcf.ranking.metrics import Metric

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Comparison", "TableName"]

TableName = Literal["means", "differences", "served"]
_SCHEMAS = {
    "differences": pa.schema(
        [
            *((name, pa.string()) for name in ("by", "group", "metric", "first", "second")),
            *((name, pa.float64()) for name in ("difference", "low", "high", "p", "p_holm", "p_mcnemar", "p_seeds")),
            ("told_apart", pa.bool_()),
            *((name, pa.float64()) for name in ("detectable", "only_first", "only_second", "both", "neither")),
        ]
    ),
    "means": pa.schema(
        [
            *((name, pa.string()) for name in ("by", "group", "metric", "ranking")),
            *((name, pa.int64()) for name in ("seeds", "users", "targets")),
            *((name, pa.float64()) for name in ("mean", "low", "high")),
            ("alike", pa.string()),
        ]
    ),
    "served": pa.schema(
        [*((name, pa.string()) for name in ("by", "group", "metric", "served_by")), ("share", pa.float64())]
    ),
}


@dataclass(frozen=True, repr=False)
class Comparison:
    """Evaluations compared user by user.

    Attributes:
        means: the mean of each metric under each ranking, for all targets and for each group, with its interval.
        differences: the difference of each two rankings, with its interval and tests.
        served: the shares of users with a hit of one ranking alone, of several, of all, of none.
        metrics: what was compared.
        draws: the numbers of resamples and flips, the seed, and the confidence.
        about: paths and rankings of the evaluations by name, split, and numbers of users, targets and candidates.
    """

    means: tuple[MeanRow, ...]
    differences: tuple[DifferenceRow, ...]
    served: tuple[ServedRow, ...]
    metrics: tuple[Metric, ...]
    draws: Draws
    about: Mapping[str, Any]

    def table(self, name: TableName = "differences") -> pa.Table:
        """One of the tables, a row for each entry.

        Args:
            name: `means`, `differences` or `served`.
        """
        rows: Mapping[TableName, Sequence[Any]] = {
            "means": self.means,
            "differences": self.differences,
            "served": self.served,
        }
        return pa.Table.from_pylist([asdict(row) for row in rows[name]], schema=_SCHEMAS[name])

    def to_pandas(self, table: TableName = "differences") -> "pd.DataFrame":
        """One of the tables as a pandas frame; `by` and `group` are empty in the rows of all targets.

        Args:
            table: `means`: each ranking's mean with its interval, and in `alike` the letters of the groups that cannot
                be told apart. `differences`: each pair's difference with interval, p-values and the smallest detectable
                difference, and of `hr@k` the shares of users with a hit of one or the other. `served`: the shares of
                users with a hit of one ranking alone, of several, of all, of none.

        Raises:
            ConfigError: the table is unknown, or pandas is not installed.
        """
        return data_frame(self.table(typed(table, TableName, "table")))

    def as_json(self) -> dict[str, Any]:
        """Everything as JSON values."""
        return {
            "format": "tcf-comparison",
            **self.about,
            **asdict(self.draws),
            "means": [asdict(row) for row in self.means],
            "differences": [asdict(row) for row in self.differences],
            "served": [asdict(row) for row in self.served],
        }

    def __repr__(self) -> str:
        """The tables for people."""
        return "\n\n".join(self._texts())

    def _texts(self) -> Iterator[str]:
        for by, group in dict.fromkeys((row.by, row.group) for row in self.means):
            for metric in self.metrics:
                place = (by, group, metric.name)
                yield shown_part(
                    metric,
                    [row for row in self.means if (row.by, row.group, row.metric) == place],
                    [row for row in self.differences if (row.by, row.group, row.metric) == place],
                    [row for row in self.served if (row.by, row.group, row.metric) == place],
                )
        yield "\n".join(self._notes())

    def _notes(self) -> Iterator[str]:
        several = any(row.seeds > 1 for row in self.means)
        over = "users" + ("; with several seeds, over users crossed with seeds" if several else "")
        yield f"intervals: {100 * self.draws.confidence:g} % ({self.draws.resamples:,} resamples) over {over}"
        yield f"p: paired sign-flip test over users, {self.draws.flips:,} flips"
        if several:
            yield "p(seeds): over users crossed with seeds; p is about these runs, p(seeds) about other trainings, too"
        yield (
            f"p(Holm): {'the larger of both' if several else 'p'}, adjusted for all pairs"
            + (" and all groups of a grouping" if any(row.by for row in self.means) else "")
            + " by one metric"
        )
        if any(row.p_mcnemar is not None for row in self.differences):
            yield "McNemar: p of the exact test of hits, not adjusted"
        yield f"alike: rankings with a letter in common cannot be told apart: p(Holm) is above {self.draws.level:g}"
        yield "detectable: the smallest true difference that would be found 4 times in 5"
