"""A prepared dataset: the item table, the users' histories, and the directory that holds them.

Shapes: n_items items, n_users users, nnz interactions kept.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tcf.data.arrays import load_array
from tcf.data.ragged import offsets_from, spans
from tcf.errors import DataError
from tcf.files import publishing
from tcf.manifest import Format, read_manifest, seal

__all__ = ["DATASET", "Dataset", "Histories", "open_dataset", "write_dataset"]

_ROW_GROUP = 65_536  # items; what reads the table a few at a time holds one group
DATASET = Format(name="tcf-dataset", version=1, error=DataError, made_by="tcf data prepare")


@dataclass(frozen=True)
class Histories:
    """Every user's items, oldest first, in CSR form: user u has items[offsets[u]:offsets[u + 1]].

    Attributes:
        offsets: (n_users + 1,) int64, starts at 0, never falls.
        items: (nnz,) int32 item indices.
    """

    offsets: npt.NDArray[np.int64]
    items: npt.NDArray[np.int32]

    def __post_init__(self) -> None:
        """Check the CSR form.

        Raises:
            DataError: types, order or length do not fit.
        """
        types_fit = self.offsets.dtype == np.int64 and self.items.dtype == np.int32
        if not types_fit or (self.offsets.ndim, self.items.ndim) != (1, 1):
            raise DataError(
                f"histories: expected int64 offsets and int32 items of one axis, found {self.offsets.dtype} "
                f"{self.offsets.shape}, {self.items.dtype} {self.items.shape}; prepare the dataset anew"
            )
        falls = bool((np.diff(self.offsets) < 0).any())
        if not len(self.offsets) or self.offsets[0] != 0 or self.offsets[-1] != len(self.items) or falls:
            raise DataError("histories: offsets do not divide the items; prepare the dataset anew")

    def __len__(self) -> int:
        """Number of users."""
        return len(self.offsets) - 1

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Items a user, (n_users,)."""
        return np.diff(self.offsets)

    def of(self, user: int) -> npt.NDArray[np.int32]:
        """One user's items, oldest first."""
        return self.items[self.offsets[user] : self.offsets[user + 1]]

    def slice(self, starts: npt.NDArray[np.int64], stops: npt.NDArray[np.int64]) -> "Histories":
        """The histories made of items[starts[u]:stops[u]], for any number of users.

        Args:
            starts: (k,) first position of each, into `items`.
            stops: (k,) one past the last position of each.
        """
        lengths = stops - starts
        return Histories(offsets_from(lengths), self.items[spans(starts, lengths)])

    def take(self, users: npt.NDArray[np.int64]) -> "Histories":
        """The histories of these users, in the order given."""
        return self.slice(self.offsets[users], self.offsets[users + 1])


@dataclass(frozen=True)
class Dataset:
    """A prepared dataset, read back.

    Attributes:
        path: the directory it was read from.
        fingerprint: sha256 of the content.
        item_ids: outside item ids, (n_items,); the row is the item index.
        texts: item texts, (n_items,).
        user_ids: outside user ids, (n_users,).
        histories: every user's items, oldest first, the held-out ones included.
        statistics: counts, among them `skipped`, as `tcf data describe` prints them.
    """

    path: Path
    fingerprint: str
    item_ids: "pa.LargeStringArray"
    texts: "pa.LargeStringArray"
    user_ids: "pa.LargeStringArray"
    histories: Histories
    statistics: Mapping[str, Any]

    @property
    def n_items(self) -> int:
        """Size of the catalogue."""
        return len(self.item_ids)

    @property
    def n_users(self) -> int:
        """Number of users."""
        return len(self.user_ids)


def write_dataset(
    path: Path,
    *,
    item_ids: "pa.LargeStringArray",
    texts: "pa.LargeStringArray",
    user_ids: "pa.LargeStringArray",
    histories: Histories,
    inputs: Mapping[str, str],
    config: Mapping[str, Any],
    statistics: Mapping[str, Any],
) -> Dataset:
    """Publish a dataset directory.

    Args:
        path: where it is to appear; nothing may be there.
        item_ids: outside ids, (n_items,).
        texts: (n_items,).
        user_ids: outside ids, (n_users,).
        histories: item indices by user, oldest first.
        inputs: sha256 of the raw files, by name.
        config: the resolved configuration of the preparation.
        statistics: counts for `tcf data describe`.

    Raises:
        RunError: something is at `path` already.
    """
    with publishing(path) as staging:
        pq.write_table(
            pa.table({"item_id": item_ids, "text": texts}), staging / "items.parquet", row_group_size=_ROW_GROUP
        )
        pq.write_table(pa.table({"user_id": user_ids}), staging / "users.parquet")
        np.save(staging / "history_offsets.npy", histories.offsets)
        np.save(staging / "history_items.npy", histories.items)
        seal(staging, DATASET, inputs=inputs, config=config, facts=statistics)
    return open_dataset(path)


def open_dataset(path: str | Path) -> Dataset:
    """Read a dataset directory.

    Raises:
        DataError: no finished dataset is there, or its files do not fit together.
    """
    path = Path(path)
    manifest = read_manifest(path, DATASET)
    try:
        item_ids, texts = _read_strings(path / "items.parquet", ["item_id", "text"])
        [user_ids] = _read_strings(path / "users.parquet", ["user_id"])
    except (OSError, ValueError, pa.ArrowException) as error:
        raise DataError(f"{path}: damaged dataset ({error}); make it anew with `tcf data prepare`") from None
    remedy = f"make {path} anew with `tcf data prepare`"
    offsets = load_array(path / "history_offsets.npy", DataError, remedy)
    history = load_array(path / "history_items.npy", DataError, remedy)
    dataset = Dataset(
        path=path,
        fingerprint=manifest.fingerprint,
        item_ids=item_ids,
        texts=texts,
        user_ids=user_ids,
        histories=Histories(offsets, history),
        statistics=manifest.facts,
    )
    _check_consistent(dataset)
    return dataset


def _read_strings(file: Path, names: list[str]) -> "list[pa.LargeStringArray]":
    """Columns of strings."""
    table = pq.read_table(file)
    if table.column_names != names or any(column.null_count for column in table.columns):
        raise DataError(
            f"{file}: expected the columns {', '.join(names)} without nulls, found {', '.join(table.column_names)} "
            f"({sum(column.null_count for column in table.columns)} nulls); {DATASET.remedy(file.parent)}"
        )
    return [column.cast(pa.large_string()).combine_chunks() for column in table.columns]


def _check_consistent(dataset: Dataset) -> None:
    items = dataset.histories.items
    if len(dataset.histories) != dataset.n_users:
        raise DataError(
            f"{dataset.path}: {dataset.n_users} users, but {len(dataset.histories)} histories; prepare it anew"
        )
    if len(items) and not (items.min() >= 0 and items.max() < dataset.n_items):
        raise DataError(f"{dataset.path}: histories name items outside 0..{dataset.n_items - 1}; prepare it anew")
