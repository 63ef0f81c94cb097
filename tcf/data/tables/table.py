"""Rows of a raw table as columns of strings: what every reader of raw files yields, a block at a time."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tcf.data.tables.bad_rows import BadRows
from tcf.data.tables.tsv_file import select_strings

__all__ = ["TableBlock", "TableFile", "Unit", "empty_block", "joined_blocks"]

Unit = Literal["line", "row"]
_SHOWN = 4  # values of a row


@dataclass(frozen=True)
class TableBlock:
    """Some rows of a file, in its order.

    Attributes:
        path: the file.
        unit: what rows are numbered by: lines of a text file, rows of another one.
        lines: (n_rows,) int64, number of each row from 1, rising; of a record of several lines its first.
        columns: the columns asked for, (n_rows,) each, without nulls: a missing value is empty. White
            space at the ends is removed.
    """

    path: Path
    unit: Unit
    lines: npt.NDArray[np.int64]
    columns: Mapping[str, "pa.LargeStringArray"]

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.lines)

    def select(self, keep: npt.NDArray[np.bool_]) -> "TableBlock":
        """The rows where `keep`, (n_rows,), is true."""
        if keep.all():
            return self
        columns = {name: select_strings(values, keep) for name, values in self.columns.items()}
        return replace(self, lines=self.lines[keep], columns=columns)

    def without(self, wrong: npt.NDArray[np.bool_], reason: str, expected: str, bad: BadRows) -> "TableBlock":
        """The rows that are not wrong; the others are refused.

        Args:
            wrong: (n_rows,).
            reason: what the wrong rows are counted under.
            expected: what should have been there, for messages.
            bad: stops at, or counts, the wrong rows.

        Raises:
            DataError: a row is wrong and `bad` does not skip.
        """
        rows = np.flatnonzero(wrong)
        if len(rows) == 0:
            return self
        bad.refuse(
            reason, self.path, self.lines[rows], expected, lambda at: self._shown(int(rows[at])), self.unit, so_far=True
        )
        return self.select(~wrong)

    def _shown(self, row: int) -> str:
        values = [f"{name} {values[row].as_py()!r}" for name, values in self.columns.items()]
        return ", ".join(values[:_SHOWN])


class TableFile(Protocol):
    """A raw file with named columns, read once from begin to end."""

    @property
    def path(self) -> Path:
        """The file."""

    @property
    def unit(self) -> Unit:
        """What its rows are numbered by."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of all columns."""

    @property
    def sha256(self) -> str:
        """Checksum of the file on the disk, in hexadecimal, once all blocks have been read."""

    def blocks(self, columns: Sequence[str], bad: BadRows) -> Iterator[TableBlock]:
        """The rows, a block at a time, in the order of the file; one block without rows where all are refused.

        Args:
            columns: those that are wanted, each once.
            bad: stops at, or counts, rows that cannot be used.

        Raises:
            ConfigError: a wanted column is not there.
            DataError: the file cannot be read, is damaged, changes meanwhile or has no rows; or a row cannot be used
                and `bad` does not skip.
        """


def empty_block(path: Path, unit: Unit, columns: Sequence[str]) -> TableBlock:
    """No rows: what a file yields whose rows are all refused."""
    return TableBlock(path, unit, np.zeros(0, np.int64), {name: pa.array([], pa.large_string()) for name in columns})


def joined_blocks(blocks: Iterable[TableBlock]) -> TableBlock:
    """All blocks of a file, at least one, as one: for files that are small enough."""
    parts = list(blocks)
    first = parts[0]
    columns = {
        name: pa.chunked_array([part.columns[name] for part in parts], pa.large_string()).combine_chunks()
        for name in first.columns
    }
    return replace(first, lines=np.concatenate([part.lines for part in parts]), columns=columns)
