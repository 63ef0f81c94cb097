"""The directory of a run: what may be there before training, and what is written into it.

TensorBoard watches a run while it trains, so its files are written in place; `manifest.json` comes last, and a folder
without one is no run.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from tcf.errors import ConfigError, RunError
from tcf.files import check_destination, is_published, publish_file, writing
from tcf.manifest import Format, Manifest, differences, digest, read_manifest, seal, sha256_file
from tcf.settings_fields import read_toml, write_toml

__all__ = ["CONFIG", "MODEL", "RUN", "RunFolder"]

CONFIG, MODEL, OPTIMIZER, EPOCHS, EVENTS = (
    "config.toml",
    "model.safetensors",
    "optimizer.safetensors",
    "epochs.jsonl",
    "events",
)
RUN = Format(
    name="tcf-run",
    version=1,
    error=RunError,
    made_by="tcf train",
    required={"inputs.dataset": str, f"files.{CONFIG}": dict, f"files.{MODEL}": dict},
)
_OURS = {CONFIG, MODEL, OPTIMIZER, EPOCHS, EVENTS}


@dataclass(frozen=True)
class RunFolder:
    """Where a run is, or is to be.

    Attributes:
        path: the directory.
        settings: the resolved configuration, as TOML values.
        paths: where the inputs lie as seen from the directory, by role.
        fingerprints: the inputs' fingerprints, by role.
    """

    path: Path
    settings: Mapping[str, Any]
    paths: Mapping[str, str]
    fingerprints: Mapping[str, str]

    def finished(self) -> Manifest | None:
        """The manifest of this very run, if it is there already; None if it is to be trained.

        Raises:
            RunError: another run, an unfinished attempt at another run, or foreign files are there.
        """
        if is_published(self.path):
            manifest = read_manifest(self.path, RUN)
            self._refuse_other("a finished run", manifest.config, manifest.inputs, self.fingerprints)
            return manifest
        self._refuse_foreign()
        return None

    def start(self) -> bool:
        """Make the directory ready for training.

        Returns:
            Whether something was removed that an attempt at this run had left unfinished.

        Raises:
            RunError: an unfinished attempt at another run, or foreign files are there.
        """
        check_destination(self.path)
        self._refuse_foreign()
        # config.toml goes last, because it tells whose files these are.
        names = sorted(self._names(), key=lambda name: name == CONFIG)
        with writing(self.path):
            for name in names:
                _remove(self.path / name)
            self.path.mkdir(parents=True, exist_ok=True)
        publish_file(self.path / CONFIG, write_toml({**self.settings, "inputs": self.paths}))
        return bool(names)

    def write_model(self, model: nn.Module) -> None:
        """Write the learned parameters, in place of an earlier epoch's."""
        publish_file(self.path / MODEL, safetensors.torch.save(_on_cpu(model.state_dict())))

    def write_optimizer(self, optimizer: torch.optim.Optimizer, model: nn.Module) -> None:
        """Write the optimiser's state as `parameter.quantity`."""
        state = {
            f"{name}.{quantity}": value
            for name, parameter in model.named_parameters()
            for quantity, value in optimizer.state[parameter].items()
        }
        publish_file(self.path / OPTIMIZER, safetensors.torch.save(_on_cpu(state)))

    def publish(self, facts: Mapping[str, Any]) -> Manifest:
        """Declare the run finished."""
        identity = {
            "config": _without_device(self.settings),
            "inputs": dict(self.fingerprints),
            "model": sha256_file(self.path / MODEL),
        }
        return seal(
            self.path, RUN, inputs=self.fingerprints, config=self.settings, facts=facts, identity=digest(identity)
        )

    def _names(self) -> list[str]:
        if self.path.exists() and not self.path.is_dir():
            raise RunError(f"{self.path}: expected a run or nothing, found a file; name another --out")
        return sorted(entry.name for entry in self.path.iterdir()) if self.path.exists() else []

    def _refuse_foreign(self) -> None:
        """Refuse anything but an unfinished attempt at this very run."""
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
        self._refuse_other("an unfinished run", settings, settings.pop("inputs", {}), self.paths)

    def _refuse_other(
        self, what: str, settings: Mapping[str, Any], inputs: Mapping[str, Any], our_inputs: Mapping[str, Any]
    ) -> None:
        """Refuse other settings or inputs; the device decides nothing but rounding."""
        differing = differences(
            {**_without_device(settings), **inputs}, {**_without_device(self.settings), **our_inputs}
        )
        if differing:
            raise RunError(
                f"{self.path}: holds {what} of other settings or inputs: {differing}; name another --out, or remove it"
            )


def _without_device(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if key != "device"}


def _is_leftover(name: str) -> bool:
    """Whether a kill in `publish_file` left this."""
    return name.startswith(".") and ".partial-" in name


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _on_cpu(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
