"""Rows of a raw table as columns of strings, read in blocks: the common interface of all table readers."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tcf.common.errors import did_you_mean
from tcf.data.tables.bad_rows import BadRows
from tcf.data.tables.tsv_file import select_strings

__all__ = ["TableBlock", "TableFile", "Unit", "empty_block", "joined_blocks", "lacks_column", "listed_columns"]

Unit = Literal["line", "row"]
_SHOWN = 4  # values of a row in messages
_LISTED = 300  # characters of column names in messages


@dataclass(frozen=True)
class TableBlock:
    """Consecutive rows of a file.

    Attributes:
        path: the file.
        unit: what the row numbers count: lines of a text file, or rows of another format.
        lines: (n_rows,) int64, number of each row from 1, rising; the first line of a record of several lines.
        columns: the requested columns, (n_rows,) each, without nulls: a missing value is an empty string. White space
            at both ends is removed.
    """

    path: Path
    unit: Unit
    lines: npt.NDArray[np.int64]
    columns: Mapping[str, "pa.LargeStringArray"]

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.lines)

    def select(self, keep: npt.NDArray[np.bool_]) -> "TableBlock":
        """Return the rows where `keep`, (n_rows,), is true."""
        if keep.all():
            return self
        columns = {name: select_strings(values, keep) for name, values in self.columns.items()}
        return replace(self, lines=self.lines[keep], columns=columns)

    def without(self, wrong: npt.NDArray[np.bool_], reason: str, expected: str, bad: BadRows) -> "TableBlock":
        """Return the rows that are not wrong; the others are rejected.

        Args:
            wrong: (n_rows,), the rows to reject.
            reason: the key that they are counted under.
            expected: what was expected instead, for messages.
            bad: raises an error for rejected rows, or counts them.

        Raises:
            DataError: a row is wrong and `bad` does not skip.
        """
        rows = np.flatnonzero(wrong)
        if len(rows) == 0:
            return self
        bad.reject(
            reason, self.path, self.lines[rows], expected, lambda at: self._shown(int(rows[at])), self.unit, so_far=True
        )
        return self.select(~wrong)

    def _shown(self, row: int) -> str:
        values = [f"{name} {values[row].as_py()!r}" for name, values in self.columns.items()]
        return ", ".join(values[:_SHOWN])


class TableFile(Protocol):
    """A raw file with named columns, read once from start to end."""

    @property
    def path(self) -> Path:
        """The file."""

    @property
    def unit(self) -> Unit:
        """What the row numbers count."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of all columns."""

    @property
    def sha256(self) -> str:
        """Sha256 of the file on disk, in hexadecimal, available once all blocks have been read."""

    def blocks(self, columns: Sequence[str], bad: BadRows) -> Iterator[TableBlock]:
        """Yield the rows in blocks, in file order; one block without rows if all are rejected.

        Args:
            columns: the columns to read, each once.
            bad: raises an error for unusable rows, or counts them.

        Raises:
            ConfigError: the file lacks one of the columns.
            DataError: the file cannot be read, is damaged, changes while it is read or has no rows; or a row is
                unusable and `bad` does not skip.
        """


def empty_block(path: Path, unit: Unit, columns: Sequence[str]) -> TableBlock:
    """Return a block without rows, for a file whose rows are all rejected."""
    return TableBlock(path, unit, np.zeros(0, np.int64), {name: pa.array([], pa.large_string()) for name in columns})


def lacks_column(path: Path, name: str, columns: Sequence[str]) -> str:
    """Return the message about a column that a file lacks: it lists the file's columns and suggests the nearest.

    Example:
        >>> lacks_column(Path("sales.csv"), "InvoiceN", ["InvoiceNo", "StockCode"])
        'sales.csv: expected one of its columns (InvoiceNo, StockCode), found InvoiceN; did you mean InvoiceNo?'
    """
    return f"{path}: expected one of its columns ({listed_columns(columns)}), found {name}{did_you_mean(name, columns)}"


def listed_columns(columns: Sequence[str]) -> str:
    """Return column names for a message, as many as about 300 characters hold."""
    names = ", ".join(columns)
    return names if len(names) <= _LISTED else f"{names[:_LISTED].rpartition(', ')[0] or names[:_LISTED]}, ..."


def joined_blocks(blocks: Iterable[TableBlock]) -> TableBlock:
    """Concatenate all blocks of a file, at least one; for files that fit in memory."""
    parts = list(blocks)
    first = parts[0]
    columns = {
        name: pa.chunked_array([part.columns[name] for part in parts], pa.large_string()).combine_chunks()
        for name in first.columns
    }
    return replace(first, lines=np.concatenate([part.lines for part in parts]), columns=columns)
