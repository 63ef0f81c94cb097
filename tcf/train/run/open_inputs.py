"""Inputs that stay open from one run to the next, so that many runs of a dataset read it and their caches once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch

from tcf.common.integrity.checksums import Verify
from tcf.common.output.folders import real_path
from tcf.data.cache.caches import VectorCache
from tcf.data.dataset import Dataset, open_dataset
from tcf.train.inputs import Inputs, check_number
from tcf.train.run.open_run import Run, opened_run
from tcf.train.run.recorded_run import RecordedRun
from tcf.train.vectors.item_vectors import ItemVectors
from tcf.train.vectors.projection import Projection, Transform

__all__ = ["OpenInputs"]

_Places = tuple[Path, tuple[Path, ...], bool]


@dataclass
class OpenInputs:
    """The dataset and the caches of the run that was opened last, and the item vectors that were read of them.

    Those of one dataset are open at a time: before another one is opened, everything of the last is let go.

    Attributes:
        verify: whether large files that this machine has verified are verified again.
    """

    verify: Verify = "once"
    _dataset: tuple[Path, Dataset] | None = None
    _caches: dict[Path, VectorCache] = field(default_factory=dict)
    _inputs: tuple[_Places, Inputs] | None = None

    def has(self, path: Path) -> bool:
        """Whether the dataset of a directory is open."""
        return self._dataset is not None and self._dataset[0] == real_path(path)

    def dataset(self, path: Path) -> Dataset:
        """Return the dataset of a directory.

        Raises:
            DataError: it is missing or damaged.
        """
        if self._dataset is None or not self.has(path):
            self._dataset = self._inputs = None
            self._caches.clear()
            self._dataset = real_path(path), open_dataset(path, verify=self.verify)
        return self._dataset[1]

    def run(self, recorded: RecordedRun, device: str = "auto") -> Run:
        """Open a run with these inputs, as `open_run` does.

        Raises:
            ConfigError: there is a cache for items as ids.
            RunError: it is damaged, or dataset or caches are not those that it was trained on.
            TcfError: the dataset or a cache is missing or damaged.
        """
        recorded.verify_files(self.verify)
        return opened_run(recorded, self._inputs_of(recorded), device)

    def _inputs_of(self, recorded: RecordedRun) -> Inputs:
        """What is at the places of a run's inputs, as it is trained on them; the last run's, if they are the same."""
        check_number(recorded.config.items, recorded.caches)
        dataset = self.dataset(recorded.data)
        places = real_path(recorded.data), tuple(map(real_path, recorded.caches)), recorded.config.refit
        if self._inputs is None or self._inputs[0] != places:
            self._inputs = None
            shared = _SharedInputs(dataset, tuple(map(self._cache, recorded.caches)))
            self._inputs = places, shared.as_trained_on(recorded.config)
        return self._inputs[1]

    def _cache(self, path: Path) -> VectorCache:
        place = real_path(path)
        if place not in self._caches:
            self._caches[place] = VectorCache.open(path, verify=self.verify)
        return self._caches[place]


@dataclass(frozen=True)
class _SharedInputs(Inputs):
    """Inputs that keep the item vectors that were read last, for the next run that transforms them alike.

    Attributes:
        kept: the vectors, if any were read.
    """

    kept: list[ItemVectors] = field(default_factory=list)

    def item_vectors(
        self,
        device: torch.device,
        *,
        normalise: bool = False,
        projections: Mapping[str, Projection] | None = None,
        table: Literal["auto", "device", "cache"] = "auto",
    ) -> ItemVectors | None:
        """See `Inputs.item_vectors`."""
        transforms = self.transforms(normalise, projections or {})
        if not (self.kept and self.kept[0].device == device and _are_equal(self.kept[0].transforms, transforms)):
            self.kept.clear()
            read = super().item_vectors(device, normalise=normalise, projections=projections, table=table)
            self.kept.extend([] if read is None else [read])
        return self.kept[0] if self.kept else None


def _are_equal(found: Sequence[Transform], wanted: Sequence[Transform]) -> bool:
    """Whether transforms give the same numbers."""
    return all(map(_is_equal, found, wanted))


def _is_equal(found: Transform, wanted: Transform) -> bool:
    one, other = found.projection, wanted.projection
    if found.normalise != wanted.normalise or one is None or other is None:
        return found.normalise == wanted.normalise and one is other
    return one.equals(other)
