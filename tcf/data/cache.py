"""The vector cache: all vectors of one encoder, found by what was read, whichever dataset asked first.

A row belongs to a unique token sequence. A dataset joins the cache through its texts: `datasets/` says which token
sequence each known text became, `shards/` which row each token sequence has. Nothing needs the language model.
"""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tcf.data.cache_files import (
    CACHE,
    JOIN,
    SHARD,
    KnownDataset,
    Vectors,
    known_dataset,
    load_keys,
    map_shard,
    published,
    remedy,
)
from tcf.data.dataset import Dataset
from tcf.data.keys import Keys, first_occurrences, locate, text_keys
from tcf.errors import CacheError
from tcf.files import MANIFEST
from tcf.manifest import Manifest, fingerprint_of, read_manifest, verify_files

__all__ = ["VectorCache"]


@dataclass(frozen=True)
class VectorCache:
    """A cache, read through memory maps; shards that appear later are seen by opening it again.

    Attributes:
        path: the cache's directory.
        manifest: the cache's own manifest; its fingerprint names the encoder and its options.
        shards: one memory map a shard, each (rows, width), in the order of the shards' names.
        starts: (n_shards + 1,) first row of each shard.
        keys: (n_rows, 2) the token sequence of each row.
        joins: (n_texts, 4) text key and sequence key of every known text, once a dataset.
        datasets: the datasets known to the cache.
    """

    path: Path
    manifest: Manifest
    shards: Sequence[Vectors]
    starts: npt.NDArray[np.int64]
    keys: Keys
    joins: npt.NDArray[np.uint64]
    datasets: Sequence[KnownDataset]

    @staticmethod
    def open(path: str | Path) -> "VectorCache":
        """Open a cache directory.

        Raises:
            CacheError: no cache is there, or a shard does not have the size that its manifest states.
        """
        path = Path(path)
        manifest = read_manifest(path, CACHE)
        if manifest.config["storage"] not in ("float16", "float32"):
            raise CacheError(
                f"{path / MANIFEST}: expected config.storage float16 or float32, found "
                f"{manifest.config['storage']!r}; {CACHE.remedy(path)}"
            )
        folders = published(path / "shards")
        shards = [map_shard(folder, manifest) for folder in folders]
        starts = np.cumsum([0, *(len(shard) for shard in shards)], dtype=np.int64)
        keys = [load_keys(folder / "keys.npy", 2, len(shard)) for folder, shard in zip(folders, shards, strict=True)]
        joined = [(known_dataset(folder), folder) for folder in published(path / "datasets")]
        # A dataset known from several places has the same texts in each.
        texts = {known.fingerprint: folder for known, folder in joined}
        return VectorCache(
            path=path,
            manifest=manifest,
            shards=shards,
            starts=starts,
            keys=np.concatenate([np.zeros((0, 2), np.uint64), *keys]),
            joins=np.concatenate(
                [np.zeros((0, 4), np.uint64), *(load_keys(f / "texts.npy", 4) for f in texts.values())]
            ),
            datasets=[known for known, _ in joined],
        )

    @property
    def width(self) -> int:
        """Numbers a vector."""
        return int(self.manifest.facts["width"])

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type that vectors are stored in."""
        return np.dtype(str(self.manifest.config["storage"]))

    @property
    def n_rows(self) -> int:
        """Vectors in the cache."""
        return int(self.starts[-1])

    @property
    def missing(self) -> int:
        """Token sequences of known texts that have no vector yet; `tcf extract` brings them."""
        sequences = self.joins[:, 2:]
        without = sequences[locate(sequences, self.keys) < 0]
        return len(first_occurrences(without))

    def locate_texts(self, texts: "pa.LargeStringArray") -> npt.NDArray[np.int64]:
        """The row of each text, (n,); -1 where the cache has no vector for it."""
        known = locate(text_keys(texts), self.joins[:, :2])
        rows = np.full(len(known), -1, np.int64)
        there = known >= 0
        rows[there] = locate(self.joins[known[there], 2:], self.keys)
        return rows

    def rows_for(self, dataset: Dataset) -> npt.NDArray[np.int64]:
        """The row of each item's vector, (n_items,).

        Raises:
            CacheError: some items' texts have no vector yet; says how many, and what to run.
        """
        rows = self.locate_texts(dataset.texts)
        missing = np.flatnonzero(rows < 0)
        if len(missing):
            first = dataset.item_ids[int(missing[0])].as_py()
            raise CacheError(
                f"{self.path}: expected a vector for each of the {dataset.n_items} items of {dataset.path}, found "
                f"{dataset.n_items - len(missing)} ({len(missing)} missing, the first is item {first}); run "
                f"`{self._command(dataset)}`"
            )
        return rows

    def _command(self, dataset: Dataset) -> str:
        """The command that brings a dataset's vectors into this cache, with the options that it was made with."""
        config = self.manifest.config
        options = {"data": dataset.path, "model": config["model"], "out": self.path, "pooling": config["pooling"]}
        options |= {"max-tokens": config["max_tokens"], "dtype": config["compute"], "storage": config["storage"]}
        return shlex.join(
            ["tcf", "extract", *(str(w) for name, value in options.items() for w in (f"--{name}", value))]
        )

    def gather(self, rows: npt.NDArray[np.int64]) -> Vectors:
        """Copy rows out of the memory maps, (n, width), in the order asked for.

        Raises:
            IndexError: a row is not in the cache.
        """
        if len(rows) and not (rows.min() >= 0 and rows.max() < self.n_rows):
            raise IndexError(f"{self.path}: rows {rows.min()}..{rows.max()} asked for, rows 0..{self.n_rows - 1} there")
        out = np.empty((len(rows), self.width), self.dtype)
        order = np.argsort(rows, kind="stable")
        ordered = rows[order]
        bounds = np.searchsorted(ordered, self.starts)
        for shard in np.flatnonzero(np.diff(bounds)).tolist():
            part = slice(bounds[shard], bounds[shard + 1])
            out[order[part]] = self.shards[shard][ordered[part] - self.starts[shard]]
        return out

    def vectors_for(self, dataset: Dataset) -> Vectors:
        """Every item's vector, in item order, (n_items, width), in the stored type.

        Raises:
            CacheError: some items' texts have no vector yet; says how many, and what to run.
        """
        return self.gather(self.rows_for(dataset))

    def only_dataset(self) -> Path:
        """Where the one dataset is that the cache knows and that is still as it was.

        Raises:
            CacheError: there is none, or there are several.
        """
        there = sorted({known.path for known in self.datasets if known.is_there})
        if len(there) == 1:
            return there[0]
        recorded = sorted({known.path for known in self.datasets})
        if there or not recorded:
            found = f"{len(there)} ({_listed(there)})"
        else:
            found = f"none where it was (moved or changed: {_listed(recorded)})"
        raise CacheError(f"{self.path}: expected one known dataset, found {found}; name the dataset with --data")

    def describe(self) -> dict[str, Any]:
        """What the cache holds, as JSON values."""
        return {
            "path": str(self.path),
            "fingerprint": self.manifest.fingerprint,
            "encoder": dict(self.manifest.config),
            "width": self.width,
            "vectors": self.n_rows,
            "shards": len(self.shards),
            "missing": self.missing,
            "bytes": self.n_rows * self.width * self.dtype.itemsize,
            "datasets": [_described(known) for known in self.datasets],
            "versions": dict(self.manifest.versions),
        }

    def verify(self) -> None:
        """Compare every byte with the manifests and check that every stored number is finite.

        Raises:
            CacheError: naming the first file that differs, or the shard with a non-finite vector.
        """
        settings = {key: value for key, value in self.manifest.config.items() if key != "model"}
        if self.manifest.fingerprint != fingerprint_of(CACHE, settings):
            raise CacheError(
                f"{self.path / MANIFEST}: its config does not match its fingerprint, so what these vectors are is not "
                "known; run `tcf extract` with another --out"
            )
        for folder in published(self.path / "datasets"):
            verify_files(folder, read_manifest(folder, JOIN), JOIN, remedy=remedy(folder))
        for folder in published(self.path / "shards"):
            verify_files(folder, read_manifest(folder, SHARD), SHARD, remedy=remedy(folder))
            if not np.isfinite(map_shard(folder, self.manifest)).all():
                raise CacheError(f"{folder / 'vectors.npy'}: holds a number that is not finite; {remedy(folder)}")


def _described(known: KnownDataset) -> dict[str, Any]:
    return {"path": str(known.path), "there": known.is_there, "fingerprint": known.fingerprint, **known.facts}


def _listed(paths: Sequence[Path]) -> str:
    return ", ".join(map(str, paths)) or "none"
