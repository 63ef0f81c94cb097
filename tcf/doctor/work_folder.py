"""The results of stages below a folder, with their sizes, and unfinished work there."""

import re
from collections.abc import Iterator
from pathlib import Path

from tcf.common.files import MANIFEST
from tcf.common.lease_file import is_held
from tcf.common.output.folders import walk
from tcf.common.parsing import read_json
from tcf.common.units import counted
from tcf.doctor.entries import Entry, Group
from tcf.doctor.leftovers import leftover_state, size_of
from tcf.train.run.file_names import CONFIG, EPOCHS, LEASE, STATE

__all__ = ["KINDS", "inspect_folder"]

KINDS = {
    "tcf-dataset": "dataset",
    "tcf-cache": "vector cache",
    "tcf-token-states": "cache of token states",
    "tcf-run": "run",
    "tcf-combination": "combination",
    "tcf-evaluation": "evaluation",
    "tcf-model": "converted model",
    "tcf-asset": "download",
}
"""Names of the kinds of directories, by the format in their manifest."""

_CACHES = ("tcf-cache", "tcf-token-states")
_JOURNAL, _SEARCH_LEASE = "study.jsonl", ".search.claim"
_SWEEP = re.compile(r"\.(.+)\.[0-9a-f]{32}\.sweep")
_CONVERSION = re.compile(r"\.(.+)\.[0-9a-f]{16}\.convert")


def inspect_folder(folder: Path) -> list[Entry]:
    """Find datasets, caches, runs, evaluations, searches and unfinished work, at any depth; links are skipped."""
    return list(_found(folder))


def _found(folder: Path) -> Iterator[Entry]:
    for path, folders, files in walk(folder):
        yield from _half_written(path, [*folders, *files])
        yield from (entry for name in folders if (entry := _unfinished_work(path / name)) is not None)
        entry = _entry_at(path, {*files})
        if entry is not None:
            yield entry
            yield from _half_written_within(path)
        # An entry includes all folders below it, and hidden folders hold no results.
        folders[:] = [] if entry is not None else sorted(name for name in folders if not name.startswith("."))


def _entry_at(path: Path, files: set[str]) -> Entry | None:
    """The entry for the folder itself; None if tcf did not write it."""
    if MANIFEST in files and (format := _format(path)) in KINDS:
        state = "being filled" if format in _CACHES and _is_being_filled(path) else ""
        return Entry(path, KINDS[format], size_of(path), state)
    if _JOURNAL in files:
        trials = sum(1 for _ in (path / "trials").glob("[0-9]*"))
        state = counted(trials, "trial") + (", running" if is_held(path / _SEARCH_LEASE) else "")
        return Entry(path, "search", size_of(path), state)
    if CONFIG in files and not files.isdisjoint((EPOCHS, STATE, LEASE)):
        return Entry(path, "unfinished run", size_of(path), _state_of_run(path))
    return None


def _format(path: Path) -> str:
    try:
        content = read_json(path / MANIFEST)
    except (OSError, ValueError):
        return ""
    return str(content.get("format")) if isinstance(content, dict) else ""


def _state_of_run(path: Path) -> str:
    if is_held(path / LEASE):
        return "being trained"
    return "resumes with the same `tcf train`" if (path / STATE).exists() else "restarts with the same `tcf train`"


def _is_being_filled(cache: Path) -> bool:
    within, beside = (cache / "shards").glob(".*.claim"), cache.parent.glob(f".{cache.name}.*.claim")
    return any(map(is_held, [*within, *beside]))


def _unfinished_work(path: Path) -> Entry | None:
    """The entry for the working folder of an unfinished sweep or conversion."""
    if named := _SWEEP.fullmatch(path.name):
        busy = _is_being_filled(path.with_name(named[1]))
        return Entry(path, "unfinished sweep", size_of(path), _resumed_by("extract", busy))
    if named := _CONVERSION.fullmatch(path.name):
        busy = is_held(path.with_name(f".{named[1]}.convert.claim"))
        return Entry(path, "unfinished conversion", size_of(path), _resumed_by("convert", busy))
    return None


def _resumed_by(command: str, busy: bool) -> str:
    return "in use" if busy else f"resumes with the same `tcf {command}`, or remove it"


def _half_written(path: Path, names: list[str]) -> Iterator[Entry]:
    for name in sorted(names):
        state = leftover_state(path / name)
        if state is not None:
            group: Group | None = "partial" if state == "stale" else None
            yield Entry(path / name, "half written", size_of(path / name), state, group)


def _half_written_within(folder: Path) -> Iterator[Entry]:
    """Half-written files and folders below a folder that is itself an entry."""
    for place, folders, files in walk(folder):
        if place != folder:
            yield from _half_written(place, [*folders, *files])
