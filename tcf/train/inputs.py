"""What a run is made from: a dataset and, for items as text, a vector cache."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from tcf.data.cache import VectorCache
from tcf.data.dataset import Dataset, open_dataset
from tcf.errors import ConfigError
from tcf.train.vectors import ItemVectors, load_item_vectors

__all__ = ["Inputs"]


@dataclass(frozen=True)
class Inputs:
    """The opened inputs of a run.

    Attributes:
        dataset: users, items and histories.
        cache: the items' vectors; None for items as ids.
    """

    dataset: Dataset
    cache: VectorCache | None

    @staticmethod
    def open(items: Literal["text", "id"], data: Path, cache: Path | None) -> "Inputs":
        """Open them.

        Args:
            items: how the model sees items.
            data: a dataset directory.
            cache: a cache directory; needed for text, refused for ids.

        Raises:
            ConfigError: a cache is missing, or is given although ids need none.
            TcfError: the dataset or the cache is missing or damaged.
        """
        match items:
            case "text" if cache is None:
                raise ConfigError("--items text: expected a vector cache, found none; add --cache")
            case "id" if cache is not None:
                raise ConfigError(f"--items id: expected no cache, because ids need none, found {cache}; drop --cache")
        return Inputs(open_dataset(data), None if cache is None else VectorCache.open(cache))

    @property
    def fingerprints(self) -> dict[str, str]:
        """The inputs' fingerprints by role; a cache's names its encoder."""
        found = {"dataset": self.dataset.fingerprint}
        if self.cache is not None:
            found["cache"] = self.cache.manifest.fingerprint
        return found

    def paths_from(self, folder: Path) -> dict[str, str]:
        """Where the inputs lie, as seen from a folder, by role."""
        found = {"data": self.dataset.path} | ({} if self.cache is None else {"cache": self.cache.path})
        return {role: os.path.relpath(path.resolve(), folder.resolve()) for role, path in found.items()}

    def item_vectors(self, device: torch.device) -> ItemVectors | None:
        """The items' cached vectors; None for items as ids.

        Raises:
            CacheError: an item has no vector, or one with a number that is not finite.
        """
        return None if self.cache is None else load_item_vectors(self.cache, self.dataset, device)
