"""The best items for every user, under the ids of the raw data, for use by other programs.

Shapes: B users of a block, K places.
"""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from tcf.common.devices import resolve_device
from tcf.common.errors import DataError
from tcf.common.files import format_by_suffix, publishing_file
from tcf.common.progress import Progress
from tcf.data.dataset import Dataset
from tcf.data.tables.tsv_file import read_text_file
from tcf.ranking.catalogue import Catalogue
from tcf.ranking.faiss_search import load_faiss
from tcf.ranking.top_k import RankedLists, top_k
from tcf.train.run.open_run import Run, open_run

__all__ = ["FORMATS", "examples", "recommend"]

FORMATS = ("parquet", "csv")
_USERS_AT_ONCE = 16_384
_Writer: TypeAlias = pq.ParquetWriter | pyarrow.csv.CSVWriter
_SCHEMA = pa.schema(
    [("user_id", pa.large_string()), ("place", pa.int32()), ("item_id", pa.large_string()), ("score", pa.float32())]
)


def recommend(
    run: Path,
    *,
    out: Path,
    k: int,
    users: Path | None = None,
    data: Path | None = None,
    caches: Sequence[Path] = (),
    device: str = "auto",
) -> int:
    """Write each user's k best items that the user has not seen, best first, given the user's whole history.

    The metadata of a Parquet file identify the run, the users and k. A file with the same metadata is kept, any other
    file is replaced.

    Args:
        run: a finished training run.
        out: a .parquet or .csv file: `user_id`, `place` (1 is the best), `item_id`, `score`.
        k: number of items for each user.
        users: file of user ids of the raw data, one per line, without repeats; None for all users.
        data: the dataset, if it has moved since the training.
        caches: the vector caches, if they have moved, in the order of training.
        device: device for user states and, if FAISS is built for GPUs, for the search.

    Returns:
        The number of users.

    Raises:
        ConfigError: `out` has another suffix.
        RunError: the run is unfinished, its dataset or caches have changed, or `out` is a directory.
        DataError: `users` names an unknown user, or a user twice.
        TcfError: FAISS is not installed.
    """
    load_faiss()
    format = format_by_suffix(out, FORMATS)
    opened = open_run(run, data=data, caches=caches, device=device)
    chosen = _chosen(opened.dataset, users)
    schema = _schema(opened, chosen, k)
    if _is_there(out, schema):
        return len(chosen)
    search_on: Literal["cpu", "cuda"] = "cuda" if resolve_device(device).type == "cuda" else "cpu"
    blocks = _blocks(opened, chosen, min(k, opened.dataset.n_items), search_on)
    with (
        publishing_file(out) as staging,
        _writer(staging, format, schema) as writer,
        Progress("recommend", len(chosen), "users") as progress,
    ):
        for block, lists in blocks:
            writer.write_table(_table(opened.dataset, block, lists).cast(schema))
            progress.advance(len(block))
    return len(chosen)


def examples(run: Path, *, users: int, k: int, device: str = "auto") -> str:
    """The latest items of a few users and their recommendations, as texts for people to read."""
    load_faiss()
    opened = open_run(run, device=device)
    chosen = np.linspace(0, opened.dataset.n_users - 1, min(users, opened.dataset.n_users)).astype(np.int64)
    histories = opened.dataset.histories.take(chosen)
    lists = top_k(Catalogue.build(opened.item_vectors()), opened.user_states(chosen, histories), histories, k)
    return "\n".join(_example(opened.dataset, int(u), histories.of(i), lists.items_UK[i]) for i, u in enumerate(chosen))


def _blocks(
    run: Run, users: npt.NDArray[np.int64], places: int, search_on: Literal["cpu", "cuda"]
) -> Iterator[tuple[npt.NDArray[np.int64], RankedLists]]:
    """Iterate over blocks of users with their best items."""
    catalogue = Catalogue.build(run.item_vectors())
    for start in range(0, len(users), _USERS_AT_ONCE):
        block = users[start : start + _USERS_AT_ONCE]
        histories = run.dataset.histories.take(block)
        yield block, top_k(catalogue, run.user_states(block, histories), histories, places, device=search_on)


def _example(dataset: Dataset, user: int, history: npt.NDArray[np.int32], recommended: npt.NDArray[np.int32]) -> str:
    latest = dataset.texts.take(history[-3:]).to_pylist()
    texts = dataset.texts.take(recommended[recommended >= 0]).to_pylist()
    return f"user {dataset.user_ids[user].as_py()}, latest: {'; '.join(latest)}\n  recommended: {'; '.join(texts)}"


def _schema(run: Run, users: npt.NDArray[np.int64], k: int) -> pa.Schema:
    """The columns, and as metadata all that decides the rows."""
    chosen = hashlib.sha256(users.astype("<i8").tobytes()).hexdigest()
    return _SCHEMA.with_metadata({"tcf.run": run.manifest.fingerprint, "tcf.users": chosen, "tcf.k": str(k)})


def _writer(file: Path, format: str, schema: pa.Schema) -> _Writer:
    return pq.ParquetWriter(file, schema) if format == "parquet" else pyarrow.csv.CSVWriter(file, schema)


def _is_there(out: Path, schema: pa.Schema) -> bool:
    """Whether `out` is a file with this schema and metadata; files appear complete or not at all."""
    try:
        return out.is_file() and bool(pq.read_schema(out).equals(schema, check_metadata=True))
    except (OSError, pa.ArrowInvalid):
        return False


def _chosen(dataset: Dataset, users: Path | None) -> npt.NDArray[np.int64]:
    """Indices of the requested users."""
    if users is None:
        return np.arange(dataset.n_users)
    wanted = _ids(users)
    found = pc.index_in(pa.array(wanted, pa.large_string()), value_set=dataset.user_ids).fill_null(-1)
    chosen = np.asarray(found, np.int64)
    first_places = np.unique(chosen, return_index=True)[1]
    wrong = np.flatnonzero((chosen < 0) | ~np.isin(np.arange(len(chosen)), first_places))
    if len(wrong):
        raise DataError(
            f"{users}:{wrong[0] + 1}: expected users of {dataset.path}, each only once, found {wanted[wrong[0]]!r}, "
            f"{'unknown' if chosen[wrong[0]] < 0 else 'a repeat'} ({len(wrong)} wrong lines); correct the file"
        )
    return chosen


def _ids(file: Path) -> list[str]:
    """The ids in a file, without surrounding white space; blank lines at the end of the file are ignored."""
    text = read_text_file(file)
    ids = [text.line(index).strip() for index in range(len(text.ends))]
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
