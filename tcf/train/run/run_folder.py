"""The directory of a run: what it may contain before training, who may write to it, and what is written.

TensorBoard follows a run while it trains, so its files are written in place; `manifest.json` is written last, and a
folder without it is not a finished run.
"""

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tcf.common.errors import ConfigError, RunError
from tcf.common.files import check_destination, is_published, publish_file, writing
from tcf.common.integrity.verified_files import verify_files
from tcf.common.lease_file import acquire, is_expired, is_held, is_own, kept
from tcf.common.manifest import Manifest, differences, digest, read_manifest, seal, sha256_file
from tcf.config.fields import read_toml, write_toml
from tcf.config.sealed_toml import sealed_toml
from tcf.train.run.file_names import (
    CONFIG,
    EPOCHS,
    EVENTS,
    IMPLIED,
    INPUTS,
    LEASE,
    MODEL,
    OPTIMIZER,
    RUN,
    SELECTION,
    STATE,
)
from tcf.train.run.tensor_files import optimizer_tensors, read_best, write_best, write_tensors
from tcf.train.vectors.projection import Projection, projections_from, write_projections

__all__ = ["RunFolder"]

_OURS = {CONFIG, MODEL, OPTIMIZER, EPOCHS, EVENTS, INPUTS, STATE}
_DECIDE_NOTHING = ("devices", "save_minutes", "verify")


@dataclass(frozen=True)
class RunFolder:
    """The directory of a finished or future run.

    Attributes:
        path: the directory.
        settings: the resolved configuration, as TOML values.
        paths: the inputs' paths relative to the directory, by role.
        fingerprints: the inputs' fingerprints, by role.
        selection: fingerprint of the run that chose a refit's number of epochs; empty for any other run.
    """

    path: Path
    settings: Mapping[str, Any]
    paths: Mapping[str, str]
    fingerprints: Mapping[str, str]
    selection: str = ""

    @property
    def state(self) -> Path:
        """The file of an unfinished training's state; it need not exist."""
        return self.path / STATE

    @property
    def identity(self) -> str:
        """A digest of everything that the run depends on: settings, inputs and, for a refit, what chose its epochs."""
        selection = {"selection": self.selection} if self.selection else {}
        return digest({"config": _identifying(self.settings), "inputs": dict(self.fingerprints), **selection})

    def finished(self) -> Manifest | None:
        """The manifest of this run if it is finished; None if it has to be trained.

        Raises:
            RunError: the directory holds another run, an unfinished attempt at another run, or other files; a file of
                this run is damaged; or another process is training there.
        """
        if is_published(self.path):
            manifest = read_manifest(self.path, RUN)
            self._refuse_other("a finished run", manifest.config, manifest.inputs, self.fingerprints)
            verify_files(self.path, manifest, RUN, verify=self.settings.get("verify", "once"))
            self._tidy()
            return manifest
        self._refuse_foreign()
        lease = self.path / LEASE
        if is_held(lease) and not is_own(lease):
            raise self._held_by_another()
        return None

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the directory's lease within the context; the directory is created if needed.

        Raises:
            RunError: another process is training there, or the directory holds other files.
        """
        check_destination(self.path)
        self._refuse_foreign()
        lease = self.path / LEASE
        with writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            if not acquire(lease):
                raise self._held_by_another()
        with kept(lease):
            yield

    def check_held(self) -> None:
        """Check that this process still holds the directory's lease.

        Raises:
            RunError: another process has taken it, because this one sent no heartbeat for too long.
        """
        if not is_own(self.path / LEASE):
            raise self._held_by_another()

    def start(self) -> bool:
        """Prepare the directory for training; files of an earlier attempt at this run are kept if its state exists.

        Returns:
            Whether something was removed.

        Raises:
            RunError: the directory holds an unfinished attempt at another run, or other files.
        """
        self._refuse_foreign()
        resumes = self.state.exists()
        # config.toml is removed last, because it identifies the run that the files belong to.
        names = sorted(self._names(), key=lambda name: name == CONFIG)
        with writing(self.path):
            for name in names:
                if name != LEASE and (_is_leftover(name) or not resumes):
                    _remove(self.path / name)
        publish_file(self.path / CONFIG, sealed_toml(write_toml({**self.settings, "inputs": self.paths})))
        return not resumes and bool({*names} - {LEASE})

    def read_projections(self) -> dict[str, Projection]:
        """The projections that an earlier attempt at this run fitted to the caches, by role; empty if there are none.

        Raises:
            RunError: the file is damaged.
        """
        return projections_from(self.path / INPUTS) if (self.path / INPUTS).exists() else {}

    def write_projections(self, projections: Mapping[str, Projection]) -> None:
        """Write the projections fitted to the caches, if there are any."""
        if projections:
            write_projections(self.path / INPUTS, projections)

    def write_model(self, model: nn.Module, epoch: int) -> None:
        """Write the parameters at the end of an epoch, replacing an earlier epoch's."""
        write_best(self.path / MODEL, model, epoch)

    def read_model(self, epoch: int) -> dict[str, Tensor]:
        """The parameters written for an epoch, by name.

        Raises:
            RunError: the file is missing or damaged, or holds another epoch's.
        """
        return read_best(self.path / MODEL, epoch)

    def write_optimizer(self, optimizer: torch.optim.Optimizer, model: nn.Module) -> None:
        """Write the optimiser's state as `parameter.quantity`."""
        write_tensors(self.path / OPTIMIZER, optimizer_tensors(optimizer, model))

    def publish(self, facts: Mapping[str, Any]) -> Manifest:
        """Write the manifest, which marks the run as finished, and remove the state."""
        identity = {
            "config": _identifying(self.settings),
            "inputs": dict(self.fingerprints),
            "model": sha256_file(self.path / MODEL),
        }
        manifest = seal(
            self.path,
            RUN,
            inputs=self.fingerprints,
            config=self.settings,
            facts=facts,
            identity=digest(identity),
            ignored=(STATE, LEASE, SELECTION),
        )
        self._tidy()
        return manifest

    def _tidy(self) -> None:
        """Remove from a finished run the files that only training needs, which a killed process may have left."""
        left = [file for file in (self.state, self.path / LEASE) if file.exists()]
        with writing(self.path):
            for file in left:
                if file == self.state or is_expired(file):
                    file.unlink(missing_ok=True)

    def _held_by_another(self) -> RunError:
        return RunError(
            f"{self.path}: expected a run that no other process is training, found one that is; wait for it, or name "
            "another --out; if that process was killed, run the same command again in ten minutes"
        )

    def _names(self) -> list[str]:
        """What the directory contains, without the run that chose a refit's number of epochs."""
        if self.path.exists() and not self.path.is_dir():
            raise RunError(f"{self.path}: expected a run or nothing, found a file; name another --out")
        names = sorted(entry.name for entry in self.path.iterdir()) if self.path.exists() else []
        return [name for name in names if not (name == SELECTION and self.settings.get("refit"))]

    def _refuse_foreign(self) -> None:
        """Refuse anything but an unfinished attempt at this run."""
        names = [name for name in self._names() if not _is_leftover(name)]
        if not names:
            return
        foreign = [name for name in names if name not in _OURS]
        if foreign or CONFIG not in names:
            raise RunError(
                f"{self.path}: expected a run or nothing, found other files ({', '.join(foreign or names)}); "
                "name another --out"
            )
        try:
            settings = read_toml(self.path / CONFIG)
        except ConfigError as error:
            raise RunError(f"{error}; or name another --out") from None
        recorded = settings.pop("inputs", {})
        self._refuse_other("an unfinished run", settings, recorded, self.paths, hint=self._moved_input(recorded))

    def _moved_input(self, recorded: Mapping[str, Any]) -> str:
        """A hint about an input of an unfinished run that is no longer at its recorded place."""
        for role, place in recorded.items():
            found = self.path / str(place)
            if self.paths.get(role) != place and not found.exists():
                where = os.path.normpath(found.absolute())
                return f"its {'dataset' if role == 'data' else 'cache'} at {where} is gone: move it back to resume it, "
        return ""

    def _refuse_other(
        self,
        what: str,
        settings: Mapping[str, Any],
        inputs: Mapping[str, Any],
        our_inputs: Mapping[str, Any],
        hint: str = "",
    ) -> None:
        """Refuse other settings or inputs."""
        differing = differences({**_deciding(settings), **inputs}, {**_deciding(self.settings), **our_inputs})
        if differing:
            raise RunError(
                f"{self.path}: holds {what} of other settings or inputs: {differing}; {hint}name another --out, or "
                "remove it"
            )


def _deciding(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that the result depends on; of the devices only their number, if each draws its own dropout."""
    found = {key: value for key, value in {**IMPLIED, **settings}.items() if key not in _DECIDE_NOTHING}
    devices = str(settings.get("devices", "")).count(",") + 1
    drawn = settings.get("dropout") or settings.get("id_dropout")
    return found | ({"number of devices": devices} if devices > 1 and drawn else {})


def _identifying(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The same without values that earlier runs imply, so that equal runs keep the identity that they had."""
    return {key: value for key, value in _deciding(settings).items() if IMPLIED.get(key) != value}


def _is_leftover(name: str) -> bool:
    """Whether a killed process may have left this: a partial file, safetensors' temporary file, or a lease."""
    is_partial = name.startswith(".") and ".partial-" in name
    return name == LEASE or is_partial or re.fullmatch(r"\.tmp[0-9A-Za-z]{6}", name) is not None


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
