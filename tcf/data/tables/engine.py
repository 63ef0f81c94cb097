"""DuckDB, which reads raw files and turns their rows into ordered events: one connection, with limits of its own.

Memory that queries need beyond the limit is written to a scratch folder, which is removed in the end. Extensions are
never downloaded: what is built in is used.
"""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import duckdb
import pyarrow as pa

from tcf.common.errors import DataError, RunError
from tcf.common.memory import host_memory
from tcf.common.output.folders import real_path
from tcf.data.tables.duckdb_internals import is_about_scratch

__all__ = ["Engine", "file_literal", "literal"]

_SHARE = 0.45  # of the memory there is; the arrays of the histories need some too
_LEAST, _MOST = 256 << 20, 16 << 30
_FULL = 16 << 20  # bytes; with less free space, a disk is full
_MEMORY_OF_A_THREAD = 128 << 20
_BATCH = 1 << 17  # rows of a result at once
_SCRATCH = 8 << 30  # bytes that queries may write to the scratch folder, whatever is read, and
_EXPANSION = 100  # times the bytes of the raw files: repeated texts take fewer bytes there than in a table

_T = TypeVar("_T")


class Engine:
    """A context manager: an empty database in memory.

    Args:
        scratch: folder for what does not fit in memory; created here, and removed in the end.

    Attributes:
        scratch: that folder.
    """

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self._names = 0
        self._memory = max(_LEAST, min(_MOST, int(_SHARE * host_memory()[1])))
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="engine")
        self._read: dict[Path, float] = {}
        self._reading: Path | None = None
        self._most_scratch = _SCRATCH
        self._is_bounded = False  # by that, and not by the free space of the disk
        scratch.mkdir(parents=True, exist_ok=True)
        try:
            self._connection = self._connected()
        except BaseException:  # a signal as well: nobody would remove the folder
            shutil.rmtree(scratch, ignore_errors=True)
            raise

    def _connected(self) -> duckdb.DuckDBPyConnection:
        threads = max(1, min(len(os.sched_getaffinity(0)), self._memory // _MEMORY_OF_A_THREAD))
        connection = duckdb.connect(
            config={
                "autoinstall_known_extensions": "false",
                "autoload_known_extensions": "false",
                "memory_limit": f"{self._memory >> 20}MiB",
                "temp_directory": str(self.scratch / "spilled"),
                "threads": str(threads),
                "arrow_large_buffer_size": "true",
            }
        )
        # For `query_progress`. Operators that keep batches back failed in DuckDB 2.0.0, where a join follows an unnest.
        connection.execute("set enable_progress_bar = true; set enable_progress_bar_print = false")
        connection.execute("set enable_caching_operators = false")
        return connection

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Forget all tables."""
        self._worker.shutdown()
        self._connection.close()
        shutil.rmtree(self.scratch, ignore_errors=True)

    def run(self, query: str) -> None:
        """Run a statement that has no result."""
        self._wait(lambda: self._connection.execute(query))

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Return all rows of a result, which must be short."""
        return self._wait(lambda: self._connection.execute(query).fetchall())

    def number(self, query: str) -> int:
        """Return the whole number that a query has as its result; 0 for a null."""
        return int(self.rows(query)[0][0] or 0)

    def batches(self, query: str) -> "Iterator[pa.RecordBatch]":
        """Yield a result in parts, without ever holding all of it."""
        reader = self._wait(lambda: self._connection.sql(query).to_arrow_reader(_BATCH))
        while (batch := self._wait(lambda: next(reader, None))) is not None:
            yield batch

    def strings(self, query: str) -> "list[pa.LargeStringArray]":
        """Return the columns of a result, all of them strings, (n_rows,) each."""
        table = self._wait(lambda: self._connection.sql(query).to_arrow_table())
        return [_one_array(column) for column in table.columns]

    def _wait(self, work: Callable[[], _T]) -> _T:
        """Let the engine work on a thread of its own, so that a signal ends the work at once.

        Raises:
            RunError: there is too little memory, or no space in the scratch folder.
        """
        pending = self._worker.submit(work)
        try:
            return pending.result()
        except duckdb.OutOfMemoryException as error:
            if is_about_scratch(error) and self._is_bounded:
                raise RunError(
                    f"raw files: expected rows of at most {self._most_scratch >> 20} MiB, {_EXPANSION} times the bytes "
                    f"of the files and {_SCRATCH >> 30} GiB, found more; a file that unpacks to so much is damaged or "
                    "made to fill disks: check where it comes from, or rewrite it uncompressed"
                ) from None
            raise RunError(
                f"raw files: expected {self._memory >> 20} MiB of memory and the free space of "
                f"{self.scratch.parent} to be enough to order their rows, found that they are not; run this where more "
                "is free"
            ) from None
        except duckdb.IOException:
            if shutil.disk_usage(self.scratch).free > _FULL:
                raise
            raise RunError(
                f"{self.scratch}: cannot be written (No space left on device); free space there, and run the same "
                "command again"
            ) from None
        except BaseException:
            if not pending.done():
                self._connection.interrupt()
            raise

    def add(self, stem: str, table: "pa.Table") -> str:
        """Copy an Arrow table into the database, and return its name there."""
        name = self.name(stem)
        self.read_from(table, lambda source: self.run(f"create temp table {name} as select * from {source}"))
        return name

    def read_from(self, source: "pa.Table | pa.RecordBatchReader", work: Callable[[str], object]) -> None:
        """Call a function with the name under which queries find an Arrow table or stream meanwhile."""
        self._connection.register("given", source)
        try:
            work("given")
        finally:
            self._connection.unregister("given")

    def name(self, stem: str) -> str:
        """Return a new name for a table."""
        self._names += 1
        return f"{stem}_{self._names}"

    @contextmanager
    def reading(self, path: Path) -> Iterator[None]:
        """Note that the queries inside the block read this raw file, for `shares_read` and the limit of scratch space.

        A few kilobytes may unpack to hundreds of gigabytes.
        """
        self._reading = real_path(path)
        self._most_scratch += _EXPANSION * path.stat().st_size
        self._limit_scratch()
        try:
            yield
            self._read[self._reading] = 1.0
        finally:
            self._reading = None

    def _limit_scratch(self) -> None:
        free = shutil.disk_usage(self.scratch).free
        self._is_bounded = self._most_scratch < free
        self.run(f"set max_temp_directory_size = '{min(self._most_scratch, free) >> 20}MiB'")

    def shares_read(self) -> dict[Path, float]:
        """Return which share of each raw file has been read so far, from 0 to 1; it may be called by any thread."""
        shares, reading = dict(self._read), self._reading
        if reading is not None:
            with suppress(duckdb.Error):  # the work may have ended, and the connection with it
                shares[reading] = min(1.0, max(0.0, self._connection.query_progress() / 100))
        return shares


def file_literal(path: Path) -> str:
    """Return the name of a file as SQL has it, where a name may be a pattern for several.

    Raises:
        DataError: the name is not UTF-8.
    """
    name = str(path)
    try:
        name.encode()
    except UnicodeEncodeError:
        raise DataError(
            f"{name!r}: expected a name in UTF-8, found other bytes; rename the file or its folder"
        ) from None
    return literal(re.sub(r"[*?\[]", r"[\g<0>]", name))


def literal(text: str) -> str:
    """Return a text as SQL has it."""
    return "'" + text.replace("'", "''") + "'"


def _one_array(column: "pa.ChunkedArray") -> "pa.LargeStringArray":
    joined = column.cast(pa.large_string()).combine_chunks()
    return pa.concat_arrays(joined.chunks) if isinstance(joined, pa.ChunkedArray) else joined
