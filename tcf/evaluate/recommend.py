"""The best items for every user, under the ids of the raw data, for use by other programs.

Shapes: B users of a block, K places.
"""

import hashlib
import logging
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from tcf.common.errors import RunError
from tcf.common.output.output_file import check_output_file, format_by_suffix, is_stream, output_file
from tcf.common.progress import Progress
from tcf.common.units import counted
from tcf.common.untrusted.printable import printable
from tcf.config.evaluate import CataloguePolicy, Search, UntrainedUsers
from tcf.data.data_frames import data_frame
from tcf.data.dataset import Dataset
from tcf.data.tables.source_file import read_error_words
from tcf.evaluate.best_items import BestItems
from tcf.evaluate.chosen_users import chosen_users, trained_among
from tcf.evaluate.finished_run import FinishedRun, check_search, members_of, open_finished_run, usual_catalogue
from tcf.evaluate.lists.list_table import list_table, lists_schema
from tcf.evaluate.sealed_table import SealedTableWriter, is_sealed, read_sealed
from tcf.ranking.engines import Engine, resolve_search

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FORMATS", "Recommendations", "examples", "recommend"]

logger = logging.getLogger(__name__)

FORMATS = ("parquet", "csv")
_EXCLUDE = "all-seen"  # nothing that a user has had is recommended
_USERS_AT_ONCE = 16_384
_Writer: TypeAlias = SealedTableWriter | pyarrow.csv.CSVWriter


@dataclass(frozen=True, repr=False)
class Recommendations:
    """Each user's best items, best first.

    Attributes:
        n_users: users that they are for.
        k: items for each user at most.
        path: the file that they are in; None if none was written.
        rows: the table, where there is no file.
        catalogue: which items may be recommended: `all`, or those with a training interaction (`trained`).
        with_fewer: number of users with fewer than k items, because there are no further ones that they have not had.
        untrained: number of users whom the run has never trained, among those asked for.
        untrained_users: what was done with them: `keep` or `leave-out`.
        search: what computed the scores: `torch` or `faiss`.
        shares: the members of a combination whose shares in the scores are told.
    """

    n_users: int
    k: int
    path: Path | None = None
    rows: pa.Table | None = None
    catalogue: CataloguePolicy = "all"
    with_fewer: int = 0
    untrained: int = 0
    untrained_users: UntrainedUsers = "keep"
    search: Engine = "torch"
    shares: tuple[str, ...] = ()

    @property
    def table(self) -> pa.Table:
        """The columns `user_id`, `place` (1 is the best), `item_id` and `score`; read from the file if there is one.

        With shares, a column for each member follows, such as `share_text`; those of a row add up to its score.

        Raises:
            RunError: the file is gone, or a Parquet file has changed since it was written.
        """
        if self.path is None:
            return self.rows
        if is_stream(self.path):
            raise RunError(
                f"{self.path}: expected a file to read, found a stream that they were written to; name a file"
            )
        try:
            if format_by_suffix(self.path, FORMATS) == "parquet":
                return read_sealed(self.path)
            types = pyarrow.csv.ConvertOptions(column_types=lists_schema(self.shares))
            return pyarrow.csv.read_csv(self.path, convert_options=types)
        except (OSError, ValueError, pa.ArrowException) as error:
            found = f"others ({read_error_words(error)})"
            raise RunError(
                f"{self.path}: expected recommendations as they were written, found {found}; remove it and recommend "
                "again"
            ) from None

    def to_pandas(self) -> "pd.DataFrame":
        """The same as a pandas frame.

        Raises:
            ConfigError: pandas is not installed.
        """
        return data_frame(self.table)

    def as_json(self) -> dict[str, Any]:
        """What was recommended to whom, as JSON values, without the rows."""
        return {
            "out": None if self.path is None else str(self.path),
            "k": self.k,
            "users": self.n_users,
            "users_with_fewer": self.with_fewer,
            "users_never_trained": self.untrained,
            "catalogue": self.catalogue,
            "exclude": _EXCLUDE,
            "untrained_users": self.untrained_users,
            "search": self.search,
            **({"shares": [*self.shares]} if self.shares else {}),
        }

    def __repr__(self) -> str:
        """What it is, in a line."""
        where = "" if self.path is None else f"{str(self.path)!r}: "
        among = "" if self.catalogue == "all" else f", {self.catalogue} ones only"
        return f"Recommendations({where}up to {self.k} items for each of {self.n_users} users{among})"


def recommend(
    run: Path | FinishedRun,
    *,
    out: Path | None,
    k: int,
    users: Path | Sequence[str] | None = None,
    catalogue: CataloguePolicy | None = None,
    untrained_users: UntrainedUsers = "keep",
    search: Search = "auto",
    shares: bool = False,
    data: Path | None = None,
    caches: Sequence[Path] = (),
    device: str = "auto",
) -> Recommendations:
    """Find each user's k best items that the user has not had, best first, given the user's whole history.

    The metadata of a Parquet file identify the run, the users, k and the policies. A file with the same metadata is
    kept if it is as it was written, any other file of tcf is replaced.

    Args:
        run: a finished training run or a combination, or its directory.
        out: a .parquet or .csv file: `user_id`, `place` (1 is the best), `item_id`, `score`; `-` for CSV on standard
            output; None to keep them in memory.
        k: number of items for each user.
        users: user ids of the raw data, without repeats, or a file with one per line; None for all users.
        catalogue: `all` items, or those with a training interaction (`trained`); None: `trained` for a run on ids
            alone, otherwise `all`.
        untrained_users: whether users whom the run has never trained get items (`keep`) or none (`leave-out`).
        search: what computes the scores: `torch`, or `faiss`; `auto` is torch.
        shares: whether to tell how each member of a combination shares in a score.
        data: the dataset, if it has moved since the training.
        caches: the vector caches, if they have moved, in the order of training.
        device: device for user states and for the search, the latter with FAISS only if it is built for GPUs; a run
            that is open stays on its own.

    Raises:
        ConfigError: `out` has another suffix; or shares are asked for, and the run is no combination.
        RunError: the run is unfinished, its dataset or caches have changed, `out` is something that tcf did not write,
            or k is less than 1.
        DataError: `users` names an unknown user, or a user twice; or no item has a training interaction.
        TcfError: FAISS is to search, and not installed.
    """
    engine = resolve_search(search)
    format = None if out is None else format_by_suffix(out, FORMATS)
    opened = open_finished_run(run, data=data, caches=caches, device=device) if isinstance(run, Path) else run
    check_search(opened, engine)
    members = members_of(opened) if shares else ()
    policy = usual_catalogue(opened) if catalogue is None else catalogue
    chosen, untrained = trained_among(opened, chosen_users(opened.dataset, users), untrained_users)
    done = Recommendations(len(chosen), k, out, None, policy, 0, untrained, untrained_users, engine, members)
    schema = _schema(done, opened, chosen)
    if out is not None and _is_there(out, schema):
        return _finished(done, sum(_full(batch, k) for batch in pq.ParquetFile(out).iter_batches(columns=["place"])))
    if out is not None:
        check_output_file(out)  # before the model is loaded
    tables = _tables(BestItems.of(opened, policy, engine), chosen, done, schema)
    if out is None or format is None:
        rows = pa.concat_tables([schema.empty_table(), *tables])
        return _finished(replace(done, rows=rows), _full(rows, k))
    full = 0
    with output_file(out) as staging, _writer(staging, format, schema) as writer:
        for table in tables:
            writer.write_table(table)
            full += _full(table, k)
    return _finished(done, full)


def examples(
    run: Path,
    *,
    users: int,
    k: int,
    catalogue: CataloguePolicy | None = None,
    search: Search = "auto",
    device: str = "auto",
) -> str:
    """The latest items of a few users and their recommendations, as texts for people to read."""
    engine = resolve_search(search)
    opened = open_finished_run(run, device=device)
    check_search(opened, engine)
    dataset = opened.dataset
    chosen = np.linspace(0, dataset.n_users - 1, min(users, dataset.n_users)).astype(np.int64)
    policy = usual_catalogue(opened) if catalogue is None else catalogue
    lists = BestItems.of(opened, policy, engine).lists(chosen, k)
    histories = dataset.histories.take(chosen)
    return "\n".join(_example(dataset, int(u), histories.of(i), lists.items_UK[i]) for i, u in enumerate(chosen))


def _tables(
    best: BestItems, users: npt.NDArray[np.int64], done: Recommendations, schema: pa.Schema
) -> Iterator[pa.Table]:
    """Iterate over blocks of users with their best items."""
    dataset, ranked = best.dataset, best.scores.ranked
    if not ranked.are_all:
        logger.info(f"{len(ranked):,} of {dataset.n_items:,} items have a training interaction and are candidates")
    with Progress("recommend", len(users), "users") as progress:
        for start in range(0, len(users), _USERS_AT_ONCE):
            block = users[start : start + _USERS_AT_ONCE]
            lists = best.lists(block, min(done.k, len(ranked)))
            shares_BKM = best.shares(block, lists) if done.shares else None
            yield list_table(dataset, block, lists, done.shares, shares_BKM).cast(schema)
            progress.advance(len(block))


def _full(rows: pa.Table | pa.RecordBatch, k: int) -> int:
    """Return how many users have an item in the last place."""
    return int((rows.column("place").to_numpy() == k).sum())


def _finished(done: Recommendations, full: int) -> Recommendations:
    """Say how many users have too few candidates."""
    fewer = done.n_users - full
    if fewer:
        short = f"{fewer:,} of {counted(done.n_users, 'user')} get fewer than {counted(done.k, 'item')}"
        logger.info(f"{short}: there are no further candidates that they have not had")
    return replace(done, with_fewer=fewer)


def _example(dataset: Dataset, user: int, history: npt.NDArray[np.int32], recommended: npt.NDArray[np.int32]) -> str:
    latest = map(printable, dataset.texts.take(history[-3:]).to_pylist())
    texts = map(printable, dataset.texts.take(recommended[recommended >= 0]).to_pylist())
    name = printable(dataset.user_ids[user].as_py())
    return f"user {name}, latest: {'; '.join(latest)}\n  recommended: {'; '.join(texts)}"


def _schema(done: Recommendations, run: FinishedRun, users: npt.NDArray[np.int64]) -> pa.Schema:
    """The columns, and as metadata all that decides the rows."""
    metadata = {
        "tcf.run": run.manifest.fingerprint,
        "tcf.users": hashlib.sha256(users.astype("<i8").tobytes()).hexdigest(),
        "tcf.k": str(done.k),
        "tcf.exclude": _EXCLUDE,
        "tcf.catalogue": done.catalogue,
        "tcf.untrained_users": done.untrained_users,
        "tcf.search": done.search,
    }
    return lists_schema(done.shares).with_metadata(metadata)


def _writer(file: Path, format: str, schema: pa.Schema) -> _Writer:
    return SealedTableWriter(file, schema) if format == "parquet" else pyarrow.csv.CSVWriter(file, schema)


def _is_there(out: Path, schema: pa.Schema) -> bool:
    """Whether `out` is a file with this schema and metadata, as it was written; a damaged one is named."""
    try:
        if not (out.is_file() and pq.read_schema(out).equals(schema, check_metadata=True)):
            return False
    except (OSError, pa.ArrowException):
        return False  # `check_output_file` refuses what nobody can tell from another program's file
    with suppress(OSError, pa.ArrowException):
        if is_sealed(out, schema):
            logger.info(f"{out}: already has these recommendations; nothing to do")
            return True
    logger.warning(f"{out}: expected these recommendations as they were written, found other bytes; written again")
    return False
