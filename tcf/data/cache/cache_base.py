"""The base of both kinds of cache: shards, text maps, and the lookup of a text's row.

A row belongs to a unique token sequence. Datasets find their rows through their texts: `datasets/` maps each known text
to its token sequence, `shards/` each token sequence to its row. The language model is not needed for this.
"""

import os
import shlex
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tcf.assets.models import model_label
from tcf.common.errors import CacheError, ConfigError
from tcf.common.integrity.checksums import Verify
from tcf.common.manifest import Manifest
from tcf.data.cache.cache_files import (
    Kind,
    KnownDataset,
    known_dataset,
    load_keys,
    load_texts,
    published,
    read_cache_manifest,
    read_shard_manifest,
)
from tcf.data.cache.shard_checks import ShardChecks
from tcf.data.cache.verify import VerifiedCache, verify_cache
from tcf.data.dataset import Dataset, open_dataset
from tcf.data.histories import index_array
from tcf.data.keys import Keys, first_occurrences, locate, text_keys

__all__ = ["CacheBase", "RowIndices", "opened"]

RowIndices = npt.NDArray[np.int64]
Shard = TypeVar("Shard")


@dataclass(frozen=True, repr=False, eq=False)
class CacheBase(ABC, Generic[Shard]):
    """A cache, read through memory maps; shards published later are seen after opening it again.

    Attributes:
        kind: the kind of cache.
        path: the cache directory.
        manifest: the manifest of the cache; its fingerprint identifies the encoder and its options.
        folders: the directories of the shards, in the order of their names.
        shards: the memory-mapped content of the shards.
        starts: (n_shards + 1,) first row of each shard.
        manifests: their manifests.
        checks: which of them have been verified.
        verification: whether large files that this machine has verified are verified again.
        text_map_folders: the directories of the text maps, in the order of their names.
        datasets: the dataset of each text map.
    """

    kind: ClassVar[Kind]
    path: Path
    manifest: Manifest
    folders: Sequence[Path]
    manifests: Sequence[Manifest]
    checks: ShardChecks
    verification: Verify
    shards: Sequence[Shard]
    starts: RowIndices
    text_map_folders: Sequence[Path]
    datasets: Sequence[KnownDataset]

    @classmethod
    def open(cls, path: str | Path, *, verify: Verify = "once") -> Self:
        """Open a cache directory; a shard is verified when one of its rows is first read.

        Args:
            path: the directory.
            verify: whether large files that this machine has verified are verified again.

        Raises:
            CacheError: there is no cache of this kind, or a shard does not have the size in its manifest.
        """
        path = Path(path)
        manifest = read_cache_manifest(path, cls.kind)
        folders = published(path / "shards")
        manifests = [read_shard_manifest(folder, cls.kind, manifest) for folder in folders]
        text_map_folders = published(path / "datasets")
        return cls(
            path=path,
            manifest=manifest,
            folders=folders,
            manifests=manifests,
            checks=ShardChecks(folders, manifests, cls.kind, verify),
            verification=verify,
            shards=[cls._map(folder, own, manifest) for folder, own in zip(folders, manifests, strict=True)],
            starts=np.cumsum([0, *(int(own.facts["rows"]) for own in manifests)], dtype=np.int64),
            text_map_folders=text_map_folders,
            datasets=[known_dataset(folder) for folder in text_map_folders],
        )

    @staticmethod
    @abstractmethod
    def _map(folder: Path, shard: Manifest, cache: Manifest) -> Shard:
        """Memory-map the content of a shard and check its size."""

    @abstractmethod
    def row_bytes(self, rows: RowIndices) -> RowIndices:
        """Return the size of each row in bytes, (n,)."""

    @abstractmethod
    def arrays(self, rows: RowIndices) -> Mapping[str, npt.NDArray[Any]]:
        """Return the content of a shard made of these rows, by file name, without its keys."""

    @cached_property
    def keys(self) -> Keys:
        """The token sequence of each row, (n_rows, 2)."""
        shards = zip(self.folders, self.manifests, strict=True)
        tables = [load_keys(folder, manifest, self.kind, self.verification) for folder, manifest in shards]
        return np.concatenate([np.zeros((0, 2), np.uint64), *tables])

    @cached_property
    def text_maps(self) -> npt.NDArray[np.uint64]:
        """Text key and sequence key of every known text, once for each dataset, (n_texts, 4)."""
        # A dataset recorded at several paths has the same texts at each.
        texts = {known.fingerprint: folder for known, folder in zip(self.datasets, self.text_map_folders, strict=True)}
        tables = [load_texts(folder, self.verification) for folder in texts.values()]
        return np.concatenate([np.zeros((0, 4), np.uint64), *tables])

    @property
    def width(self) -> int:
        """Numbers in a vector."""
        return int(self.manifest.facts["width"])

    @property
    def storage(self) -> str:
        """Name of the storage type of the numbers."""
        return str(self.manifest.config["storage"])

    @property
    def n_rows(self) -> int:
        """Number of rows, which is the number of token sequences in the cache."""
        return int(self.starts[-1])

    @property
    def missing(self) -> int:
        """Number of token sequences of known texts that have no row yet; `tcf extract` adds them."""
        sequences = self.text_maps[:, 2:]
        without = sequences[locate(sequences, self.keys) < 0]
        return len(first_occurrences(without))

    def sequences_of(self, texts: Keys) -> tuple[Keys, npt.NDArray[np.bool_]]:
        """Return the token sequence of each text, (n, 2), zeros if unknown; and whether it is known, (n,)."""
        places = locate(texts, self.text_maps[:, :2])
        known = places >= 0
        sequences = np.zeros((len(texts), 2), np.uint64)
        sequences[known] = self.text_maps[places[known], 2:]
        return sequences, known

    def locate_keys(self, texts: Keys) -> RowIndices:
        """Return the row of each text, given by its key, (n,); -1 if the cache has none."""
        sequences, known = self.sequences_of(texts)
        rows = np.full(len(texts), -1, np.int64)
        rows[known] = locate(sequences[known], self.keys)
        return rows

    def locate_texts(self, texts: "pa.LargeStringArray") -> RowIndices:
        """Return the row of each text, (n,); -1 if the cache has none."""
        return self.locate_keys(text_keys(texts))

    def rows_for(self, dataset: Dataset | str | os.PathLike[str]) -> RowIndices:
        """Return the row of each item's text, (n_items,).

        Args:
            dataset: the dataset, or its directory.

        Raises:
            ConfigError: it is neither.
            CacheError: the texts of some items have no row yet; states how many, and the command to run.
        """
        dataset = opened(dataset)
        rows = self.locate_texts(dataset.texts)
        missing = np.flatnonzero(rows < 0)
        if len(missing):
            first = dataset.item_ids[int(missing[0])].as_py()
            raise CacheError(
                f"{self.path}: expected {self.kind.words} for each of the {dataset.n_items} items of {dataset.path}, "
                f"found {dataset.n_items - len(missing)} ({len(missing)} missing, the first is item {first}); run "
                f"`{self._command(dataset)}`"
            )
        return rows

    def _command(self, dataset: Dataset) -> str:
        """Return the command that extracts a dataset into this cache, with the options of the cache."""
        config = self.manifest.config
        words = ["tcf", "extract", "--data", dataset.path, "--model", config["model"], "--out", self.path]
        for key, option in self.kind.options.items():
            match config.get(key):
                case None | False | "":
                    continue
                case str(poolings) if key == "pooling" and "," in poolings:
                    continue  # those of the model's folder, which are the default
                case True:
                    words.append(option)
                case value:
                    words += [option, value]
        return shlex.join(map(str, words))

    def shards_of(self, rows: RowIndices) -> list[int]:
        """Return the numbers of the shards that hold these rows, ascending."""
        found: list[int] = np.unique(np.searchsorted(self.starts, rows, side="right") - 1).tolist()
        return found

    def verify_rows(self, rows: RowIndices) -> None:
        """Verify the shards of these rows, several at a time; faster than one after the other while they are read.

        Raises:
            CacheError: a shard has changed; names it.
        """
        self.checks.check(self.shards_of(rows))

    def by_shard(self, rows: RowIndices) -> Iterator[tuple[Shard, RowIndices, RowIndices]]:
        """Iterate over rows one shard at a time.

        Args:
            rows: rows of the cache, (n,), in any order.

        Yields:
            A shard, rows within it, and their positions in `rows`.

        Raises:
            ConfigError: `rows` is not an array of whole numbers.
            IndexError: a row is not in the cache.
            CacheError: a shard has changed; names it.
        """
        rows = index_array(rows, "rows")
        if len(rows) and not (rows.min() >= 0 and rows.max() < self.n_rows):
            raise IndexError(f"{self.path}: expected rows 0..{self.n_rows - 1}, found {rows.min()}..{rows.max()}")
        order = np.argsort(rows, kind="stable")
        ordered = rows[order]
        bounds = np.searchsorted(ordered, self.starts)
        shards = np.flatnonzero(np.diff(bounds)).tolist()
        self.checks.check(shards)
        for shard in shards:
            part = slice(bounds[shard], bounds[shard + 1])
            yield self.shards[shard], ordered[part] - self.starts[shard], order[part]

    def only_dataset(self) -> Path:
        """Return the path of the only dataset that the cache knows and that is still where it was recorded.

        Raises:
            CacheError: there is none, or there are several.
        """
        there = sorted({known.path for known in self.datasets if known.is_there})
        if len(there) == 1:
            return there[0]
        if there or not self.datasets:
            found = f"{len(there)} ({_listed(there)})" if there else "none"
            raise CacheError(f"{self.path}: expected one known dataset, found {found}; name the dataset with --data")
        now = {known.path: known.found_there for known in self.datasets}
        raise CacheError(
            f"{self.path}: expected its dataset where it was recorded, found "
            f"{', '.join(f'{found} at {path}' for path, found in sorted(now.items()))}; if the dataset was moved or "
            "renamed, name its new path with --data"
        )

    def describe(self) -> dict[str, Any]:
        """Return what the cache holds, as JSON values."""
        return {
            "path": str(self.path),
            "kind": self.kind.words,
            "model": model_label(str(self.manifest.config.get("model"))),
            "fingerprint": self.manifest.fingerprint,
            "encoder": dict(self.manifest.config),
            "width": self.width,
            **self._counts(),
            "shards": len(self.shards),
            "missing": self.missing,
            "datasets": [_described(known) for known in self.datasets],
            "versions": dict(self.manifest.versions),
        }

    @abstractmethod
    def _counts(self) -> dict[str, int]:
        """Return the size of the content, for `describe`."""

    def __repr__(self) -> str:
        """What it is, in a line."""
        model = model_label(str(self.manifest.config.get("model")))
        holds = f"{self.n_rows} rows of {self.kind.words}, width {self.width}, {self.storage}"
        return f"{type(self).__name__}({str(self.path)!r}: {holds}, by {model})"

    def verify(self) -> VerifiedCache:
        """Compare every byte with the manifests and check that every stored number is finite.

        Raises:
            CacheError: a file differs, or a shard has a number that is not finite; names the first one.
        """
        return verify_cache(self.path, self.kind)


def _described(known: KnownDataset) -> dict[str, Any]:
    return {"path": str(known.path), "exists": known.is_there, "fingerprint": known.fingerprint, **known.metadata}


def _listed(paths: Sequence[Path]) -> str:
    return ", ".join(map(str, paths))


def opened(dataset: Dataset | str | os.PathLike[str]) -> Dataset:
    """Return a dataset, after opening it if only its directory is given.

    Raises:
        ConfigError: it is neither.
        DataError: there is no dataset at the path.
    """
    if isinstance(dataset, str | os.PathLike):
        return open_dataset(Path(dataset).expanduser())
    if not isinstance(dataset, Dataset):
        raise ConfigError(f"dataset: expected a dataset or its directory, found {type(dataset).__name__}")
    return dataset
