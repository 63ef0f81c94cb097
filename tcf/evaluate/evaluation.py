"""An evaluation: the rank of every held-out target, metrics computed from the ranks, and the directory of both."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tcf.common.errors import DataError, RunError, value_words
from tcf.common.files import MANIFEST, is_published, publish_file, publishing, refuse_occupied
from tcf.common.integrity.checksums import Verify
from tcf.common.integrity.verified_files import verify_files
from tcf.common.manifest import Format, Manifest, differences, read_manifest, seal
from tcf.common.progress import Progress
from tcf.common.text_table import text_table
from tcf.config.evaluate import EvaluateConfig
from tcf.config.fields import to_mapping
from tcf.config.typed_values import typed
from tcf.data.data_frames import data_frame
from tcf.data.dataset import Dataset
from tcf.data.split import Part, Queries, further_targets_words, held_out
from tcf.ranking.metrics import METRICS, summary
from tcf.ranking.ranks import Ranks, rank_targets
from tcf.ranking.scorers import Scorer

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "EVALUATION",
    "Evaluation",
    "EvaluationTable",
    "comparison",
    "evaluate",
    "existing_evaluation",
    "held_out_queries",
    "open_evaluation",
]

logger = logging.getLogger(__name__)

_COLUMN = 9  # smallest width of a column of numbers, in characters
_RANKS = "ranks.parquet"
_ABOUT = {"users": int, "candidates": int, "seen": str, "split": str}
EVALUATION = Format(
    name="tcf-evaluation",
    version=1,
    error=RunError,
    made_by="tcf evaluate",
    required={f"facts.{name}": kind for name, kind in ({metric.name: float for metric in METRICS} | _ABOUT).items()},
)


@dataclass(frozen=True, repr=False)
class Evaluation:
    """A finished evaluation.

    Attributes:
        path: its directory.
        metrics: the mean of each of `tcf.ranking.metrics.METRICS`, by name; the number of evaluated `users`, the number
            of `candidates` (the whole catalogue), `seen` (the policy for targets that the user has seen) and `split`.
        manifest: its manifest.
    """

    path: Path
    metrics: Mapping[str, Any]
    manifest: Manifest

    @property
    def ranking(self) -> str:
        """What was ranked: the kind of the run, or the baseline's name."""
        return str(self.manifest.config.get("ranking"))

    def to_pandas(self, table: Literal["metrics", "ranks"] = "metrics") -> "pd.DataFrame":
        """The evaluation as a pandas frame.

        Args:
            table: `metrics`: one row with all that `metrics` holds, and the `ranking`. `ranks`: one row for each
                evaluated user, with the indices `user` and `target` (an item) in the dataset, `rank`, `ties` and
                `candidates`.

        Raises:
            ConfigError: the table is unknown, or pandas is not installed.
            RunError: the file of ranks is missing or damaged.
        """
        match typed(table, Literal["metrics", "ranks"], "table"):
            case "metrics":
                return data_frame(pa.Table.from_pylist([{"ranking": self.ranking, **self.metrics}]))
            case _:
                verify_files(self.path, self.manifest, EVALUATION, names=(_RANKS,))
                return data_frame(pq.read_table(self.path / _RANKS))

    def __repr__(self) -> str:
        """What it is, in a line."""
        shown = ", ".join(f"{metric.name} {metric.shown(self.metrics[metric.name])}" for metric in METRICS)
        return f"Evaluation({str(self.path)!r}: {self.ranking}, {self.metrics['split']} {shown})"

    def as_json(self) -> dict[str, Any]:
        """The evaluation as JSON values, without its manifest."""
        return {"evaluation": str(self.path), **self.metrics}

    def for_people(self) -> dict[str, Any]:
        """The same by names to print: metrics say of which part of the split they are."""
        names = {metric.name: f"{self.metrics['split']}_{metric.name}" for metric in METRICS}
        return {names.get(name, name): value for name, value in self.as_json().items()}


def held_out_queries(dataset: Dataset, part: Part) -> Queries:
    """The queries of a part of the dataset's split.

    Raises:
        DataError: there are none.
    """
    queries = held_out(dataset.split, part)
    if not len(queries):
        raise DataError(
            f"{dataset.path}: expected users with a {part} target and an item before it, found none among "
            f"{dataset.n_users} users; prepare a dataset with {'longer histories' if dataset.n_users else 'events'}"
        )
    return queries


def evaluate(
    scorer: Scorer,
    dataset: Dataset,
    *,
    out: Path,
    inputs: Mapping[str, str],
    ranking: str,
    config: EvaluateConfig,
) -> Evaluation:
    """Rank every user's held-out item among the whole catalogue without the user's earlier items; publish the ranks.

    Users without a held-out item, or without an item before it, are not evaluated; of several ones of a user, the first
    is.

    Args:
        scorer: scores of all items for each user of `held_out_queries`, in order, computed without the held-out items.
        dataset: the dataset with the held-out items.
        out: directory to create.
        inputs: fingerprints of everything the scores depend on, including the dataset.
        ranking: what ranks: the kind of the run, or the baseline's name.
        config: split and policy.

    Raises:
        RunError: a score is not finite, or `out` is occupied.
        DataError: no user can be evaluated.
    """
    queries = held_out_queries(dataset, config.split)
    if len(queries) < dataset.n_users:
        counted = f"{len(queries):,} of {dataset.n_users:,} users have a {config.split} target and an item before it"
        logger.info(f"{counted}; the others are not evaluated")
    further = further_targets_words(dataset.split, config.split)
    if further is not None:
        logger.info(f"{dataset.path}: {further}")
    with Progress("evaluate: ranking", len(queries), "users") as progress:
        ranks = rank_targets(scorer, queries.earlier, queries.targets, policy=config.seen, advance=progress.advance)
    metrics: dict[str, Any] = {
        **summary(ranks),
        "users": len(ranks),
        "candidates": dataset.n_items,
        "seen": config.seen,
        "split": config.split,
    }
    settings = {**_recorded(config), "ranking": ranking}
    with publishing(out) as staging:
        _write_ranks(ranks, queries, staging / _RANKS)
        publish_file(staging / "metrics.json", (json.dumps(metrics, indent=2) + "\n").encode())
        manifest = seal(staging, EVALUATION, inputs=inputs, config=settings, facts=metrics)
    return Evaluation(out, metrics, manifest)


def existing_evaluation(
    out: Path, *, inputs: Mapping[str, str], ranking: str, config: EvaluateConfig
) -> Evaluation | None:
    """Open the finished evaluation at `out`; None if there is nothing.

    Raises:
        RunError: `out` holds an evaluation of other inputs or settings, which are named, or something else.
    """
    if not is_published(out):
        refuse_occupied(out)
        return None
    found = open_evaluation(out, verify=config.verify)
    stored = {**found.manifest.config, **found.manifest.inputs, "device": config.device}
    differing = differences(stored, {**_recorded(config), "ranking": ranking, **inputs})
    if differing:
        raise RunError(
            f"{out}: expected an evaluation of these inputs and settings, found another ({differing}); remove it, or "
            "name another --out"
        )
    logger.info(f"{out}: already evaluated with these settings and inputs; nothing to do")
    return found


def _recorded(config: EvaluateConfig) -> dict[str, Any]:
    """The settings that decide the metrics, and the device."""
    return {name: value for name, value in to_mapping(config).items() if name != "verify"}


def open_evaluation(path: Path, *, verify: Verify = "once") -> Evaluation:
    """Open an evaluation's directory.

    Metrics unknown to this version of tcf follow the known ones.

    Args:
        path: the directory.
        verify: whether large files that this machine has verified are verified again.

    Raises:
        RunError: there is no finished evaluation, a file is damaged, or a metric is missing or not a number.
    """
    manifest = read_manifest(path, EVALUATION)
    verify_files(path, manifest, EVALUATION, verify=verify)
    facts, known = manifest.facts, [metric.name for metric in METRICS]
    others = sorted({*facts} - {*known} - {*_ABOUT})
    for name in others:
        if not isinstance(facts[name], int | float) or isinstance(facts[name], bool):
            raise RunError(
                f"{path / MANIFEST}: expected facts.{name}, a number, found {value_words(facts[name])}; "
                f"{EVALUATION.remedy(path)}"
            )
    return Evaluation(path, {name: facts[name] for name in (*known, *others, *_ABOUT)}, manifest)


def _write_ranks(ranks: Ranks, queries: Queries, file: Path) -> None:
    table = pa.table(
        {
            "user": queries.users.astype(np.int32),
            "target": queries.targets.astype(np.int32),
            "rank": ranks.rank,
            "ties": ranks.equal,
            "candidates": ranks.candidates,
        }
    )
    pq.write_table(table, file)


@dataclass(frozen=True, repr=False)
class EvaluationTable:
    """Evaluations side by side.

    Attributes:
        evaluations: finished evaluations by the name to show, in the order to show.
    """

    evaluations: Mapping[str, Evaluation]

    def to_pandas(self) -> "pd.DataFrame":
        """One row for each evaluation, named as it is shown, a column for each metric and for what was evaluated.

        Raises:
            ConfigError: pandas is not installed.
        """
        found = {name: evaluation.metrics for name, evaluation in self.evaluations.items()}
        columns = dict.fromkeys(column for metrics in found.values() for column in metrics)
        rows = [{"name": name, **{c: metrics.get(c) for c in columns}} for name, metrics in found.items()]
        return data_frame(pa.Table.from_pylist(rows)).set_index("name")

    def __repr__(self) -> str:
        """One line for each evaluation, with its metrics as each is shown."""
        return comparison(self.evaluations)


def comparison(evaluations: Mapping[str, Evaluation]) -> str:
    """Compare evaluations in a table, one line each.

    Args:
        evaluations: finished evaluations by the name to show, in the order of the lines.
    """
    found = [evaluation.metrics for evaluation in evaluations.values()]
    columns = [
        ["ranking", *evaluations],
        *(_aligned(metric.name, [metric.shown(means[metric.name]) for means in found]) for metric in METRICS),
        _aligned("users", [f"{means['users']:,}" for means in found]),
        _aligned("items", [f"{means['candidates']:,}" for means in found]),
    ]
    return text_table(list(zip(*columns, strict=True)), gap=" ")


def _aligned(head: str, cells: Sequence[str]) -> list[str]:
    """A right-aligned column of numbers."""
    width = max(_COLUMN, *map(len, (head, *cells)))
    return [cell.rjust(width) for cell in (head, *cells)]
