"""Raw files small enough to read by eye, damaged ones among them, and what was read or prepared of them."""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tcf.common.errors import DataError
from tcf.data.dataset import Dataset, Histories
from tcf.data.raw.raw_log import RawLog
from tcf.data.seen import distinct_items
from tcf.data.tables.engine import Engine

# Of the study's format.
ITEMS = "a\tAlpha\nb\tBeta\nc\tGamma\n"
BEHAVIORS = "u1\ta b a\nu2\tc\nu3\tb c\n"
HISTORIES = {"u1": ["a", "b", "a"], "u2": ["c"], "u3": ["b", "c"]}
TEXTS = {"a": "Alpha", "b": "Beta", "c": "Gamma"}


@dataclass(frozen=True)
class Bad:
    """Damaged files, how the damage is reported, and what skipping leaves.

    Attributes:
        reason: what the rows are counted under.
        where: `FILE:LINE` of the first.
        found: a part of the message, from what was found on.
        skipped: all counts in the end.
        histories: those left.
        files: the damaged files' contents by name; the others are whole.
        texts: those left.
    """

    reason: str
    where: str
    found: str
    skipped: dict[str, int]
    histories: dict[str, list[str]] = field(default_factory=lambda: HISTORIES)
    files: dict[str, str | bytes] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=lambda: TEXTS)

    def __str__(self) -> str:
        return f"{self.reason}-{self.where}"

    def check_message(self, message: str, folder: Path) -> None:
        assert message.startswith(f"{folder}/{self.where}: expected ")
        assert f"found {self.found}" in message
        assert f"({self.reason})" in message

    def skipped_by(self, read: Callable[..., RawLog], folder: Path) -> RawLog:
        """What is read where the damaged rows are skipped, after reading that stops at the first of them."""
        write_files(folder, self.files)
        with pytest.raises(DataError) as caught:
            read(folder, bad_rows="error")
        self.check_message(str(caught.value), folder)
        log = read(folder, bad_rows="skip")
        assert log.skipped == self.skipped
        return log

    def check_rest(self, log: RawLog) -> None:
        assert log.skipped == self.skipped
        assert list(histories_of(log).items()) == list(self.histories.items())
        assert list(texts_of(log).items()) == list(self.texts.items())


def with_engine(read: Callable[..., RawLog]) -> Callable[..., RawLog]:
    """A reader of raw files that has an engine of its own for every call."""

    def read_once(*given: Any, **options: Any) -> RawLog:
        with tempfile.TemporaryDirectory() as folder, Engine(Path(folder) / "scratch") as engine:
            return read(engine, *given, **options)

    return read_once


def write_files(path: Path, files: Mapping[str, str | bytes]) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (path / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def folder_with(path: Path, items: str | bytes = ITEMS, behaviors: str | bytes = BEHAVIORS) -> Path:
    """A folder of the study's format with these contents."""
    return write_files(path, {"items.tsv": items, "behaviors.tsv": behaviors})


def folder_of(path: Path, texts: Mapping[str, str], users: Mapping[str, str]) -> Path:
    """A folder of the study's format with these titles by item, and items by user."""
    items, behaviors = ("".join(f"{key}\t{value}\n" for key, value in rows.items()) for rows in (texts, users))
    return folder_with(path, items, behaviors)


def histories_of(log: RawLog | Dataset) -> dict[str, list[str]]:
    histories = log.histories if isinstance(log, Dataset) else Histories(log.offsets, log.items)
    ids = log.item_ids.to_pylist()
    return {user: [ids[item] for item in histories.of(row)] for row, user in enumerate(log.user_ids.to_pylist())}


def others_of(log: RawLog | Dataset) -> dict[str, list[str]]:
    """What users have had without an event in their histories, of those who have had anything."""
    others = log.seen.others if isinstance(log, Dataset) else log.others and distinct_items(log.others)
    ids, users = log.item_ids.to_pylist(), log.user_ids.to_pylist()
    found = {} if others is None else {user: [ids[item] for item in others.of(row)] for row, user in enumerate(users)}
    return {user: items for user, items in found.items() if items}


def texts_of(log: RawLog | Dataset) -> dict[str, str]:
    return dict(zip(log.item_ids.to_pylist(), log.texts.to_pylist(), strict=True))
