"""What a combination's directory says of it, read before its members are opened."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tcf.common.errors import ConfigError, RunError, did_you_mean, value_words
from tcf.common.files import MANIFEST, is_published
from tcf.common.integrity.verified_files import verify_files
from tcf.common.manifest import Format, Manifest, differences, read_manifest, stated_format
from tcf.config.combine import CombineConfig
from tcf.config.fields import from_mapping, read_toml
from tcf.evaluate.combination.find_runs import RunReader
from tcf.evaluate.combination.members import Member
from tcf.train.run.file_names import RUN
from tcf.train.run.recorded_run import RecordedRun

__all__ = [
    "BASELINES",
    "COMBINATION",
    "CONFIG",
    "MEMBERS",
    "NAMES",
    "RUNS",
    "RecordedCombination",
    "StoredCombination",
    "is_combination",
    "member_role",
    "read_combination",
    "read_stored",
]

CONFIG = "config.toml"
RUNS, BASELINES, NAMES, MEMBERS = "runs", "baselines", "names", "members"
"""The places of runs in `config.toml`; further settings; the members among the facts of the manifest."""
COMBINATION = Format(
    name="tcf-combination",
    version=1,
    error=RunError,
    made_by="tcf combine",
    required={"inputs.dataset": str, f"files.{CONFIG}": dict, f"facts.{MEMBERS}": list},
)


@dataclass(frozen=True)
class RecordedCombination:
    """A finished combination whose members are not open.

    Attributes:
        path: its directory.
        manifest: what it was made from, its members and its validation metrics.
        config: its settings.
        members: runs first, then baselines.
        runs: those that are runs, in order; their files have not been verified.
    """

    path: Path
    manifest: Manifest
    config: CombineConfig
    members: tuple[Member, ...]
    runs: tuple[RecordedRun, ...]

    @property
    def data(self) -> Path:
        """Where the dataset of all members is."""
        return self.runs[0].data


def is_combination(path: Path) -> bool:
    """Whether a combination is at `path`: its manifest says so, or its settings where nobody can read the manifest."""
    format = stated_format(path)
    if format is not None or not is_published(path):
        return format == COMBINATION.name
    try:
        return {NAMES, RUNS} <= read_toml(path / CONFIG).keys()
    except ConfigError:
        return False


def member_role(name: str) -> str:
    """The role among a combination's inputs of the run that a member is."""
    return f"member {name}"


@dataclass(frozen=True)
class StoredCombination:
    """What the files of a combination's directory say.

    Attributes:
        path: the directory.
        manifest: what it was made from, its members and its validation metrics.
        config: its settings.
        members: runs first, then baselines.
        places: where its runs were, relative to the directory, by name.
    """

    path: Path
    manifest: Manifest
    config: CombineConfig
    members: tuple[Member, ...]
    places: Mapping[str, str]

    def of_runs(self, runs: Sequence[RecordedRun]) -> RecordedCombination:
        """The combination, with its runs where they are now."""
        return RecordedCombination(self.path, self.manifest, self.config, self.members, tuple(runs))


def read_stored(path: Path) -> StoredCombination:
    """Read a combination's directory alone.

    Raises:
        RunError: it is no finished combination, or is damaged.
    """
    manifest = read_manifest(path, COMBINATION)
    verify_files(path, manifest, COMBINATION, names=(CONFIG,))
    settings = read_toml(path / CONFIG)
    places: Mapping[str, str] = settings.pop(RUNS, {})
    differing = differences(manifest.config, settings)
    if differing:
        raise RunError(
            f"{path / MANIFEST}: config differs from {path / CONFIG}: {differing}; {COMBINATION.remedy(path)}"
        )
    config = from_mapping(CombineConfig, _of_class(manifest.config), f"{path / MANIFEST}: config")
    return StoredCombination(path, manifest, config, _members_of(path, manifest), places)


def read_combination(
    path: Path,
    *,
    data: Path | None = None,
    caches: Sequence[Path] = (),
    runs: Mapping[str, Path] | None = None,
) -> RecordedCombination:
    """Read what a combination's directory says of it, and what its runs' directories say of them.

    Args:
        path: its directory.
        data: where the dataset is now; the place that each run has recorded if None.
        caches: where the runs' caches are now, run by run, in the order of training; the recorded places if empty.
        runs: where runs that have moved are now, by their names as members.

    Raises:
        RunError: `path` is no finished combination, it is damaged, or a run is gone, is not the one that was combined,
            or lacks an input at its recorded place.
        ConfigError: a moved run is none of the members, or there are not as many caches as the runs have.
    """
    stored, moved = read_stored(path), {} if runs is None else runs
    _check_names(moved, stored)
    reader = RunReader(data, caches)
    found = [reader.read(_run_of(stored, name, moved.get(name))) for name in stored.places]
    reader.check_all_taken()
    return stored.of_runs(found)


def _of_class(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that are fields of `CombineConfig`."""
    return {name: value for name, value in settings.items() if name not in (BASELINES, NAMES)}


def _members_of(path: Path, manifest: Manifest) -> tuple[Member, ...]:
    """The members that the manifest lists."""
    entries = manifest.facts[MEMBERS]
    try:
        return tuple(Member.from_json(entry) for entry in entries)
    except (TypeError, KeyError, AttributeError):
        raise RunError(
            f"{path / MANIFEST}: expected facts.{MEMBERS}, a list of members with name, kind and weight, found "
            f"{value_words(entries)}; {COMBINATION.remedy(path)}"
        ) from None


def _check_names(moved: Mapping[str, Path], stored: StoredCombination) -> None:
    """Refuse new places of runs that are none of the members."""
    for name, place in moved.items():
        if name not in stored.places:
            known = ", ".join(stored.places)
            raise ConfigError(
                f"--run {name}={place}: expected a run among the members of {stored.path} ({known}), found none of "
                f"this name{did_you_mean(name, [*stored.places])}"
            )


def _run_of(stored: StoredCombination, name: str, moved: Path | None) -> Path:
    """Where a run is, whose fingerprint is that of the run that was combined."""
    folder = stored.path / stored.places[name] if moved is None else moved
    if not is_published(folder):
        there = "no finished run" if folder.exists() else "nothing"
        where, remedy = (
            (f", as recorded in {CONFIG}", f"if it was moved, name its new place with --run {name}=PATH")
            if moved is None
            else ("", f"name the right place with --run {name}=PATH")
        )
        raise RunError(
            f"{stored.path}: expected the run {name} that it combines at {os.path.normpath(folder.absolute())}{where}, "
            f"found {there} there; {remedy}"
        )
    found, expected = read_manifest(folder, RUN).fingerprint, stored.manifest.inputs.get(member_role(name), "none")
    if found != expected:
        raise RunError(
            f"{folder}: expected the run {name} that {stored.path} combines (fingerprint {expected[:12]}), found "
            f"another ({found[:12]}); name the right one with --run {name}=PATH, or combine again"
        )
    return _plain(folder)


def _plain(folder: Path) -> Path:
    """The same folder without steps back, for people to read, unless a link on the way makes that another one."""
    plain = Path(os.path.normpath(folder))
    return plain if plain.exists() and plain.samefile(folder) else folder
