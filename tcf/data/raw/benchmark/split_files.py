"""Which files of a folder hold the events: one of everything, or one for each part of a split."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tcf.common.errors import ConfigError
from tcf.data.split import EventPart

__all__ = ["EventFiles", "SplitKind", "event_files", "part_of"]

SplitKind = Literal["leave-one-out", "time", "given"] | None
_PARTS = {
    ".train": EventPart.TRAINING,
    **dict.fromkeys((".valid", ".validation", ".val", ".dev"), EventPart.VALIDATION),
    ".test": EventPart.TEST,
}


@dataclass(frozen=True)
class EventFiles:
    """The files of events of one dataset.

    Attributes:
        name: the dataset's, as in the names of the files.
        paths: the files; those of a split in the order of its parts.
        parts: the part of each file; None if one file holds everything.
    """

    name: str
    paths: tuple[Path, ...]
    parts: tuple[EventPart, ...] | None = None


def event_files(folder: Path, files: Mapping[Path, str], split: SplitKind) -> EventFiles | None:
    """Choose from the files of a folder; None if they are not those of one dataset.

    Args:
        folder: for messages.
        files: those that may hold events, with their names without suffix: `NAME` for a file of everything,
            `NAME.train`, `NAME.valid` (`.validation`, `.val`, `.dev`) and `NAME.test` for the parts of a split; one of
            the last two may be absent.
        split: as in `PrepareConfig`.

    Raises:
        ConfigError: there are files of both kinds, and no split says which to use.
    """
    parts = {path: _part(name) for path, name in files.items()}
    whole = [path for path, part in parts.items() if not part]
    divided = {path: part for path, part in parts.items() if part}
    given = _files_of_parts(files, divided)
    if whole and given is not None and split is None:
        raise ConfigError(
            f"--split: expected a choice, since {folder} has the parts of a split ({_listed(divided)}) and "
            f"{_listed(whole)}, found none; give --split given for the parts, or --split leave-one-out or time for the "
            "other"
        )
    if split == "given" or (split is None and divided) or not whole:
        return given
    return EventFiles(files[whole[0]], (whole[0],)) if len(whole) == 1 else None


def _files_of_parts(files: Mapping[Path, str], suffixes: Mapping[Path, str]) -> EventFiles | None:
    """Return the files that are the parts of one split; None unless one is for training and others for targets."""
    found = {_PARTS[suffix]: path for path, suffix in suffixes.items()}
    names = {files[path].removesuffix(suffix) for path, suffix in suffixes.items()}
    if len(names) != 1 or len(found) != len(suffixes) or len(found) < 2 or EventPart.TRAINING not in found:
        return None
    parts = tuple(sorted(found))
    return EventFiles(names.pop(), tuple(found[part] for part in parts), parts)


def part_of(files: EventFiles, split: SplitKind) -> str | None:
    """Return an expression in SQL for the part of an event; None if there is no such split, or it is not to be used."""
    return "events.part" if files.parts is not None and split in ("given", None) else None


def _part(name: str) -> str:
    return next((suffix for suffix in _PARTS if name.endswith(suffix)), "")


def _listed(paths: "Mapping[Path, str] | list[Path]") -> str:
    return ", ".join(sorted(path.name for path in paths))
