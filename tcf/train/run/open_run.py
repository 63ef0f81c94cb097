"""Opens a finished run for evaluation and recommendation: item vectors and user states."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import safetensors.torch
import torch
from torch import Tensor

from tcf.common.devices import resolve_device
from tcf.common.errors import ConfigError
from tcf.common.integrity.checksums import Verify
from tcf.common.integrity.verified_files import verify_files
from tcf.common.manifest import Manifest
from tcf.config.train import TrainConfig
from tcf.data.data_frames import data_frame
from tcf.data.dataset import Dataset, Histories
from tcf.data.histories import index_array
from tcf.ranking.metrics import VALIDATION_METRICS, named_as_validation
from tcf.train.inputs import Inputs
from tcf.train.model.build import outline_model
from tcf.train.model.recommender import Recommender
from tcf.train.run.file_names import EPOCHS, INPUTS, MODEL, RUN
from tcf.train.run.list_runs import read_epochs
from tcf.train.run.recorded_run import RecordedRun, read_run
from tcf.train.vectors.projection import Projection, projections_from

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Run", "checked_users", "open_run", "opened_run", "ordered_metadata"]

_METADATA = (
    "best_epoch",
    *(metric.name for metric in VALIDATION_METRICS),
    "trained_on",
    "selected_epoch",
    *(f"selection_{metric.validation_key}" for metric in VALIDATION_METRICS),
    "epochs",
    "parameters",
    "users",
    "users_left_out",
    "targets",
    "device",
    "threads",
)


@dataclass(frozen=True, repr=False, eq=False)
class Run:
    """A finished training run; its model is loaded when it is first needed.

    Attributes:
        path: the run's directory.
        manifest: what it was made from, and its best epoch.
        config: the resolved settings.
        inputs: the dataset and the caches that it was trained on; validation items of a refit are for training.
        projections: what was fitted to the caches, by role.
        device: where the model computes.
    """

    path: Path
    manifest: Manifest
    config: TrainConfig
    inputs: Inputs
    projections: Mapping[str, Projection]
    device: torch.device

    @property
    def dataset(self) -> Dataset:
        """Users, items and histories."""
        return self.inputs.dataset

    @property
    def metadata(self) -> dict[str, Any]:
        """The best epoch and its validation metrics as fractions, then counts and what it was trained on.

        For a refit, which validates nothing, the epoch and the metrics are those of the run that chose it
        (`selected_epoch`, `selection_validation_hr@10`, ...).
        """
        return named_as_validation(ordered_metadata(self.manifest.facts))

    @functools.cached_property
    def model(self) -> Recommender:
        """The best epoch's model, or a refit's, on its device.

        Raises:
            CacheError: an item has no vector, or one with a number that is not finite.
        """
        vectors = self.inputs.item_vectors(self.device, normalise=self.config.normalise, projections=self.projections)
        dataset = self.dataset
        model = outline_model(self.config, dataset.n_items, dataset.n_users, vectors)
        saved = safetensors.torch.load_file(self.path / MODEL, device=str(self.device))
        # Copies, because the file's tensors are not aligned as products expect them.
        model.load_state_dict({name: value.clone() for name, value in saved.items()}, assign=True)
        return model.eval()

    def item_vectors(self) -> npt.NDArray[np.float32]:
        """The vector of every item, (n_items, D); items of equal text have equal bits."""
        return np.asarray(self._vectors_ND.cpu().numpy())

    def user_states(
        self, users: npt.NDArray[np.int64], histories: Histories, advance: Callable[[int], object] | None = None
    ) -> npt.NDArray[np.float32]:
        """The states of users after their last item, (n_users, D); a score is the product with an item's vector.

        Args:
            users: their indices among all users of the dataset.
            histories: each user's items, oldest first, at least one; only as many of the latest as the model reads.
            advance: called with the number of users whose states have just been computed.

        Raises:
            ConfigError: an argument has another type, or there are not as many histories as users.
            DataError: a user has no item.
        """
        indices = checked_users(users, histories)
        return self.model.user_states(indices, histories, self._vectors_ND, advance)

    def to_pandas(self) -> "pd.DataFrame":
        """One row for each epoch: `epoch`, training `loss` and the validation metrics, as fractions.

        Raises:
            ConfigError: pandas is not installed.
            RunError: the log of epochs is missing or damaged.
        """
        verify_files(self.path, self.manifest, RUN, names=(EPOCHS,))
        epochs = map(named_as_validation, read_epochs(self.path / EPOCHS))
        return data_frame(pa.Table.from_pylist([*epochs]))

    def __repr__(self) -> str:
        """What it is, in a line."""
        facts, config = self.manifest.facts, self.config
        measured = [metric for metric in VALIDATION_METRICS if metric.name in facts]
        shown = ", ".join(f"{metric.validation_name} {metric.shown(facts[metric.name])}" for metric in measured)
        if config.refit:
            shown = f"refit on {facts['trained_on']} items for {facts['epochs']} epochs"
        return f"Run({str(self.path)!r}: {config.backbone}, items as {config.items}, {shown})"

    @functools.cached_property
    def _vectors_ND(self) -> Tensor:
        return self.model.item_vectors()


def checked_users(users: npt.NDArray[np.int64], histories: Histories) -> npt.NDArray[np.int64]:
    """Return the indices of users, after checking that they and their histories are what these should be.

    Raises:
        ConfigError: an argument has another type, or there are not as many histories as users.
    """
    if not isinstance(histories, Histories):
        raise ConfigError(f"histories: expected those of a dataset, found {type(histories).__name__}")
    indices = index_array(users, "users")
    if len(indices) != len(histories):
        raise ConfigError(f"users: expected one for each of {len(histories)} histories, found {len(indices)}")
    return indices


def open_run(
    path: Path,
    *,
    data: Path | None = None,
    caches: Sequence[Path] = (),
    device: str = "auto",
    verify: Verify = "once",
) -> Run:
    """Open a finished run.

    Args:
        path: the run's directory.
        data: where its dataset is now; the recorded place if None.
        caches: where its caches are now, in the order of training; the recorded places if empty.
        device: where to compute.
        verify: whether large files that this machine has verified are verified again.

    Raises:
        RunError: `path` is no finished run, it is damaged, an input is no longer at its recorded place, or dataset or
            caches are not those that it was trained on.
        TcfError: the dataset or a cache is missing or damaged.
    """
    recorded = read_run(path, data=data, caches=caches)
    recorded.verify_files(verify)
    inputs = Inputs.open(recorded.config.items, recorded.data, recorded.caches, verify)
    return opened_run(recorded, inputs.as_trained_on(recorded.config), device)


def opened_run(recorded: RecordedRun, inputs: Inputs, device: str = "auto") -> Run:
    """Return a run whose files have been verified, with its inputs.

    Args:
        recorded: what its directory says.
        inputs: what is at the places of its inputs, as it was trained on them.
        device: where to compute.

    Raises:
        RunError: dataset or caches are not those that it was trained on.
    """
    recorded.check(inputs)
    path, manifest = recorded.path, recorded.manifest
    projections = projections_from(path / INPUTS) if INPUTS in manifest.files else {}
    return Run(path, manifest, recorded.config, inputs, projections, resolve_device(device))


def ordered_metadata(facts: Mapping[str, Any]) -> dict[str, Any]:
    """A run's metadata in the order in which people read it: the best epoch and its metrics first."""
    known = [name for name in _METADATA if name in facts]
    return {name: facts[name] for name in (*known, *sorted({*facts} - {*known}))}
