"""An evaluation: the rank of every held-out target, metrics computed from the ranks, and the directory of both."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
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
from tcf.data.cache.caches import VectorCache
from tcf.data.data_frames import data_frame
from tcf.data.dataset import Dataset
from tcf.evaluate.groups.group_table import GroupTable, group_table
from tcf.evaluate.intervals import Bootstrap, Interval, end_columns, interval_words, intervals_of
from tcf.evaluate.lists.found_lists import LIST_METRICS, LISTS, FoundLists
from tcf.evaluate.lists.list_vectors import vectors_of
from tcf.evaluate.lists.ranks_and_lists import ranks_and_lists
from tcf.evaluate.questions import POLICIES, Questions, unusual_policies
from tcf.evaluate.ranks_table import ranks_of, write_ranks
from tcf.ranking.metrics import Metric, measured_among, rank_metrics
from tcf.ranking.ranker import Ranker
from tcf.ranking.ranks import Ranks

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "EVALUATION",
    "Evaluation",
    "UsersProgress",
    "evaluate",
    "existing_evaluation",
    "open_evaluation",
    "users_progress",
]

_RANKS = "ranks.parquet"
_COUNTS = ("users", "targets", "users_without_training", "candidates", "targets_outside_catalogue")
_ABOUT = {**dict.fromkeys(_COUNTS, int), **dict.fromkeys((*POLICIES, "split"), str)}
_INTERVALS = "intervals"
_BOOTSTRAP = ("resamples", "bootstrap_seed", "confidence")
EVALUATION = Format(
    name="tcf-evaluation",
    version=3,
    error=RunError,
    made_by="tcf evaluate",
    required={
        **{f"facts.{name}": kind for name, kind in ({"mrr": float, _INTERVALS: dict} | _ABOUT).items()},
        **{f"config.{name}": kind for name, kind in zip(_BOOTSTRAP, (int, int, float), strict=True)},
    },
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
    def intervals(self) -> Mapping[str, Interval]:
        """The interval of the mean over users, lower and upper end, of each metric that has a value for each user.

        That of `hr@k` is Wilson's where no target ties with others across position k, all others are bootstrapped.
        There are none where `resamples` is 0.
        """
        return {name: (low, high) for name, (low, high) in self.manifest.facts.get(_INTERVALS, {}).items()}

    @property
    def bootstrap(self) -> Bootstrap:
        """How intervals are computed."""
        return Bootstrap.recorded(self.manifest.config)

    @property
    def asked(self) -> Mapping[str, Any]:
        """All but the answers: the dataset's fingerprint, split, policies, and numbers of users, targets and items."""
        names = ("split", *POLICIES, *_COUNTS)
        dataset = self.manifest.inputs.get("dataset", "none")
        return {"dataset": dataset, **{name: self.metrics.get(name, "none") for name in names}}

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
        return self._read(_RANKS)

    def lists(self) -> pa.Table:
        """The file of lists: a row for each user and place, users in order, the best place first.

        Raises:
            RunError: it is missing or damaged, or lists were not asked for.
        """
        if LISTS not in self.manifest.files:
            raise RunError(f"{self.path}: expected {LISTS}, found an evaluation without; evaluate again with --lists")
        return self._read(LISTS)

    def list_values(self) -> dict[str, npt.NDArray[np.float64]]:
        """Each user's value of the metrics of lists, (users,), by the metric's name; empty if none were measured.

        Raises:
            RunError: the file is missing or damaged.
        """
        if LIST_METRICS not in self.manifest.files:
            return {}
        table = self._read(LIST_METRICS)
        return {name: table[name].to_numpy() for name in table.column_names if name != "user_id"}

    def _read(self, file: str) -> pa.Table:
        verify_files(self.path, self.manifest, EVALUATION, names=(file,))
        return pq.read_table(self.path / file)

    def to_pandas(self, table: Literal["metrics", "ranks", "lists"] = "metrics") -> "pd.DataFrame":
        """The evaluation as a pandas frame.

        Args:
            table: `metrics`: one row with all that `metrics` holds, the `ranking`, and the ends of the intervals, such
                as `hr@10_low` and `hr@10_high`. `ranks`: one row for each user and target, with the raw data's
                `user_id` and `item_id`, `rank`, `ties` and `candidates`, the number of the item's training
                interactions (`item_interactions`), and that of the user's items before the target (`history`).
                `lists`: one row for each user and place, with `user_id`, `place` (1 is the best), `item_id` and
                `score`.

        Raises:
            ConfigError: the table is unknown, or pandas is not installed.
            RunError: the file of ranks or lists is missing or damaged, or lists were not asked for.
        """
        match typed(table, Literal["metrics", "ranks", "lists"], "table"):
            case "metrics":
                return data_frame(
                    pa.Table.from_pylist([{"ranking": self.ranking, **self.metrics, **end_columns(self.intervals)}])
                )
            case "lists":
                return data_frame(self.lists())
            case _:
                return data_frame(self.table())

    def groups(self, by: str | Iterable[str]) -> GroupTable:
        """The metrics of groups of targets or users, from the saved ranks, with intervals.

        With several targets of a user, a group has those of the user's targets that are in it.

        Args:
            by: what decides the group, or several of these: `cold` (targets without a training interaction, and the
                others), `warm:20,50,200` (targets with at least so many training interactions), `popularity:10` (as
                many groups of about equal numbers of targets, by the training interactions of their items),
                `history:5,10,20` (by the number of the user's items before the target), or `FILE:COLUMN` (the values
                of a column of a table with `item_id` or `user_id`: Parquet, CSV or JSON lines).

        Raises:
            ConfigError: it is something else, or a file lacks the column.
            DataError: a file cannot be read, or gives an id several values.
            RunError: the file of ranks is missing or damaged.
        """
        return group_table(self, by)

    def __repr__(self) -> str:
        """What it is, in a line."""
        shown = ", ".join(f"{metric.name} {self._shown(metric)}" for metric in self.measured)
        unusual = "".join(f", {name} {value}" for name, value in unusual_policies(self.metrics).items())
        return f"Evaluation({str(self.path)!r}: {self.ranking}, {self.metrics['split']} {shown}{unusual})"

    def as_json(self, by: Sequence[str] = ()) -> dict[str, Any]:
        """The evaluation as JSON values, without its manifest; with its groups `by` something, as for `groups`."""
        groups = {"groups": self.groups(by).as_json()} if by else {}
        return {"evaluation": str(self.path), **self.metrics, _INTERVALS: self.intervals, **groups}

    def for_people(self) -> dict[str, Any]:
        """The same by names to print: metrics say of which part of the split they are, and have their intervals."""
        shown = {metric.name: self._shown(metric) for metric in self.measured}
        named = {f"{self.metrics['split']}_{name}": text for name, text in shown.items()}
        about = {name: value for name, value in self.metrics.items() if name not in shown}
        return {"evaluation": str(self.path), **named, **about, _INTERVALS: self._intervals_words}

    def _shown(self, metric: Metric) -> str:
        """A mean, and its interval if it has one: `9.37% (8.91 to 9.85)`."""
        mean, ends = metric.shown(self.metrics[metric.name]), self.intervals.get(metric.name)
        return mean if ends is None else f"{mean} ({interval_words(metric, ends)})"

    @property
    def _intervals_words(self) -> str:
        return f"{self.bootstrap.words} over users" if self.intervals else "none"


UsersProgress = Callable[[str, int], Progress]
"""Opens what shows the progress of a step: its name, and the number of users."""


def users_progress(step: str, users: int) -> Progress:
    """Show the progress of a step over so many users."""
    return Progress(step, users, "users")


def evaluate(
    ranker: Ranker,
    questions: Questions,
    dataset: Dataset,
    *,
    out: Path,
    inputs: Mapping[str, str],
    ranking: str,
    config: EvaluateConfig,
    vectors: VectorCache | None = None,
    progress: UsersProgress = users_progress,
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
        vectors: the cache that the diversity of lists is measured on; None: it is not measured.
        progress: shows the progress of a step.

    Raises:
        RunError: a score is not finite, or `out` is occupied.
        CacheError: an item has no vector.
    """
    vectors_of_items = vectors_of(vectors, dataset)  # refused before anything is ranked
    ranks, found = ranks_and_lists(ranker, questions, config, progress)
    lists = None if found is None else FoundLists.of(found, questions, dataset, config, vectors_of_items)
    measured = rank_metrics(config.cutoffs, several=len(ranks.greater) > len(ranks))
    columns = {metric.name: metric.per_user(ranks) for metric in measured}
    means = {name: float(values_U.mean()) for name, values_U in columns.items()}
    of_lists = {} if lists is None else lists.metrics
    metrics: dict[str, Any] = {**means, **of_lists, **questions.facts(config)}
    with_intervals = columns if lists is None else {**columns, **lists.values}
    intervals = {name: [*ends] for name, ends in intervals_of(with_intervals, Bootstrap.of(config)).items()}
    facts = {**metrics, _INTERVALS: intervals}
    settings = {**_recorded(config), "ranking": ranking}
    with publishing(out) as staging:
        write_ranks(ranks, questions.queries, dataset, staging / _RANKS)
        if lists is not None:
            lists.write(staging, questions.queries.users, dataset)
        publish_file(staging / "metrics.json", (json.dumps(facts, indent=2) + "\n").encode())
        manifest = seal(staging, EVALUATION, inputs=inputs, config=settings, facts=facts)
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
    others = [name for name in facts if name not in (*_ABOUT, _INTERVALS)]
    for name in others:
        _require(_is_number(facts[name]), path, name, "a number", facts[name])
    for name, ends in facts[_INTERVALS].items():
        are_ends = isinstance(ends, list) and len(ends) == 2 and all(map(_is_number, ends))
        _require(are_ends, path, f"{_INTERVALS}.{name}", "two numbers", ends)
    known = [metric.name for metric in measured_among(others)]
    others = sorted({*others} - {*known})
    return Evaluation(path, {name: facts[name] for name in (*known, *others, *_ABOUT)}, manifest)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _require(holds: bool, path: Path, name: str, expected: str, found: object) -> None:
    if not holds:
        raise RunError(
            f"{path / MANIFEST}: expected facts.{name}, {expected}, found {value_words(found)}; "
            f"{EVALUATION.remedy(path)}"
        )
