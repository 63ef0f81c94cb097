"""An evaluation: the rank of every held-out target, metrics computed from the ranks, and the directory of both."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from tcf.common.errors import RunError, value_words
from tcf.common.files import MANIFEST, is_published, publish_file, publishing, refuse_occupied
from tcf.common.manifest import Format, Manifest, differences, read_manifest, seal, verify_files
from tcf.common.progress import Progress
from tcf.config.evaluate import EvaluateConfig
from tcf.config.fields import to_mapping
from tcf.config.typed_values import typed
from tcf.data.data_frames import data_frame
from tcf.data.dataset import Dataset
from tcf.data.split import Queries
from tcf.evaluate.questions import POLICIES, Questions, unusual_policies
from tcf.ranking.catalogue import blocks
from tcf.ranking.metrics import METRICS, summary
from tcf.ranking.ranks import Ranks, rank_targets
from tcf.ranking.scorers import Scorer

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "EVALUATION",
    "Evaluation",
    "evaluate",
    "existing_evaluation",
    "open_evaluation",
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
    ]
)
_ROW_GROUP = 2**20  # users; the ids of a row group are in memory at once
_ABOUT = {
    **dict.fromkeys(("users", "users_without_training", "candidates", "targets_outside_catalogue"), int),
    **dict.fromkeys((*POLICIES, "split"), str),
}
EVALUATION = Format(
    name="tcf-evaluation",
    version=2,
    error=RunError,
    made_by="tcf evaluate",
    required={f"facts.{name}": kind for name, kind in ({metric.name: float for metric in METRICS} | _ABOUT).items()},
)


@dataclass(frozen=True, repr=False)
class Evaluation:
    """A finished evaluation.

    Attributes:
        path: its directory.
        metrics: the mean of each of `tcf.ranking.metrics.METRICS`, by name; the number of evaluated `users`, of
            `users_without_training` (who have no training interaction, evaluated or left out), of `candidates` (the
            ranked items) and of `targets_outside_catalogue` (which are none of them); the policies `catalogue`,
            `exclude`, `seen` and `untrained_users`; and `split`.
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
                evaluated user, with the raw data's `user_id` and `item_id` (the target's), `rank`, `ties` and
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
        unusual = "".join(f", {name} {value}" for name, value in unusual_policies(self.metrics).items())
        return f"Evaluation({str(self.path)!r}: {self.ranking}, {self.metrics['split']} {shown}{unusual})"

    def as_json(self) -> dict[str, Any]:
        """The evaluation as JSON values, without its manifest."""
        return {"evaluation": str(self.path), **self.metrics}

    def for_people(self) -> dict[str, Any]:
        """The same by names to print: metrics say of which part of the split they are."""
        names = {metric.name: f"{self.metrics['split']}_{metric.name}" for metric in METRICS}
        return {names.get(name, name): value for name, value in self.as_json().items()}


def evaluate(
    scorer: Scorer,
    questions: Questions,
    dataset: Dataset,
    *,
    out: Path,
    inputs: Mapping[str, str],
    ranking: str,
    config: EvaluateConfig,
) -> Evaluation:
    """Rank every user's held-out item among all candidates; publish the ranks.

    Users without a held-out item, or without an item before it, are not evaluated; of several ones of a user, the first
    is.

    Args:
        scorer: scores of `questions.ranked` for each user of `questions.queries`, in order, computed without the
            held-out items.
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
        ranks = rank_targets(scorer, seen, questions.places, policy=config.seen, advance=progress.advance)
    metrics: dict[str, Any] = {**summary(ranks), **questions.facts(config)}
    settings = {**to_mapping(config), "ranking": ranking}
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
        return None
    found = open_evaluation(out)
    stored = {**found.manifest.config, **found.manifest.inputs, "device": config.device}
    differing = differences(stored, {**to_mapping(config), "ranking": ranking, **inputs})
    if differing:
        raise RunError(
            f"{out}: expected an evaluation of these inputs and settings, found another ({differing}); remove it, or "
            "name another --out"
        )
    logger.info(f"{out}: already evaluated with these settings and inputs; nothing to do")
    return found


def open_evaluation(path: Path) -> Evaluation:
    """Open an evaluation's directory.

    Metrics unknown to this version of tcf follow the known ones.

    Raises:
        RunError: there is no finished evaluation, or a metric is missing or not a number.
    """
    manifest = read_manifest(path, EVALUATION)
    facts, known = manifest.facts, [metric.name for metric in METRICS]
    others = sorted({*facts} - {*known} - {*_ABOUT})
    for name in others:
        if not isinstance(facts[name], int | float) or isinstance(facts[name], bool):
            raise RunError(
                f"{path / MANIFEST}: expected facts.{name}, a number, found {value_words(facts[name])}; "
                f"{EVALUATION.remedy(path)}"
            )
    return Evaluation(path, {name: facts[name] for name in (*known, *others, *_ABOUT)}, manifest)


def _write_ranks(ranks: Ranks, queries: Queries, dataset: Dataset, file: Path) -> None:
    """Write a row for each query, with the ids of the raw data."""
    # User ids are distinct, so dictionary encoding saves nothing.
    repeated = [name for name in _SCHEMA.names if name != "user_id"]
    with pq.ParquetWriter(file, _SCHEMA, use_dictionary=repeated) as writer:
        for rows in blocks(len(queries), _ROW_GROUP):
            columns = [
                dataset.user_ids.take(pa.array(queries.users[rows])),
                dataset.item_ids.take(pa.array(queries.targets[rows])),
                *map(pa.array, (ranks.rank[rows], ranks.equal[rows], ranks.candidates[rows])),
            ]
            writer.write_table(pa.Table.from_arrays(columns, schema=_SCHEMA), row_group_size=_ROW_GROUP)
