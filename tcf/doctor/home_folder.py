"""The content of `TCF_HOME`: finished and unfinished downloads, calibration runs and checksums."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tcf.common.files import MANIFEST
from tcf.common.lease_file import is_held
from tcf.common.units import counted
from tcf.doctor.entries import Entry, Group
from tcf.doctor.leftovers import LeftoverState, leftover_state, size_of

__all__ = ["DAMAGED", "inspect_home"]

DAMAGED = "damaged"

_DOWNLOADED = ("tcf-asset", "tcf-model")  # formats of downloads, and of models that tcf converted from them
_REMEMBERED = (("trials", "remembered calibration runs"), ("digests", "remembered checksums of files"))


def inspect_home(home: Path) -> list[Entry]:
    """List the content of the folder, with one entry per model and dataset.

    Args:
        home: `TCF_HOME`; it need not exist.
    """
    return [
        *_assets(home / "models", "model", "models"),
        *_assets(home / "datasets", "dataset", "datasets"),
        *_downloads(home / "downloads"),
        *(entry for name, kind in _REMEMBERED for entry in _remembered(home / name, kind)),
        *_others(home),
    ]


def _assets(folder: Path, kind: str, group: Group) -> Iterator[Entry]:
    for path in _entries(folder):
        state = leftover_state(path)
        if state is not None:
            yield _leftover(path, f"unfinished download of a {kind}", state)
        elif path.name.endswith(".convert") and path.name.startswith("."):
            yield _conversion(path, group)
        elif path.name.endswith(".claim"):
            continue
        else:
            why = _why_kept(path)
            yield Entry(path, kind, size_of(path), why or _damage(path), None if why else group)


def _conversion(path: Path, group: Group) -> Entry:
    """The working folder of a conversion, which the next attempt resumes."""
    held = is_held(path.with_name(f"{path.name.rsplit('.', 2)[0]}.convert.claim"))
    state = "in use" if held else "resumes when the model is used again"
    return Entry(path, "unfinished conversion", size_of(path), state, None if held else group)


def _why_kept(path: Path) -> str:
    """Why an asset is not to be removed; empty if tcf downloaded or made all of it."""
    if path.is_symlink():
        return "a link, kept"
    manifest = _manifest(path)
    if manifest.get("format") not in _DOWNLOADED or not isinstance(manifest.get("files"), dict):
        return "not downloaded by tcf, kept"
    known = {MANIFEST, *manifest["files"]}
    found = (os.path.relpath(Path(folder, name), path) for folder, _, names in os.walk(path) for name in names)
    others = [name for name in found if name not in known]
    return f"holds other files ({others[0]}), kept" if others else ""


def _damage(path: Path) -> str:
    """The state of an asset with a file that is missing or not of its published size; empty if there is none."""
    for name, entry in _manifest(path).get("files", {}).items():
        file = path / name
        if not file.is_file() or file.stat().st_size != entry["bytes"]:
            return f"{DAMAGED} ({name})"
    return ""


def _manifest(path: Path) -> dict[str, Any]:
    try:
        content = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _downloads(folder: Path) -> Iterator[Entry]:
    for path in _entries(folder):
        state = leftover_state(path)
        if state is None:
            yield Entry(path, "unfinished download", size_of(path), "resumes when it is requested again", "partial")
        else:
            yield _leftover(path, "unfinished download", state)


def _leftover(path: Path, kind: str, state: LeftoverState) -> Entry:
    return Entry(path, kind, size_of(path), state, "partial" if state == "stale" else None)


def _remembered(folder: Path, kind: str) -> Iterator[Entry]:
    files = _entries(folder)
    if files:
        yield Entry(folder, kind, size_of(folder), counted(len(files), "file"), "remembered")


def _others(home: Path) -> Iterator[Entry]:
    known = ("models", "datasets", "downloads", *(name for name, _ in _REMEMBERED))
    for path in _entries(home):
        if path.name not in known:
            yield Entry(path, "other", size_of(path), "not written by tcf, kept")


def _entries(folder: Path) -> list[Path]:
    """The paths in a folder; none if it does not exist or is being removed."""
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []
