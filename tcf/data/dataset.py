"""A prepared dataset: the item table, the users' histories with their split, and the dataset directory.

Shapes: n_items items, n_users users, nnz interactions.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tcf.common.errors import DataError
from tcf.common.files import publishing
from tcf.common.manifest import Format, read_manifest, seal
from tcf.common.threads import in_parallel
from tcf.config.typed_values import typed
from tcf.data.data_frames import data_frame
from tcf.data.histories import Histories
from tcf.data.npy_files import load_array
from tcf.data.seen import SeenItems
from tcf.data.split import EventPart, Split, training_counts
from tcf.data.tables.arrow_numbers import as_arrow
from tcf.data.tables.source_file import read_error_words

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["DATASET", "Dataset", "Histories", "open_dataset", "write_dataset"]

_ROW_GROUP = 65_536  # items; readers of a few items at a time hold one row group
_ITEMS = pa.schema([("item_id", pa.large_string()), ("text", pa.large_string()), ("training_interactions", pa.int32())])
_USERS = pa.schema([("user_id", pa.large_string())])
_PARTS = tuple(part.name.lower() for part in EventPart)
_SEEN = ("earlier", "others")
DATASET = Format(name="tcf-dataset", version=4, error=DataError, made_by="tcf data prepare")


@dataclass(frozen=True, repr=False, eq=False)
class Dataset:
    """A prepared dataset, read back.

    Attributes:
        path: the directory it was read from.
        fingerprint: sha256 of the content.
        item_ids: raw item ids, (n_items,); the row is the item index.
        texts: item texts, (n_items,).
        training_interactions: (n_items,) int32, how often an item occurs in training; 0 for a cold item.
        user_ids: raw user ids, (n_users,).
        split: every user's items, oldest first, and their use for training, validation and test.
        seen: what each user has had besides these items, so that it is not recommended as something new.
        statistics: counts, including `skipped`, as printed by `tcf data describe`.
    """

    path: Path
    fingerprint: str
    item_ids: "pa.LargeStringArray"
    texts: "pa.LargeStringArray"
    training_interactions: npt.NDArray[np.int32]
    user_ids: "pa.LargeStringArray"
    split: Split
    seen: SeenItems
    statistics: Mapping[str, Any]

    @property
    def histories(self) -> Histories:
        """Every user's items, oldest first, including the held-out ones."""
        return self.split.histories

    @property
    def n_items(self) -> int:
        """Size of the catalogue."""
        return len(self.item_ids)

    @property
    def n_users(self) -> int:
        """Number of users."""
        return len(self.user_ids)

    def with_validation_in_training(self) -> "Dataset":
        """Return the dataset as a final refit sees it: `Split.with_validation_in_training`, and the items' counts."""
        split = self.split.with_validation_in_training()
        counts = training_counts(split, self.n_items).astype(np.int32)
        return dataclasses.replace(self, split=split, training_interactions=counts)

    def to_pandas(self, table: Literal["items", "interactions"] = "items") -> "pd.DataFrame":
        """The dataset as a pandas frame.

        Args:
            table: `items`: one row for each item, in the order of item indices, with `item_id`, `text` and
                `training_interactions`. `interactions`: one row for each interaction, by user, oldest first, with
                `user_id`, `item_id`, `position` in the user's history, from 0, and `part`: context, training,
                validation, test, or none for what lies between the validation and the test targets.

        Raises:
            ConfigError: the table is unknown, or pandas is not installed.
        """
        match typed(table, Literal["items", "interactions"], "table"):
            case "items":
                columns = [self.item_ids, self.texts, pa.array(self.training_interactions)]
                return data_frame(pa.table(columns, schema=_ITEMS))
            case _:
                return data_frame(_interactions(self))

    def __repr__(self) -> str:
        """What it is, in a line."""
        counts = f"{self.n_users} users, {self.n_items} items, {len(self.histories.items)} interactions"
        return f"Dataset({str(self.path)!r}: {counts})"


def _interactions(dataset: Dataset) -> pa.Table:
    histories = dataset.histories
    users = np.repeat(np.arange(len(histories)), histories.lengths)
    positions = np.arange(len(users)) - np.repeat(histories.offsets[:-1], histories.lengths)
    parts = dataset.split.event_parts()
    parts[parts < 0] = len(_PARTS)
    return pa.table(
        {
            "user_id": dataset.user_ids.take(pa.array(users)),
            "item_id": dataset.item_ids.take(pa.array(histories.items)),
            "position": positions,
            "part": pa.DictionaryArray.from_arrays(parts, pa.array([*_PARTS, "none"])),
        }
    )


def write_dataset(
    path: Path,
    *,
    item_ids: "pa.LargeStringArray",
    texts: "pa.LargeStringArray",
    user_ids: "pa.LargeStringArray",
    split: Split,
    inputs: Mapping[str, str],
    config: Mapping[str, Any],
    statistics: Mapping[str, Any],
    seen: SeenItems | None = None,
) -> Dataset:
    """Publish a dataset directory.

    Args:
        path: the new directory; must not exist.
        item_ids: raw ids, (n_items,).
        texts: (n_items,).
        user_ids: raw ids, (n_users,).
        split: item indices by user, oldest first, and their use.
        inputs: sha256 of the raw files, by name.
        config: the resolved configuration of the preparation.
        statistics: counts for `tcf data describe`.
        seen: what users have had besides the items of the split; None if that is nothing.

    Returns:
        The dataset as `open_dataset` would read it.

    Raises:
        RunError: `path` already exists.
    """
    seen = SeenItems.none(len(user_ids)) if seen is None else seen
    with publishing(path) as staging:
        counts = training_counts(split, len(item_ids)).astype(np.int32)
        items = pa.table([item_ids, texts, as_arrow(counts)], schema=_ITEMS)
        pq.write_table(items, staging / "items.parquet", row_group_size=_ROW_GROUP)
        users = pa.table([user_ids], schema=_USERS)
        # Ids are distinct, so dictionary encoding saves nothing.
        save_users = partial(pq.write_table, users, staging / "users.parquet", use_dictionary=False)
        in_parallel(lambda: _save_histories(split, seen, staging), save_users)
        seal(staging, DATASET, inputs=inputs, config=config, facts=statistics)
    manifest = read_manifest(path, DATASET)
    return Dataset(path, manifest.fingerprint, item_ids, texts, counts, user_ids, split, seen, manifest.facts)


def _save_histories(split: Split, seen: SeenItems, folder: Path) -> None:
    np.save(folder / "history_offsets.npy", split.histories.offsets)
    np.save(folder / "history_items.npy", split.histories.items)
    for name, numbers in split.numbers.items():
        np.save(folder / f"history_{name}.npy", numbers)
    for name, items in seen.parts.items():
        np.save(folder / f"seen_{name}_offsets.npy", items.offsets)
        np.save(folder / f"seen_{name}_items.npy", items.items)


def open_dataset(path: str | Path) -> Dataset:
    """Read a dataset directory.

    Raises:
        DataError: there is no complete dataset, or its files are inconsistent.
    """
    path = Path(path)
    manifest = read_manifest(path, DATASET)
    try:
        item_ids, texts, counts = _read_columns(path / "items.parquet", _ITEMS)
        [user_ids] = _read_columns(path / "users.parquet", _USERS)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise DataError(
            f"{path}: expected a readable dataset, found a damaged one ({read_error_words(error)}); prepare it again "
            "with `tcf data prepare`"
        ) from None
    dataset = Dataset(
        path=path,
        fingerprint=manifest.fingerprint,
        item_ids=item_ids,
        texts=texts,
        training_interactions=np.asarray(counts),
        user_ids=user_ids,
        split=_read_split(path),
        seen=_read_seen(path),
        statistics=manifest.facts,
    )
    _check_consistent(dataset)
    return dataset


def _read_split(path: Path) -> Split:
    remedy = _remedy(path)
    arrays = (load_array(path / f"history_{name}.npy", DataError, remedy) for name in ("offsets", "items", *_PARTS))
    offsets, items, *parts = arrays
    try:
        return Split(Histories(offsets, items), *parts)
    except DataError as error:
        raise DataError(f"{path}: {error}; {remedy}") from None


def _read_seen(path: Path) -> SeenItems:
    remedy = _remedy(path)
    files = (path / f"seen_{name}_{array}.npy" for name in _SEEN for array in ("offsets", "items"))
    earlier_offsets, earlier, others_offsets, others = (load_array(file, DataError, remedy) for file in files)
    try:
        return SeenItems(Histories(earlier_offsets, earlier), Histories(others_offsets, others))
    except DataError as error:
        raise DataError(f"{path}: {error}; {remedy}") from None


def _remedy(path: Path) -> str:
    return f"prepare {path} again with `tcf data prepare`"


def _read_columns(file: Path, schema: pa.Schema) -> "list[pa.Array]":
    """Read all columns, which must have exactly these names."""
    table = pq.read_table(file)
    if table.column_names != schema.names or any(column.null_count for column in table.columns):
        raise DataError(
            f"{file}: expected the columns {', '.join(schema.names)} without nulls, found "
            f"{', '.join(table.column_names)} ({sum(column.null_count for column in table.columns)} nulls); "
            f"{DATASET.remedy(file.parent)}"
        )
    return [column.cast(kind).combine_chunks() for column, kind in zip(table.columns, schema.types, strict=True)]


def _check_consistent(dataset: Dataset) -> None:
    _check_items(dataset, dataset.histories, "a history", "histories")
    for name, items in dataset.seen.parts.items():
        _check_items(dataset, items, f"{name} items, if any,", f"{name} items that users have seen")
    if (training_counts(dataset.split, dataset.n_items) != dataset.training_interactions).any():
        raise DataError(
            f"{dataset.path / 'items.parquet'}: expected training_interactions to match the histories, found other "
            f"numbers; {DATASET.remedy(dataset.path)}"
        )


def _check_items(dataset: Dataset, histories: Histories, one: str, all_of_them: str) -> None:
    """Check that there are items of each user, all of them in the catalogue."""
    items = histories.items
    if len(histories) != dataset.n_users:
        raise DataError(
            f"{dataset.path}: expected {one} for each of its {dataset.n_users} users, found {len(histories)}; "
            f"{DATASET.remedy(dataset.path)}"
        )
    if len(items) and not (items.min() >= 0 and items.max() < dataset.n_items):
        raise DataError(
            f"{dataset.path}: expected items 0..{dataset.n_items - 1} in the {all_of_them}, found "
            f"{items.min()}..{items.max()}; {DATASET.remedy(dataset.path)}"
        )
