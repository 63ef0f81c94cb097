"""What a finished run's directory says of it, read before its inputs are opened."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tcf.common.errors import RunError
from tcf.common.files import MANIFEST, is_published
from tcf.common.integrity.checksums import Verify
from tcf.common.integrity.verified_files import verify_files
from tcf.common.manifest import Manifest, differences, read_manifest
from tcf.config.fields import from_mapping, read_toml
from tcf.config.train import TrainConfig
from tcf.train.inputs import INIT_FROM, Inputs
from tcf.train.run.file_names import CONFIG, INPUTS, MODEL, RUN

__all__ = ["RecordedRun", "n_caches_of", "read_run"]


@dataclass(frozen=True)
class RecordedRun:
    """A finished run whose inputs are not open.

    Attributes:
        path: the run's directory.
        manifest: what it was made from, and its best epoch.
        config: the resolved settings.
        data: where its dataset is.
        caches: where the caches are that it reads, in the order of training.
    """

    path: Path
    manifest: Manifest
    config: TrainConfig
    data: Path
    caches: tuple[Path, ...]

    def verify_files(self, verify: Verify) -> None:
        """Compare the model, and what was fitted to the caches, with the manifest.

        Raises:
            RunError: a file is missing or damaged.
        """
        names = [name for name in (MODEL, INPUTS) if name == MODEL or name in self.manifest.files]
        verify_files(self.path, self.manifest, RUN, names=names, verify=verify)

    def check(self, inputs: Inputs) -> None:
        """Refuse other inputs than those of the training, another number of caches, and another order of them.

        Raises:
            RunError: they are others.
        """
        for role, found in inputs.fingerprints.items():
            expected = self.manifest.inputs.get(role, "none")
            if found != expected:
                what, option = ("dataset", "--data") if role == "dataset" else ("cache", "--cache")
                raise RunError(
                    f"{inputs.paths[role]}: expected the {what} that {self.path} was trained on (fingerprint "
                    f"{expected[:12]}), found another ({found[:12]}); name the right one with {option}, or train a new "
                    "run"
                )
        n_caches = n_caches_of(self.manifest)
        if n_caches >= len(inputs.fingerprints):
            raise RunError(
                f"{self.path}: expected the {n_caches} caches that it was trained on, found "
                f"{len(inputs.caches)}; name all of them with --cache, in the order of training"
            )


def n_caches_of(manifest: Manifest) -> int:
    """Return how many caches a run reads, by its manifest: what its ids started from is in its model."""
    return len(manifest.inputs.keys() - {"dataset", INIT_FROM})


def read_run(path: Path, *, data: Path | None = None, caches: Sequence[Path] = ()) -> RecordedRun:
    """Read what a finished run's directory says of it.

    Args:
        path: the run's directory.
        data: where its dataset is now; the recorded place if None.
        caches: where its caches are now, in the order of training; the recorded places if empty.

    Raises:
        RunError: `path` is no finished run, its settings are damaged, or an input is no longer at its recorded place.
    """
    manifest = read_manifest(path, RUN)
    verify_files(path, manifest, RUN, names=(CONFIG,))
    config = from_mapping(TrainConfig, manifest.config, f"{path / MANIFEST}: config")
    where = _inputs_of(path, manifest)
    # What ids started from is in the model.
    roles = [role for role in where if role not in ("data", INIT_FROM)]
    places = tuple(caches) or tuple(_recorded(path, role, where[role]) for role in roles)
    return RecordedRun(
        path, manifest, config, _recorded(path, "data", where["data"]) if data is None else data, tuple(places)
    )


def _inputs_of(path: Path, manifest: Manifest) -> Mapping[str, str]:
    """Where the inputs were, from `config.toml`, which has been verified and must agree with the manifest."""
    settings: dict[str, Any] = read_toml(path / CONFIG)
    where: Mapping[str, str] = settings.pop("inputs", {})
    differing = differences(manifest.config, settings)
    if differing:
        raise RunError(f"{path / MANIFEST}: config differs from {path / CONFIG}: {differing}; {RUN.remedy(path)}")
    return where


def _recorded(path: Path, role: str, place: str) -> Path:
    """The recorded path of an input; refuse one that was moved or removed since."""
    found = path / place
    if is_published(found):
        return found
    what, remedy = (
        ("dataset", "--data") if role == "data" else ("cache", "--cache, for several in the order of training")
    )
    there = f"no {what}" if found.exists() else "nothing"
    raise RunError(
        f"{path}: expected the {what} that it was trained on at {os.path.normpath(found.absolute())}, as recorded in "
        f"{CONFIG}, found {there} there; if it was moved, name its new place with {remedy}"
    )
