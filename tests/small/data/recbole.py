"""RecBole's atomic files, small enough to read by eye."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from small.data.raw import histories_of, with_engine, write_files
from tcf.data.raw.raw_log import RawLog
from tcf.data.raw.recbole import RecboleOptions, read_recbole

__all__ = ["LISTS", "atomic", "parts_of", "read", "recbole"]

LISTS = "user_id:token\titem_id_list:token_seq\titem_id:token"


def atomic(header: str, *rows: str) -> str:
    """A file of rows whose fields are divided by `|`."""
    return "".join(line.replace("|", "\t") + "\n" for line in (header, *rows))


def recbole(folder: Path, events: Mapping[str, str], items: str = "abcdefgxyz", name: str = "s") -> Path:
    """A folder with interactions by the middle of their file's name (`.train`, or nothing), and items of one letter."""
    texts = atomic("item_id:token\ttitle:token_seq", *(f"{item}|Text of {item}" for item in items))
    files = {f"{name}{part}.inter": content for part, content in events.items()}
    return write_files(folder, {f"{name}.item": texts, **files})


def read(folder: Path, **options: Any) -> RawLog:
    return with_engine(read_recbole)(folder, bad_rows="error", options=RecboleOptions(**options))


def parts_of(log: RawLog) -> dict[str, str]:
    """Each user's items with their parts: `a0 b1 c2`."""
    assert log.parts is not None
    found = {}
    for row, (user, items) in enumerate(histories_of(log).items()):
        parts = log.parts[log.offsets[row] : log.offsets[row + 1]]
        found[user] = " ".join(f"{item}{part}" for item, part in zip(items, parts.tolist(), strict=True))
    return found
