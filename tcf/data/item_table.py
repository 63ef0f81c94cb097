"""The item table of a dataset, read a few items at a time, for work that passes over all texts once.

Shapes: n texts in a chunk.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tcf.common.errors import DataError
from tcf.common.integrity.checksums import Verify
from tcf.common.integrity.verified_files import verify_files
from tcf.common.manifest import read_manifest
from tcf.data.dataset import DATASET
from tcf.data.tables.source_file import read_error_words

__all__ = ["ItemTable"]

_EACH = {"item_id": "an id", "text": "a text"}


@dataclass(frozen=True)
class ItemTable:
    """The items of a dataset, read from disk when requested.

    Attributes:
        path: the dataset directory.
        fingerprint: sha256 of the dataset's content.
        n_items: size of the catalogue.
    """

    path: Path
    fingerprint: str
    n_items: int

    @staticmethod
    def open(path: Path, *, verify: Verify = "once") -> "ItemTable":
        """Open a dataset's item table, which is as it was written.

        Args:
            path: the dataset directory.
            verify: whether a large table that this machine has verified is verified again.

        Raises:
            DataError: there is no complete dataset, or its items are damaged or cannot be read.
        """
        manifest = read_manifest(path, DATASET)
        verify_files(path, manifest, DATASET, names=("items.parquet",), verify=verify)
        return ItemTable(path, manifest.fingerprint, _opened(path).metadata.num_rows)

    def groups(self) -> int:
        """Return the number of row groups in the table; all but the last have equal size."""
        return int(_opened(self.path).num_row_groups)

    def texts(self, rows: int, groups: Sequence[int] | None = None) -> "Iterator[pa.LargeStringArray]":
        """Yield the texts of all items, in item order, at most `rows` at a time, (n,) each.

        Args:
            rows: greatest number of texts in a chunk.
            groups: indices of the row groups to read; by default all.

        Raises:
            DataError: the file is damaged, or an item has no text.
        """
        return self._column("text", rows, groups)

    def ids(self, rows: int) -> "Iterator[pa.LargeStringArray]":
        """Yield the raw ids of all items, in item order, at most `rows` at a time, (n,) each.

        Args:
            rows: greatest number of ids in a chunk.

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
        """Return id and text of one item."""
        table = pq.read_table(self.path / "items.parquet", columns=["item_id", "text"]).slice(index, 1)
        return table["item_id"][0].as_py(), table["text"][0].as_py()


def _opened(path: Path) -> pq.ParquetFile:
    file = path / "items.parquet"
    try:
        # Buffered, so that a row group is never in memory as a whole.
        opened = pq.ParquetFile(file, buffer_size=1 << 20)
    except (OSError, pa.ArrowException) as error:
        raise _damaged(path, error) from None
    fields = opened.schema_arrow
    if fields.names[:2] != ["item_id", "text"] or not all(_is_text(field.type) for field in list(fields)[:2]):
        raise DataError(
            f"{file}: expected the string columns item_id and text, found "
            f"{', '.join(f'{field.name} ({field.type})' for field in fields)}; {DATASET.remedy(path)}"
        )
    return opened


def _is_text(kind: "pa.DataType") -> bool:
    return bool(pa.types.is_large_string(kind) or pa.types.is_string(kind))


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(
        f"{path}: expected a readable dataset, found a damaged one ({read_error_words(error)}); prepare it again with "
        "`tcf data prepare`"
    )
