"""What a combination's directory says of it, read before its members are opened."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tcf.common.errors import RunError, did_you_mean, value_words
from tcf.common.files import MANIFEST, is_published
from tcf.common.integrity.verified_files import verify_files
from tcf.common.manifest import Format, Manifest, differences, read_manifest, stated_format
from tcf.config.combine import CombineConfig
from tcf.config.fields import from_mapping, read_toml
from tcf.evaluate.combination.members import Member
from tcf.train.run.file_names import RUN
from tcf.train.run.recorded_run import RecordedRun, read_run

__all__ = [
    "BASELINES",
    "COMBINATION",
    "CONFIG",
    "MEMBERS",
    "NAMES",
    "RUNS",
    "RecordedCombination",
    "is_combination",
    "member_role",
    "read_combination",
]

CONFIG = "config.toml"
RUNS, BASELINES, NAMES, MEMBERS = "runs", "baselines", "names", "members"
"""The places of runs in `config.toml`; further settings; the members among the facts of the manifest."""
COMBINATION = Format(
    name="tcf-combination",
    version=1,
    error=RunError,
    made_by="tcf combine",
    required={"inputs.dataset": str, f"files.{CONFIG}": dict},
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
    """Whether a manifest of a combination is at `path`; nothing else of it is looked at."""
    return stated_format(path) == COMBINATION.name


def member_role(name: str) -> str:
    """The role among a combination's inputs of the run that a member is."""
    return f"member {name}"


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
        caches: where the runs' caches are now, member by member, in the order of training; the recorded places if
            empty.
        runs: where runs that have moved are now, by their names as members.

    Raises:
        RunError: `path` is no finished combination, it is damaged, or a run is gone, is not the one that was combined,
            or lacks an input at its recorded place.
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
    members = _members_of(path, manifest)
    moved = _checked_names(path, {} if runs is None else runs, places)
    found = _Found(path, manifest, data, list(caches))
    opened = tuple(found.run(name, moved.get(name), place) for name, place in places.items())
    found.refuse_rest()
    return RecordedCombination(path, manifest, config, members, opened)


def _of_class(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that are fields of `CombineConfig`."""
    return {name: value for name, value in settings.items() if name not in (BASELINES, NAMES)}


def _members_of(path: Path, manifest: Manifest) -> tuple[Member, ...]:
    """The members that the manifest lists."""
    entries = manifest.facts.get(MEMBERS)
    try:
        return tuple(Member.from_json(entry) for entry in entries or ())
    except (TypeError, KeyError, AttributeError):
        raise RunError(
            f"{path / MANIFEST}: expected facts.{MEMBERS}, a list of members with name, kind and weight, found "
            f"{value_words(entries)}; {COMBINATION.remedy(path)}"
        ) from None


def _checked_names(path: Path, moved: Mapping[str, Path], places: Mapping[str, str]) -> Mapping[str, Path]:
    """Refuse new places of runs that are none of the members."""
    for name in moved:
        if name not in places:
            raise RunError(
                f"--run {name}={moved[name]}: expected a run among the members of {path} ({', '.join(places)}), found "
                f"none of this name{did_you_mean(name, [*places])}"
            )
    return moved


@dataclass
class _Found:
    """Finds the runs of a combination, one after the other.

    Attributes:
        path: the combination's directory.
        manifest: its manifest.
        data: where the dataset is now, if it has moved.
        caches: where the caches of the runs to come are now, if they have moved.
    """

    path: Path
    manifest: Manifest
    data: Path | None
    caches: list[Path]

    def __post_init__(self) -> None:
        self._given = len(self.caches)

    def run(self, name: str, moved: Path | None, place: str) -> RecordedRun:
        """Read a run's directory, and compare its fingerprint with that of the run that was combined."""
        folder = self.path / place if moved is None else moved
        if not is_published(folder):
            there = "no finished run" if folder.exists() else "nothing"
            raise RunError(
                f"{self.path}: expected the run {name} that it combines at {os.path.normpath(folder.absolute())}, as "
                f"recorded in {CONFIG}, found {there} there; if it was moved, name its new place with --run {name}=PATH"
            )
        found, expected = read_manifest(folder, RUN), self.manifest.inputs.get(member_role(name), "none")
        if found.fingerprint != expected:
            raise RunError(
                f"{folder}: expected the run {name} that {self.path} combines (fingerprint {expected[:12]}), found "
                f"another ({found.fingerprint[:12]}); name the right one with --run {name}=PATH, or combine again"
            )
        needed = len(found.inputs) - 1 if self._given else 0
        caches, self.caches = self.caches[:needed], self.caches[needed:]
        return read_run(folder, data=self.data, caches=caches)

    def refuse_rest(self) -> None:
        """Refuse more caches than the runs were trained on."""
        if self.caches:
            raise RunError(
                f"--cache: expected the {self._given - len(self.caches)} caches of the runs of {self.path}, member by "
                f"member, found {self._given}; leave out the rest, or all of them if none has moved"
            )
