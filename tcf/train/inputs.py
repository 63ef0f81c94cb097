"""The inputs of a run: a dataset and, for items as text or ids that start from texts, vector caches."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tcf.common.errors import ConfigError
from tcf.common.integrity.checksums import Verify
from tcf.common.output.folders import real_path
from tcf.config.train import TrainConfig
from tcf.data.cache.caches import VectorCache
from tcf.data.dataset import Dataset, open_dataset
from tcf.train.vectors.cache_rows import ItemSources
from tcf.train.vectors.first_ids import first_ids
from tcf.train.vectors.fit_projection import fit_projections
from tcf.train.vectors.item_vectors import ItemVectors, load_item_vectors
from tcf.train.vectors.projection import Projection, Transform

__all__ = ["INIT_FROM", "Inputs", "check_number"]

INIT_FROM = "init_from"
"""Role of the cache that ids start from: an input of a training, which its finished run does not read."""

_MIB = 2**20


@dataclass(frozen=True)
class Inputs:
    """The opened inputs of a run.

    Attributes:
        dataset: users, items and histories.
        caches: the items' vectors, concatenated in this order; empty for items as ids.
        init_from: the vectors that ids start from; None for ids that start at random, and for a finished run.
    """

    dataset: Dataset
    caches: tuple[VectorCache, ...]
    init_from: VectorCache | None = None

    @staticmethod
    def open(
        items: Literal["text", "id", "text+id"], data: Path, caches: Sequence[Path], verify: Verify = "once"
    ) -> "Inputs":
        """Open the inputs of a finished run, or of a training whose ids do not start from texts.

        Args:
            items: how the model represents items.
            data: a dataset directory.
            caches: cache directories; at least one for text, none for ids.
            verify: whether large files that this machine has verified are verified again.

        Raises:
            ConfigError: no cache is given, a cache is given twice, or one is given for items as ids.
            TcfError: the dataset or a cache is missing or damaged.
        """
        check_number(items, caches)
        dataset = open_dataset(data, verify=verify)
        opened = tuple(VectorCache.open(path, verify=verify) for path in caches)
        _refuse_repeated(opened)
        return Inputs(dataset, opened)

    @staticmethod
    def of_training(config: TrainConfig, data: Path, caches: Sequence[Path]) -> "Inputs":
        """Open the inputs of a training.

        Args:
            config: `items`, `id_init` and `verify`.
            data: a dataset directory.
            caches: cache directories: those of items as text; or the one that ids start from.

        Raises:
            ConfigError: see `open`; or ids start from texts, and not one cache is given.
            TcfError: the dataset or a cache is missing or damaged.
        """
        if config.id_init != "text":
            return Inputs.open(config.items, data, caches, config.verify)
        if len(caches) != 1:
            found = " and ".join(map(str, caches)) or "none"
            raise ConfigError(
                f"--id-init text: expected one vector cache for ids to start from, found {found}; name it with "
                "--init-from"
            )
        opened = Inputs.open(config.items, data, (), config.verify)
        return dataclasses.replace(opened, init_from=VectorCache.open(caches[0], verify=config.verify))

    def as_trained_on(self, config: TrainConfig) -> "Inputs":
        """Return the inputs as a run with these settings is trained on them: a refit learns validation items as well.

        The fingerprints are those of the directories all the same.
        """
        if not config.refit:
            return self
        return dataclasses.replace(self, dataset=self.dataset.with_validation_in_training())

    @property
    def cache_roles(self) -> list[str]:
        """Names of the caches in files: cache, cache.2, cache.3, ..."""
        return ["cache" if place == 0 else f"cache.{place + 1}" for place in range(len(self.caches))]

    @property
    def fingerprints(self) -> dict[str, str]:
        """The inputs' fingerprints by role; a cache's fingerprint identifies its encoder."""
        return {
            "dataset": self.dataset.fingerprint,
            **{role: cache.manifest.fingerprint for role, cache in self._caches_by_role.items()},
        }

    @property
    def paths(self) -> dict[str, Path]:
        """The inputs' paths, by role."""
        return {"dataset": self.dataset.path, **{role: cache.path for role, cache in self._caches_by_role.items()}}

    def paths_from(self, folder: Path) -> dict[str, str]:
        """The inputs' paths relative to a folder: the dataset as `data`, caches by role."""
        found = {"data" if role == "dataset" else role: path for role, path in self.paths.items()}
        return {role: os.path.relpath(real_path(path), real_path(folder)) for role, path in found.items()}

    def fit(self, config: TrainConfig, items: npt.NDArray[np.int64], device: torch.device) -> Mapping[str, Projection]:
        """Fit the requested projections of the cached vectors.

        Args:
            config: `whiten`, `pca`.
            items: the items that occur in training.
            device: where to compute the sums.

        Returns:
            One projection per cache, by role; empty if none is requested.

        Raises:
            CacheError: an item has no vector, or one with a number that is not finite.
            ConfigError: more dimensions are requested than exist.
        """
        if not self.caches:
            return {}
        fitted = zip(self.cache_roles, fit_projections(self._found, items, config, device), strict=True)
        return {role: projection for role, projection in fitted if projection is not None}

    def item_vectors(
        self,
        device: torch.device,
        *,
        normalise: bool = False,
        projections: Mapping[str, Projection] | None = None,
        table: Literal["auto", "device", "cache"] = "auto",
    ) -> ItemVectors | None:
        """The items' cached vectors as model input; None for items as ids.

        Args:
            device: where the model computes.
            normalise: scale each cache's vectors to length 1.
            projections: the projections fitted to the caches, by role.
            table: where to keep the vectors.

        Raises:
            CacheError: an item has no vector, or one with a number that is not finite.
            ConfigError: `table` is device, and they are larger than its memory.
        """
        if not self.caches:
            return None
        transforms = self.transforms(normalise, {} if projections is None else projections)
        return load_item_vectors(self._found, device, transforms=transforms, table=table)

    def transforms(self, normalise: bool, projections: Mapping[str, Projection]) -> list[Transform]:
        """The transform of each cache's vectors."""
        return [Transform(projections.get(role), normalise) for role in self.cache_roles]

    def training_vectors(
        self, config: TrainConfig, projections: Mapping[str, Projection], device: torch.device
    ) -> ItemVectors | None:
        """The items' cached vectors for training, placed as the settings say.

        Raises:
            CacheError: see `item_vectors`.
            ConfigError: the loss reads every vector in each step, and they are too large for the device.
        """
        vectors = self.item_vectors(device, normalise=config.normalise, projections=projections, table=config.table)
        if config.loss_info.reads_catalogue and vectors is not None and not vectors.on_device:
            others = " or ".join(config.loss_info.instead)
            raise ConfigError(
                f"--loss {config.loss}: expected cached vectors that fit on {device}, because each step reads all of "
                f"them, found {vectors.size // _MIB} MiB; use --loss {others}, --whiten or --pca to fewer dimensions, "
                "or --table device if you know that they fit"
            )
        return vectors

    def first_ids(self, config: TrainConfig, items: npt.NDArray[np.int64], device: torch.device) -> Tensor | None:
        """The first numbers of every item's id, (N, K), from the vectors of `init_from`; None for random ones.

        Args:
            config: `id_init`, `width`.
            items: the items that occur in training.
            device: where to compute.

        Raises:
            CacheError: an item has no vector, or one with a number that is not finite.
            ConfigError: the vectors of the training items do not differ.
        """
        if config.id_init != "text":
            return None
        if self.init_from is None:
            raise ValueError("ids that start from texts expect the inputs of a training")
        return first_ids(ItemSources.find([self.init_from], self.dataset), items, config.width, device)

    @property
    def _caches_by_role(self) -> dict[str, VectorCache]:
        """All caches by their names in files."""
        by_role = dict(zip(self.cache_roles, self.caches, strict=True))
        return by_role if self.init_from is None else {**by_role, INIT_FROM: self.init_from}

    @cached_property
    def _found(self) -> ItemSources:
        return ItemSources.find(self.caches, self.dataset)


def check_number(items: Literal["text", "id", "text+id"], caches: Sequence[Path]) -> None:
    """Refuse items as text without a cache, and items as ids with one.

    Raises:
        ConfigError: see above.
    """
    match items:
        case "text" | "text+id" if not caches:
            raise ConfigError(f"--items {items}: expected a vector cache, found none; add --cache")
        case "id" if caches:
            raise ConfigError(
                f"--items id: expected no cache, because ids need none, found {caches[0]}; leave out --cache"
            )


def _refuse_repeated(caches: Sequence[VectorCache]) -> None:
    """Refuse the same encoder's vectors twice, which add no information."""
    first: dict[str, Path] = {}
    for cache in caches:
        other = first.setdefault(cache.manifest.fingerprint, cache.path)
        if other is not cache.path:
            raise ConfigError(
                f"--cache: expected caches of different encoders or layers, found {other} and {cache.path}, which hold "
                "the same vectors; leave one out"
            )
