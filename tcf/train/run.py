"""A finished run, opened for what comes after training: item vectors and user states."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import safetensors.torch
from torch import Tensor

from tcf.config import TrainConfig
from tcf.data.dataset import Dataset, Histories
from tcf.errors import RunError
from tcf.files import MANIFEST
from tcf.manifest import Manifest, differences, read_manifest, verify_files
from tcf.models.device import resolve_device
from tcf.settings_fields import from_mapping, read_toml
from tcf.train.folder import CONFIG, MODEL, RUN
from tcf.train.inputs import Inputs
from tcf.train.model import Recommender, build_model

__all__ = ["Run", "open_run"]


@dataclass(frozen=True)
class Run:
    """A trained model together with the dataset that it was trained on.

    Attributes:
        path: the run's directory.
        manifest: what it was made from, and its best epoch.
        config: the resolved settings.
        dataset: users, items and histories.
        model: the best epoch's model, on its device.
    """

    path: Path
    manifest: Manifest
    config: TrainConfig
    dataset: Dataset
    model: Recommender

    def item_vectors(self) -> npt.NDArray[np.float32]:
        """The vector of every item, (n_items, D); items of equal text have equal bits."""
        return np.asarray(self._vectors_ND.cpu().numpy())

    def user_states(self, histories: Histories) -> npt.NDArray[np.float32]:
        """The state of every user after the last item, (n_users, D); its product with an item's vector is the score.

        Args:
            histories: each user's items, oldest first, at least one; the latest are read, as many as the model knows.

        Raises:
            DataError: a user has no item.
        """
        return self.model.user_states(histories, self._vectors_ND)

    @functools.cached_property
    def _vectors_ND(self) -> Tensor:
        return self.model.item_vectors()


def open_run(path: Path, *, data: Path | None = None, cache: Path | None = None, device: str = "auto") -> Run:
    """Open a finished run.

    Args:
        path: the run's directory.
        data: where its dataset is now; None: where it was.
        cache: where its cache is now; None: where it was.
        device: where to compute.

    Raises:
        RunError: no finished run is there, it is damaged, or dataset or cache are not those that it was trained on.
        TcfError: the dataset or the cache is missing or damaged.
    """
    manifest = read_manifest(path, RUN)
    verify_files(path, replace(manifest, files={n: manifest.files[n] for n in (CONFIG, MODEL)}), RUN)
    config = from_mapping(TrainConfig, manifest.config, f"{path / 'manifest.json'}: config")
    where = _inputs_of(path, manifest)
    if cache is None and config.items == "text":
        cache = path / where["cache"]
    inputs = Inputs.open(config.items, path / where["data"] if data is None else data, cache)
    _check_inputs(path, manifest, inputs)
    on = resolve_device(device)
    model = build_model(config, inputs.dataset.n_items, inputs.item_vectors(on), on)
    model.load_state_dict(safetensors.torch.load_file(path / MODEL, device=str(on)))
    return Run(path, manifest, config, inputs.dataset, model.eval())


def _inputs_of(path: Path, manifest: Manifest) -> Mapping[str, str]:
    """Where the inputs were, from `config.toml`, which has been verified and must say what the manifest says."""
    settings = read_toml(path / CONFIG)
    where: Mapping[str, str] = settings.pop("inputs", {})
    differing = differences(manifest.config, settings)
    if differing:
        raise RunError(f"{path / MANIFEST}: config differs from {path / CONFIG}: {differing}; {RUN.remedy(path)}")
    return where


def _check_inputs(path: Path, manifest: Manifest, inputs: Inputs) -> None:
    places = {"dataset": inputs.dataset.path} | ({} if inputs.cache is None else {"cache": inputs.cache.path})
    for role, found in inputs.fingerprints.items():
        expected = manifest.inputs.get(role, "none")
        if found != expected:
            option = {"dataset": "--data", "cache": "--cache"}[role]
            raise RunError(
                f"{places[role]}: expected the {role} that {path} was trained on (fingerprint {expected[:12]}), found "
                f"another ({found[:12]}); name the right one with {option}, or train anew"
            )
