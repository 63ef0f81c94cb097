"""A finished run, opened for what comes after training: item vectors and user states."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import safetensors.torch
from torch import Tensor

from tcf.common.devices import resolve_device
from tcf.common.errors import RunError
from tcf.common.files import MANIFEST
from tcf.common.manifest import Manifest, differences, read_manifest, verify_files
from tcf.config.fields import from_mapping, read_toml
from tcf.config.train import TrainConfig
from tcf.data.dataset import Dataset, Histories
from tcf.train.inputs import Inputs
from tcf.train.model.build import build_model
from tcf.train.model.recommender import Recommender
from tcf.train.run.file_names import CONFIG, INPUTS, MODEL, RUN
from tcf.train.vectors.projection import projections_from

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

    def user_states(
        self, users: npt.NDArray[np.int64], histories: Histories, advance: Callable[[int], object] | None = None
    ) -> npt.NDArray[np.float32]:
        """The state of some users after the last item, (n_users, D); its product with an item's vector is the score.

        Args:
            users: their index among all users of the dataset.
            histories: each user's items, oldest first, at least one; the latest are read, as many as the model knows.
            advance: called with the number of users whose states have just been computed.

        Raises:
            DataError: a user has no item.
        """
        return self.model.user_states(users, histories, self._vectors_ND, advance)

    @functools.cached_property
    def _vectors_ND(self) -> Tensor:
        return self.model.item_vectors()


def open_run(path: Path, *, data: Path | None = None, caches: Sequence[Path] = (), device: str = "auto") -> Run:
    """Open a finished run.

    Args:
        path: the run's directory.
        data: where its dataset is now; None: where it was.
        caches: where its caches are now, in the order of training; none: where they were.
        device: where to compute.

    Raises:
        RunError: no finished run is there, it is damaged, or dataset or caches are not those that it was trained on.
        TcfError: the dataset or a cache is missing or damaged.
    """
    manifest = read_manifest(path, RUN)
    needed = (CONFIG, MODEL, *(name for name in (INPUTS,) if name in manifest.files))
    verify_files(path, replace(manifest, files={name: manifest.files[name] for name in needed}), RUN)
    config = from_mapping(TrainConfig, manifest.config, f"{path / 'manifest.json'}: config")
    where = _inputs_of(path, manifest)
    places = tuple(caches) or tuple(path / place for role, place in where.items() if role != "data")
    inputs = Inputs.open(config.items, path / where["data"] if data is None else data, places)
    _check_inputs(path, manifest, inputs)
    projections = projections_from(path / INPUTS) if INPUTS in needed else {}
    on = resolve_device(device)
    vectors = inputs.item_vectors(on, normalise=config.normalise, projections=projections)
    model = build_model(config, inputs.dataset.n_items, inputs.dataset.n_users, vectors, on)
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
    """Refuse other inputs, another number of caches, and another order of them."""
    for role, found in inputs.fingerprints.items():
        expected = manifest.inputs.get(role, "none")
        if found != expected:
            what, option = ("dataset", "--data") if role == "dataset" else ("cache", "--cache")
            raise RunError(
                f"{inputs.paths[role]}: expected the {what} that {path} was trained on (fingerprint {expected[:12]}), "
                f"found another ({found[:12]}); name the right one with {option}, or train anew"
            )
    missing = len(manifest.inputs) - len(inputs.fingerprints)
    if missing > 0:
        raise RunError(
            f"{path}: expected the {len(manifest.inputs) - 1} caches that it was trained on, found "
            f"{len(inputs.caches)}; name all of them with --cache, in the order of training"
        )
