"""The journal of a search: Optuna's records, each with a checksum that continues that of the record before it.

A record that was changed, lost, repeated or moved is found before Optuna acts on it, and so is a journal that another
program wrote. Optuna itself reads such a journal too: it ignores entries that it does not know.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend, JournalFileBackend

from tcf.common.errors import RunError
from tcf.common.parsing import parse_json
from tcf.launch.search.optuna_internals import repair_journal

__all__ = ["open_journal"]

_CHECKSUM = "checksum"
_LONGEST = 1 << 24  # bytes of a record at most
_BEGIN = b'{"op_code":'  # of each record, as Optuna writes it


def open_journal(path: Path) -> JournalStorage:
    """Open a search's journal, or begin one; no other process uses it.

    The end of a record that was being written when its process was killed is cut off.

    Raises:
        RunError: a record has changed, or is not of a search; the file stays as it is.
        OSError: it cannot be read or written.
    """
    if path.exists() and not path.is_file():
        raise OSError("not a regular file")
    _check_begin(path)
    repair_journal(path)
    try:
        return JournalStorage(_CheckedJournal(path))
    except (ValueError, LookupError, TypeError, AttributeError, AssertionError) as error:
        raise RunError(
            f"{path}: expected the journal of a search, found one that this version of Optuna cannot read "
            f"({' '.join(str(error).split())[:200]}); {_other_folder(path)}"
        ) from None


class _CheckedJournal(BaseJournalBackend):
    """Optuna's journal file, whose records have checksums.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = JournalFileBackend(str(path))
        self._sums: list[str] = []  # of the records that were read or written, by number
        self._ends = [0]  # bytes before each record that was read, and after the last

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """Yield the records from this number on; see `BaseJournalBackend`. Optuna's own method ignores a damaged end.

        Raises:
            RunError: one has changed, or is not of a search.
        """
        with self._path.open("rb") as stream:
            stream.seek(self._ends[log_number_from])
            for number, line in enumerate(iter(lambda: stream.readline(_LONGEST), b""), start=log_number_from):
                record = self._checked(number, line)
                self._ends[number + 1 :] = [stream.tell()]
                yield record

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append records; see `BaseJournalBackend`."""
        signed = []
        for log in logs:
            self._sums.append(_checksum(self._before(len(self._sums)), log))
            signed.append({**log, _CHECKSUM: self._sums[-1]})
        self._file.append_logs(signed)

    def _checked(self, number: int, line: bytes) -> dict[str, Any]:
        try:
            record = parse_json(line)
        except ValueError:
            raise _changed(self._path, number) from None
        match record:
            case {"op_code": int(), "checksum": str(stated)} if line.endswith(b"\n"):
                del record[_CHECKSUM]
            case _:
                raise _changed(self._path, number)
        if stated != _checksum(self._before(number), record):
            raise _changed(self._path, number)
        self._sums[number : number + 1] = [stated]
        found: dict[str, Any] = record
        return found

    def _before(self, number: int) -> str:
        return self._sums[number - 1] if number else ""


def _checksum(before: str, record: dict[str, Any]) -> str:
    """The checksum of a record as it is read again, where keys are strings and tuples are lists."""
    text = json.dumps([before, parse_json(json.dumps(record))], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _check_begin(path: Path) -> None:
    """Refuse a file that no search wrote, before anything is cut off."""
    if not path.exists():
        return
    with path.open("rb") as stream:
        line = stream.readline(_LONGEST)
    if line.endswith(b"\n"):
        next(iter(_CheckedJournal(path).read_logs(0)))
    elif line[: len(_BEGIN)] != _BEGIN[: len(line)]:
        raise _changed(path, 0)


def _changed(path: Path, number: int) -> RunError:
    remedy = f"restore it from a copy, or {_other_folder(path)}"
    if number:
        remedy = (
            f"restore it from a copy, or keep its first {number} lines and run the same command again, which finds "
            "finished trials again"
        )
    return RunError(
        f"{path}:{number + 1}: expected a record of a search as it was written, found one that was changed, is missing "
        f"or is of another program; {remedy}"
    )


def _other_folder(path: Path) -> str:
    return f"remove {path.parent}, or name another `out` in the search file"
