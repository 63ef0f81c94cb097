"""A dataset's item table, read a few items at a time, for what goes over all texts once and keeps none of them.

Shapes: n texts a chunk.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tcf.common.errors import DataError
from tcf.common.manifest import read_manifest
from tcf.data.dataset import DATASET

__all__ = ["ItemTable"]

_EACH = {"item_id": "an id", "text": "a text"}


@dataclass(frozen=True)
class ItemTable:
    """The items of a dataset, left on disk.

    Attributes:
        path: the dataset's directory.
        fingerprint: sha256 of the dataset's content.
        n_items: size of the catalogue.
    """

    path: Path
    fingerprint: str
    n_items: int

    @staticmethod
    def open(path: Path) -> "ItemTable":
        """Find a dataset's item table.

        Raises:
            DataError: no finished dataset is there, or its items cannot be read.
        """
        manifest = read_manifest(path, DATASET)
        return ItemTable(path, manifest.fingerprint, _opened(path).metadata.num_rows)

    def groups(self) -> int:
        """In how many groups of rows the table is stored; all but the last are equally large."""
        return int(_opened(self.path).num_row_groups)

    def texts(self, rows: int, groups: Sequence[int] | None = None) -> "Iterator[pa.LargeStringArray]":
        """The texts of all items, in item order, at most `rows` of them at a time.

        Args:
            rows: how many at most.
            groups: numbers of the groups of rows to read; all if not given.

        Raises:
            DataError: the file is damaged, or an item has no text.
        """
        return self._column("text", rows, groups)

    def ids(self, rows: int) -> "Iterator[pa.LargeStringArray]":
        """The outside ids of all items, in item order, at most `rows` of them at a time.

        Args:
            rows: how many at most.

        Raises:
            DataError: the file is damaged, or an item has no id.
        """
        return self._column("item_id", rows, None)

    def _column(self, name: str, rows: int, groups: Sequence[int] | None) -> "Iterator[pa.LargeStringArray]":
        try:
            for batch in _opened(self.path).iter_batches(batch_size=rows, columns=[name], row_groups=groups):
                if batch.column(0).null_count:
                    raise DataError(
                        f"{self.path / 'items.parquet'}: expected {_EACH[name]} for every item, found nulls; "
                        f"{DATASET.remedy(self.path)}"
                    )
                yield batch.column(0).cast(pa.large_string())
        except (OSError, pa.ArrowException) as error:
            raise _damaged(self.path, error) from None

    def item(self, index: int) -> tuple[str, str]:
        """Id and text of one item."""
        table = pq.read_table(self.path / "items.parquet", columns=["item_id", "text"]).slice(index, 1)
        return table["item_id"][0].as_py(), table["text"][0].as_py()


def _opened(path: Path) -> pq.ParquetFile:
    file = path / "items.parquet"
    try:
        # Buffered, so that a group of rows is not in memory as a whole.
        opened = pq.ParquetFile(file, buffer_size=1 << 20)
    except (OSError, pa.ArrowException) as error:
        raise _damaged(path, error) from None
    fields = opened.schema_arrow
    if fields.names[:2] != ["item_id", "text"] or not all(_is_text(field.type) for field in list(fields)[:2]):
        raise DataError(
            f"{file}: expected the columns item_id, text, of strings, found {', '.join(fields.names)}; "
            f"{DATASET.remedy(path)}"
        )
    return opened


def _is_text(kind: "pa.DataType") -> bool:
    return bool(pa.types.is_large_string(kind) or pa.types.is_string(kind))


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(f"{path}: damaged dataset ({error}); make it anew with `tcf data prepare`")
