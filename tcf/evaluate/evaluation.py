"""An evaluation: the rank of every held-out target, metrics computed from the ranks, and the directory of both."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tcf.common.errors import RunError, value_words
from tcf.common.files import MANIFEST, check_destination, is_published, publish_file, publishing, refuse_occupied
from tcf.common.integrity.checksums import Verify
from tcf.common.integrity.verified_files import verify_files
from tcf.common.manifest import Format, Manifest, differences, read_manifest, seal
from tcf.common.progress import Progress
from tcf.config.evaluate import EvaluateConfig
from tcf.config.fields import to_mapping
from tcf.config.typed_values import typed
from tcf.data.data_frames import data_frame
from tcf.data.dataset import Dataset
from tcf.data.histories import owners
from tcf.data.split import Queries
from tcf.evaluate.questions import POLICIES, Questions, unusual_policies
from tcf.ranking.catalogue import blocks
from tcf.ranking.metrics import Metric, means, measured_among, rank_metrics
from tcf.ranking.ranker import Ranker
from tcf.ranking.ranks import Ranks, rank_targets

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "EVALUATION",
    "Evaluation",
    "evaluate",
    "existing_evaluation",
    "open_evaluation",
    "ranks_of",
]

logger = logging.getLogger(__name__)

_RANKS = "ranks.parquet"
_SCHEMA = pa.schema(
    [
        ("user_id", pa.large_string()),
        ("item_id", pa.large_string()),
        ("rank", pa.float64()),
        ("ties", pa.int64()),
        ("candidates", pa.int64()),
        ("item_interactions", pa.int32()),
        ("history", pa.int32()),
    ]
)
_ROW_GROUP = 2**20  # users; the ids of a row group are in memory at once
_ABOUT = {
    **dict.fromkeys(("users", "targets", "users_without_training", "candidates", "targets_outside_catalogue"), int),
    **dict.fromkeys((*POLICIES, "split"), str),
}
EVALUATION = Format(
    name="tcf-evaluation",
    version=3,
    error=RunError,
    made_by="tcf evaluate",
    required={f"facts.{name}": kind for name, kind in ({"mrr": float} | _ABOUT).items()},
)


@dataclass(frozen=True, repr=False)
class Evaluation:
    """A finished evaluation.

    Attributes:
        path: its directory.
        metrics: the mean of each metric, by its name, such as `hr@10`; the number of evaluated `users`, of their
            `targets`, of `users_without_training` (who have no training interaction, evaluated or left out), of
            `candidates` (the ranked items) and of `targets_outside_catalogue` (which are none of them); the policies
            `several_targets`, `catalogue`, `exclude`, `seen` and `untrained_users`; and `split`.
        manifest: its manifest.
    """

    path: Path
    metrics: Mapping[str, Any]
    manifest: Manifest

    @property
    def ranking(self) -> str:
        """What was ranked: the kind of the run, or the baseline's name."""
        return str(self.manifest.config.get("ranking"))

    @property
    def measured(self) -> tuple[Metric, ...]:
        """What was measured, in the order of files and tables."""
        return measured_among(self.metrics)

    @property
    def ranks(self) -> Ranks:
        """The rank of every target, from its file.

        Raises:
            RunError: the file is missing or damaged.
        """
        return ranks_of(self.table())

    def table(self) -> pa.Table:
        """The file of ranks: a row for each user and target, users in order.

        Raises:
            RunError: it is missing or damaged.
        """
        verify_files(self.path, self.manifest, EVALUATION, names=(_RANKS,))
        return pq.read_table(self.path / _RANKS)

    def to_pandas(self, table: Literal["metrics", "ranks"] = "metrics") -> "pd.DataFrame":
        """The evaluation as a pandas frame.

        Args:
            table: `metrics`: one row with all that `metrics` holds, and the `ranking`. `ranks`: one row for each
                user and target, with the raw data's `user_id` and `item_id`, `rank`, `ties` and `candidates`, the
                number of the item's training interactions (`item_interactions`), and that of the user's items before
                the target (`history`).

        Raises:
            ConfigError: the table is unknown, or pandas is not installed.
            RunError: the file of ranks is missing or damaged.
        """
        match typed(table, Literal["metrics", "ranks"], "table"):
            case "metrics":
                return data_frame(pa.Table.from_pylist([{"ranking": self.ranking, **self.metrics}]))
            case _:
                return data_frame(self.table())

    def __repr__(self) -> str:
        """What it is, in a line."""
        shown = ", ".join(f"{metric.name} {metric.shown(self.metrics[metric.name])}" for metric in self.measured)
        unusual = "".join(f", {name} {value}" for name, value in unusual_policies(self.metrics).items())
        return f"Evaluation({str(self.path)!r}: {self.ranking}, {self.metrics['split']} {shown}{unusual})"

    def as_json(self) -> dict[str, Any]:
        """The evaluation as JSON values, without its manifest."""
        return {"evaluation": str(self.path), **self.metrics}

    def for_people(self) -> dict[str, Any]:
        """The same by names to print: metrics say of which part of the split they are."""
        names = {metric.name: f"{self.metrics['split']}_{metric.name}" for metric in self.measured}
        return {names.get(name, name): value for name, value in self.as_json().items()}


def evaluate(
    ranker: Ranker,
    questions: Questions,
    dataset: Dataset,
    *,
    out: Path,
    inputs: Mapping[str, str],
    ranking: str,
    config: EvaluateConfig,
) -> Evaluation:
    """Rank every user's held-out items among all candidates; publish the ranks.

    Users without a held-out item, or without an item before it, are not evaluated.

    Args:
        ranker: ranks `questions.ranked` for each user of `questions.queries`, in order, without knowing
            the held-out items.
        questions: what these settings ask of the dataset.
        dataset: the dataset with the held-out items.
        out: directory to create.
        inputs: fingerprints of everything the scores depend on, including the dataset.
        ranking: what ranks: the kind of the run, or the baseline's name.
        config: split and policies.

    Raises:
        RunError: a score is not finite, or `out` is occupied.
    """
    questions.say(dataset, config)
    queries, seen = questions.queries, questions.ranked.of_histories(questions.seen)
    with Progress("evaluate: ranking", len(queries), "users") as progress:
        ranks = rank_targets(ranker, seen, questions.targets, policy=config.seen, advance=progress.advance)
    measured = rank_metrics(config.cutoffs, several=len(ranks.greater) > len(ranks))
    metrics: dict[str, Any] = {**means(ranks, measured), **questions.facts(config)}
    settings = {**_recorded(config), "ranking": ranking}
    with publishing(out) as staging:
        _write_ranks(ranks, queries, dataset, staging / _RANKS)
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
        check_destination(out)
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
    facts = manifest.facts
    others = [name for name in facts if name not in _ABOUT]
    for name in others:
        if not isinstance(facts[name], int | float) or isinstance(facts[name], bool):
            raise RunError(
                f"{path / MANIFEST}: expected facts.{name}, a number, found {value_words(facts[name])}; "
                f"{EVALUATION.remedy(path)}"
            )
    known = [metric.name for metric in measured_among(others)]
    others = sorted({*others} - {*known})
    return Evaluation(path, {name: facts[name] for name in (*known, *others, *_ABOUT)}, manifest)


def ranks_of(table: pa.Table) -> Ranks:
    """Read the ranks of a file of ranks, or of some of its rows."""
    users = table["user_id"].combine_chunks()
    first = np.flatnonzero(np.concatenate([[True], pc.not_equal(users[1:], users[:-1]).to_numpy(zero_copy_only=False)]))
    rank, equal, candidates = (table[name].to_numpy() for name in ("rank", "ties", "candidates"))
    greater = (rank - 1 - equal / 2).round().astype(np.int64)
    return Ranks(greater, equal, candidates[first], offsets=np.append(first, len(rank)))


def _write_ranks(ranks: Ranks, queries: Queries, dataset: Dataset, file: Path) -> None:
    """Write a row for each user and target, with the ids of the raw data."""
    # User ids are mostly distinct, so dictionary encoding saves nothing.
    repeated = [name for name in _SCHEMA.names if name != "user_id"]
    owner_T, targets_T = owners(queries.targets), queries.targets.items
    history_U = queries.earlier.lengths.astype(np.int32)
    with pq.ParquetWriter(file, _SCHEMA, use_dictionary=repeated) as writer:
        for rows in blocks(len(targets_T), _ROW_GROUP):
            users, items = owner_T[rows], targets_T[rows]
            columns = [
                dataset.user_ids.take(pa.array(queries.users[users])),
                dataset.item_ids.take(pa.array(items)),
                *map(pa.array, (ranks.rank[rows], ranks.equal[rows], ranks.candidates[users])),
                *map(pa.array, (dataset.training_interactions[items].astype(np.int32), history_U[users])),
            ]
            writer.write_table(pa.Table.from_arrays(columns, schema=_SCHEMA), row_group_size=_ROW_GROUP)
