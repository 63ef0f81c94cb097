"""Trials: a file is damaged, a command that reads it runs, and what came of it is one of a few words."""

import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Literal

from small.faults.damage import Damage
from small.faults.readers import Reader
from small.faults.typed import Typed, typed
from tcf.common.files import MANIFEST

__all__ = ["OUTCOMES", "Outcome", "Place", "Tally", "Trial", "below", "timeless"]

Outcome = Literal["survived", "detected", "believed", "lost", "unclear"]
OUTCOMES: tuple[Outcome, ...] = ("survived", "detected", "believed", "lost", "unclear")
# What differs from run to run although nothing is wrong: times, the journal's names of processes, and numbers that are
# remembered for another time.
_OF_NO_MATTER = ("events/*", "home/*/*", "logs/*", "study.jsonl")
# Unfinished work that is done again where it is damaged; nobody's result.
_UNFINISHED = ("*.sweep/*", "*.sweep/*/*", "*.sweep/*/*/*", "*.convert/*", "*.claim", "state.safetensors")
_TIMES = re.compile(r"\d[\d,.:]* *(s|ms|examples/s|seconds)\b|in under 1 s")


@dataclass(frozen=True)
class Trial:
    """What came of one.

    Attributes:
        line: the command.
        damage: what had happened to a file.
        outcome: survived: its result is that of an undisturbed run; detected: an error of one line names the file and
            what to do; believed: another result, and no error; lost: another file is gone or changed; unclear: an
            error that says less, or a traceback.
        found: what was seen, for those that must not be.
    """

    line: str
    damage: Damage
    outcome: Outcome
    found: str = ""

    def __str__(self) -> str:
        return f"{self.outcome}: {self.damage}; tcf {self.line}: {self.found}"


@dataclass(frozen=True)
class _Result:
    typed: Typed
    written: dict[str, bytes]
    gone: frozenset[str]


@dataclass
class Place:
    """The world's folder, which is as it was before after every trial.

    Attributes:
        folder: the working directory.
        files: contents, from the folder.
    """

    folder: Path
    files: dict[str, bytes] = field(default_factory=dict, repr=False)
    _stamps: dict[str, tuple[int, int, int]] = field(default_factory=dict, repr=False)
    _undisturbed: dict[str, _Result] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self.files = {name: (self.folder / name).read_bytes() for name in self._now()}
        self._stamps = self._now()

    def run(self, reader: Reader, damage: Damage) -> Trial:
        """Damage a file, run a command, say what came of it, and put everything back."""
        expected = self.undisturbed(reader)
        damage.inflict(self.folder)
        found = self._result(reader.line)
        self._restore()
        outcome, words = _judged(reader, damage, expected, found, self.files)
        return Trial(reader.line, damage, outcome, words)

    def kind_of(self, file: str) -> str:
        """The kind of a file: the format of the folder that it belongs to, and its place there."""
        for folder in PurePath(file).parents[:-1]:
            if manifest := self.files.get(f"{folder}/{MANIFEST}"):
                return f"{json.loads(manifest)['format']}: {_shape(str(PurePath(file).relative_to(folder)))}"
        return _shape(file)

    def undisturbed(self, reader: Reader) -> _Result:
        """What the command does where nothing is damaged; it must succeed."""
        if reader.line not in self._undisturbed:
            self._undisturbed[reader.line] = self._result(reader.line)
            self._restore()
            assert self._undisturbed[reader.line].typed.status == 0, (reader.line, self._undisturbed[reader.line].typed)
        return self._undisturbed[reader.line]

    def others(self, file: str) -> dict[str, bytes]:
        """Files of the same name in other folders."""
        name = PurePath(file).name
        return {other: content for other, content in self.files.items() if PurePath(other).name == name != other}

    def _result(self, line: str) -> _Result:
        done, now = typed(line), self._now()
        changed = [name for name, stamp in now.items() if stamp != self._stamps.get(name)]
        written = {
            name: content for name in changed if (content := (self.folder / name).read_bytes()) != self.files.get(name)
        }
        return _Result(done, written, frozenset(set(self.files) - set(now)))

    def _restore(self) -> None:
        now = self._now()
        for name in now.keys() - self.files.keys():
            (self.folder / name).unlink()
        for name, content in self.files.items():
            if now.get(name) != self._stamps[name]:
                (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
                (self.folder / name).write_bytes(content)
        for folder, _, _ in os.walk(self.folder, topdown=False):
            if not any(Path(folder).iterdir()):
                Path(folder).rmdir()
        self._stamps = self._now()

    def _now(self) -> dict[str, tuple[int, int, int]]:
        paths = [Path(folder, name) for folder, _, names in os.walk(self.folder) for name in names]
        stats = [(str(path.relative_to(self.folder)), path.lstat()) for path in paths]
        return {name: (stat.st_size, stat.st_mtime_ns, stat.st_ino) for name, stat in stats}


def below(file: str, reads: Iterable[str]) -> bool:
    """Whether a file is one of these, or in one of these folders; a hidden folder is named by its beginning."""
    return any(file == place or file.startswith(place if place[:1] == "." else f"{place}/") for place in reads)


def _shape(file: str) -> str:
    """A path without what differs from one to the next."""
    return re.sub(r"tfevents.*", "tfevents", re.sub(r"\b(?:[0-9a-f]{16,}|\d+)\b", "N", file))


def _judged(
    reader: Reader, damage: Damage, expected: _Result, found: _Result, whole: dict[str, bytes]
) -> tuple[Outcome, str]:
    harmed = {
        name for name in found.written.keys() & whole.keys() | found.gone if name not in (damage.file, reader.out)
    }
    harmed -= expected.written.keys() | expected.gone
    lost = sorted(name for name in harmed if not _matches(name, (*_OF_NO_MATTER, *_UNFINISHED)))
    if lost:
        return "lost", f"{', '.join(lost)}; {found.typed}"
    if found.typed.status != 0:
        named = _names(found.typed.error, damage.file)
        return ("detected", "") if named else ("unclear", f"status {found.typed.status}: {found.typed.said[-2000:]}")
    differing = _differing(damage, expected, found)
    if not differing and below(damage.file, (reader.out,)) and _stays(damage.file, expected, found):
        differing = f"a damaged result is called complete; {found.typed}"
    if not differing:
        return "survived", ""
    told = any(_names(line, damage.file) for line in found.typed.said.splitlines() if "warning" in line)
    return ("detected", "") if told or '"damaged"' in found.typed.printed else ("believed", differing)


def _stays(file: str, expected: _Result, found: _Result) -> bool:
    """Whether a file that belongs to the command's result, and that it does not write, is still damaged after it."""
    of_no_matter = _matches(file, (*_OF_NO_MATTER, "*.claim"))
    return not of_no_matter and file in (found.written.keys() | found.gone) - expected.written.keys() - expected.gone


def _names(message: str, file: str) -> bool:
    """Whether a message names a file, or the folder that it makes up, and says what to do."""
    places = [file, *map(str, PurePath(file).parents[:-1])]
    claimed = file.endswith(".claim") and "another process" in message
    return ";" in message and (claimed or any(place in message for place in places))


def _differing(damage: Damage, expected: _Result, found: _Result) -> str:
    """What of a command's result is another than it should be."""
    written, others = (
        {name: timeless(name, content) for name, content in result.written.items() if not _matches(name, _OF_NO_MATTER)}
        for result in (expected, found)
    )
    others.pop(damage.file, None) if damage.file not in written else None
    names = sorted(name for name in written.keys() | others.keys() if written.get(name) != others.get(name))
    if names:
        return f"other files: {', '.join(names)}; {found.typed}"
    one, other = (_TIMES.sub("", result.typed.printed) for result in (expected, found))
    return "" if one == other else f"printed {other!r} instead of {one!r}"


def timeless(name: str, content: bytes) -> bytes:
    """A file without the checksums of events, which hold times."""
    if PurePath(name).name != MANIFEST or b'"events/' not in content:
        return content
    try:
        manifest = json.loads(content)
    except ValueError:  # a damaged one
        return content
    files = {name: entry for name, entry in manifest["files"].items() if not name.startswith("events/")}
    return json.dumps({**manifest, "files": files, "checksum": ""}).encode()


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(PurePath(name).match(pattern) for pattern in patterns)


@dataclass
class Tally:
    """Counts of outcomes by kind of file, and the trials that must not be."""

    counts: dict[str, Counter[str]] = field(default_factory=dict)
    bad: list[str] = field(default_factory=list)

    def add(self, kind: str, outcome: Outcome, words: str = "") -> None:
        """Count an outcome; words say what is wrong with it."""
        self.counts.setdefault(kind, Counter())[outcome] += 1
        if outcome not in ("survived", "detected"):
            self.bad.append(words)

    def lines(self) -> Iterator[str]:
        """A table, one line for each kind and one for all."""
        total = sum(self.counts.values(), Counter())
        for kind, counts in [*sorted(self.counts.items()), ("all", total)]:
            words = ", ".join(f"{counts[outcome]} {outcome}" for outcome in OUTCOMES)
            yield f"{kind}: {counts.total()} injected: {words}"
