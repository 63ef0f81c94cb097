"""The files of a vector cache: what lies where, and how each is opened and checked."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tcf.data.arrays import load_array, map_array
from tcf.data.dataset import DATASET
from tcf.errors import CacheError, DataError
from tcf.files import is_published
from tcf.manifest import Format, Manifest, read_manifest

__all__ = [
    "CACHE",
    "JOIN",
    "SHARD",
    "KnownDataset",
    "Vectors",
    "known_dataset",
    "load_keys",
    "map_shard",
    "published",
    "remedy",
]

_ENCODER = {f"config.{key}": str for key in ("model", "pooling", "compute", "storage")}
CACHE = Format(
    name="tcf-cache",
    version=1,
    error=CacheError,
    made_by="tcf extract",
    required={"facts.width": int, "config.max_tokens": int, **_ENCODER},
)
SHARD = Format(name="tcf-shard", version=1, error=CacheError, made_by="tcf extract", required={"facts.rows": int})
JOIN = Format(
    name="tcf-join",
    version=1,
    error=CacheError,
    made_by="tcf extract",
    required={"inputs.dataset": str, "config.path": str},
)

Vectors = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class KnownDataset:
    """A dataset whose texts were once extracted into a cache; one that has moved since is known from both places.

    Attributes:
        fingerprint: the dataset's.
        path: where it was at that time.
        facts: items, unique texts, unique token sequences, texts cut at the token limit.
    """

    fingerprint: str
    path: Path
    facts: Mapping[str, Any]

    @property
    def is_there(self) -> bool:
        """Whether this very dataset is still at its path."""
        try:
            return read_manifest(self.path, DATASET).fingerprint == self.fingerprint
        except DataError:
            return False


def published(parent: Path) -> list[Path]:
    """The complete directories below `parent`, by name."""
    if not parent.is_dir():
        return []
    return sorted(p for p in parent.iterdir() if not p.name.startswith(".") and is_published(p))


def map_shard(folder: Path, cache: Manifest) -> Vectors:
    """A memory map that keeps no file descriptor, so that the number of shards has no limit there."""
    file = folder / "vectors.npy"
    manifest = read_manifest(folder, SHARD)
    if manifest.inputs.get("cache") != cache.fingerprint:
        raise CacheError(f"{folder}: expected a shard of this cache, found one of another encoder; {remedy(folder)}")
    expected = (int(manifest.facts["rows"]), int(cache.facts["width"]))
    dtype = np.dtype(cache.config["storage"])
    vectors = map_array(file, CacheError, remedy(folder))
    if vectors.shape != expected or vectors.dtype != dtype:
        raise CacheError(
            f"{file}: expected {expected} {dtype}, found {vectors.shape} {vectors.dtype}; {remedy(folder)}"
        )
    return vectors


def load_keys(file: Path, columns: int, rows: int | None = None) -> npt.NDArray[np.uint64]:
    """A table of keys, (rows, columns) uint64; any number of rows if None."""
    table = load_array(file, CacheError, remedy(file.parent))
    expected = (len(table) if rows is None else rows, columns)
    if table.dtype != np.uint64 or table.shape != expected:
        raise CacheError(
            f"{file}: expected {expected} uint64, found {table.shape} {table.dtype}; {remedy(file.parent)}"
        )
    return table


def known_dataset(folder: Path) -> KnownDataset:
    """The dataset that a join was made for."""
    manifest = read_manifest(folder, JOIN)
    return KnownDataset(manifest.inputs["dataset"], Path(manifest.config["path"]), manifest.facts)


def remedy(folder: Path) -> str:
    """What to do about a damaged part of a cache."""
    return f"remove {folder} and run `tcf extract` again"
