"""The best items for every user, under the ids of the raw data, for use by other programs.

Shapes: B users of a block, K places.
"""

import codecs
import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from tcf.common.errors import DataError
from tcf.common.files import format_by_suffix, publishing_file
from tcf.common.progress import Progress
from tcf.common.units import counted
from tcf.data.data_frames import data_frame
from tcf.data.dataset import Dataset
from tcf.data.tables.source_file import unreadable
from tcf.evaluate.sealed_table import SealedTableWriter, is_sealed
from tcf.ranking.catalogue import Catalogue
from tcf.ranking.faiss_search import load_faiss
from tcf.ranking.top_k import RankedLists, top_k
from tcf.train.run.open_run import Run, open_run

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FORMATS", "Recommendations", "examples", "recommend"]

logger = logging.getLogger(__name__)

FORMATS = ("parquet", "csv")
_USERS_AT_ONCE = 16_384
_Writer: TypeAlias = SealedTableWriter | pyarrow.csv.CSVWriter
_SCHEMA = pa.schema(
    [("user_id", pa.large_string()), ("place", pa.int32()), ("item_id", pa.large_string()), ("score", pa.float32())]
)


@dataclass(frozen=True, repr=False)
class Recommendations:
    """Each user's best items, best first.

    Attributes:
        n_users: users that they are for.
        k: items for each user at most.
        path: the file that they are in; None if none was written.
        rows: the table, where there is no file.
    """

    n_users: int
    k: int
    path: Path | None = None
    rows: pa.Table | None = None

    @property
    def table(self) -> pa.Table:
        """The columns `user_id`, `place` (1 is the best), `item_id` and `score`; read from the file if there is one."""
        if self.path is None:
            return self.rows
        if format_by_suffix(self.path, FORMATS) == "parquet":
            return pq.read_table(self.path)
        types = pyarrow.csv.ConvertOptions(column_types=_SCHEMA)
        return pyarrow.csv.read_csv(self.path, convert_options=types)

    def to_pandas(self) -> "pd.DataFrame":
        """The same as a pandas frame.

        Raises:
            ConfigError: pandas is not installed.
        """
        return data_frame(self.table)

    def __repr__(self) -> str:
        """What it is, in a line."""
        where = "" if self.path is None else f"{str(self.path)!r}: "
        return f"Recommendations({where}up to {self.k} items for each of {self.n_users} users)"


def recommend(
    run: Path | Run,
    *,
    out: Path | None,
    k: int,
    users: Path | Sequence[str] | None = None,
    data: Path | None = None,
    caches: Sequence[Path] = (),
    device: str = "auto",
) -> Recommendations:
    """Find each user's k best items that the user has not seen, best first, given the user's whole history.

    The metadata of a Parquet file identify the run, the users and k. A file with the same metadata is kept if it is as
    it was written, any other file is replaced.

    Args:
        run: a finished training run, or its directory.
        out: a .parquet or .csv file: `user_id`, `place` (1 is the best), `item_id`, `score`; None to keep them in
            memory.
        k: number of items for each user.
        users: user ids of the raw data, without repeats, or a file with one per line; None for all users.
        data: the dataset, if it has moved since the training.
        caches: the vector caches, if they have moved, in the order of training.
        device: device for user states and, if FAISS is built for GPUs, for the search; a run that is open stays on its
            own.

    Raises:
        ConfigError: `out` has another suffix.
        RunError: the run is unfinished, its dataset or caches have changed, `out` is a directory, or k is less than 1.
        DataError: `users` names an unknown user, or a user twice.
        TcfError: FAISS is not installed.
    """
    load_faiss()
    format = None if out is None else format_by_suffix(out, FORMATS)
    opened = run if isinstance(run, Run) else open_run(run, data=data, caches=caches, device=device)
    chosen = _chosen(opened.dataset, users)
    schema = _schema(opened, chosen, k)
    if out is not None and _is_there(out, schema):
        return Recommendations(len(chosen), k, out)
    tables = _tables(opened, chosen, min(k, opened.dataset.n_items), schema)
    if out is None or format is None:
        return Recommendations(len(chosen), k, rows=pa.concat_tables([schema.empty_table(), *tables]))
    with publishing_file(out) as staging, _writer(staging, format, schema) as writer:
        for table in tables:
            writer.write_table(table)
    return Recommendations(len(chosen), k, out)


def examples(run: Path, *, users: int, k: int, device: str = "auto") -> str:
    """The latest items of a few users and their recommendations, as texts for people to read."""
    load_faiss()
    opened = open_run(run, device=device)
    chosen = np.linspace(0, opened.dataset.n_users - 1, min(users, opened.dataset.n_users)).astype(np.int64)
    histories = opened.dataset.histories.take(chosen)
    lists = top_k(Catalogue.build(opened.item_vectors()), opened.user_states(chosen, histories), histories, k)
    return "\n".join(_example(opened.dataset, int(u), histories.of(i), lists.items_UK[i]) for i, u in enumerate(chosen))


def _tables(run: Run, users: npt.NDArray[np.int64], places: int, schema: pa.Schema) -> Iterator[pa.Table]:
    """Iterate over blocks of users with their best items."""
    search_on: Literal["cpu", "cuda"] = "cuda" if run.device.type == "cuda" else "cpu"
    catalogue = Catalogue.build(run.item_vectors())
    with Progress("recommend", len(users), "users") as progress:
        for start in range(0, len(users), _USERS_AT_ONCE):
            block = users[start : start + _USERS_AT_ONCE]
            histories = run.dataset.histories.take(block)
            lists = top_k(catalogue, run.user_states(block, histories), histories, places, device=search_on)
            yield _table(run.dataset, block, lists).cast(schema)
            progress.advance(len(block))


def _example(dataset: Dataset, user: int, history: npt.NDArray[np.int32], recommended: npt.NDArray[np.int32]) -> str:
    latest = dataset.texts.take(history[-3:]).to_pylist()
    texts = dataset.texts.take(recommended[recommended >= 0]).to_pylist()
    return f"user {dataset.user_ids[user].as_py()}, latest: {'; '.join(latest)}\n  recommended: {'; '.join(texts)}"


def _schema(run: Run, users: npt.NDArray[np.int64], k: int) -> pa.Schema:
    """The columns, and as metadata all that decides the rows."""
    chosen = hashlib.sha256(users.astype("<i8").tobytes()).hexdigest()
    return _SCHEMA.with_metadata({"tcf.run": run.manifest.fingerprint, "tcf.users": chosen, "tcf.k": str(k)})


def _writer(file: Path, format: str, schema: pa.Schema) -> _Writer:
    return SealedTableWriter(file, schema) if format == "parquet" else pyarrow.csv.CSVWriter(file, schema)


def _is_there(out: Path, schema: pa.Schema) -> bool:
    """Whether `out` is a file with this schema and metadata, as it was written; a damaged one is named."""
    try:
        if not (out.is_file() and pq.read_schema(out).equals(schema, check_metadata=True)):
            return False
        if is_sealed(out, schema):
            return True
    except (OSError, pa.ArrowException):
        if not out.is_file():
            return False
    logger.warning(f"{out}: expected these recommendations as they were written, found other bytes; written again")
    return False


def _chosen(dataset: Dataset, users: Path | Sequence[str] | None) -> npt.NDArray[np.int64]:
    """Indices of the requested users."""
    if users is None:
        return np.arange(dataset.n_users)
    wanted = _ids(users) if isinstance(users, Path) else users
    found = pc.index_in(pa.array(wanted, pa.large_string()), value_set=dataset.user_ids).fill_null(-1)
    chosen = np.asarray(found, np.int64)
    first_places = np.unique(chosen, return_index=True)[1]
    wrong = np.flatnonzero((chosen < 0) | ~np.isin(np.arange(len(chosen)), first_places))
    if len(wrong):
        first = int(wrong[0])
        where, unit = (f"{users}:{first + 1}", "line") if isinstance(users, Path) else (f"users[{first}]", "id")
        found = f"the unknown id {wanted[first]!r}" if chosen[first] < 0 else f"{wanted[first]!r} a second time"
        raise DataError(
            f"{where}: expected users of {_shown(dataset.path)}, each only once, found {found} "
            f"({counted(len(wrong), f'wrong {unit}')}); correct the "
            f"{'file' if isinstance(users, Path) else 'list, or name a file of ids as a pathlib.Path'}"
        )
    return chosen


def _shown(path: Path) -> Path:
    """A path without `..`, which a run's path of its dataset contains; relative to this folder if it is in it."""
    path, here = path.resolve(), Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _ids(file: Path) -> list[str]:
    """The ids in a file, without surrounding white space; blank lines at the end of the file are ignored."""
    try:
        data = file.read_bytes()
    except OSError as error:
        raise unreadable(file, error) from None
    encoding = "utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    text = data.decode(encoding, "backslashreplace")
    if not text:
        raise DataError(f"{file}: expected rows, found an empty file; check its source")
    ids = [line.strip() for line in text.rstrip(" \r\n").split("\n")]
    if ids == [""]:
        raise DataError(f"{file}: expected user ids, one per line, found none; correct the file")
    return ids


def _table(dataset: Dataset, users: npt.NDArray[np.int64], lists: RankedLists) -> pa.Table:
    there_BK = lists.items_UK >= 0
    rows, places = np.nonzero(there_BK)
    columns = [
        dataset.user_ids.take(pa.array(users[rows])),
        pa.array(places + 1, pa.int32()),
        dataset.item_ids.take(pa.array(lists.items_UK[there_BK])),
        pa.array(lists.scores_UK[there_BK], pa.float32()),
    ]
    return pa.Table.from_arrays(columns, schema=_SCHEMA)
