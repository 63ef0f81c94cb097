"""The files of a cache: their layout, and functions that open and check them.

There are two kinds of cache: vectors and token states. Both consist of shards, and of text maps, which map each text of
a dataset to its token sequence. They differ only in what a shard holds besides its keys.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tcf.common.errors import CacheError, DataError
from tcf.common.files import MANIFEST, is_published
from tcf.common.integrity.checksums import Verify
from tcf.common.integrity.verified_files import verified_source
from tcf.common.manifest import Format, Manifest, read_manifest, stated_format
from tcf.config.extract import REPAIR
from tcf.data.dataset import DATASET
from tcf.data.npy_files import load_array, map_array, shape_words

__all__ = [
    "CACHE",
    "KINDS",
    "SHARD",
    "TEXT_MAP",
    "TOKEN_STATES",
    "VECTORS",
    "Kind",
    "KnownDataset",
    "Vectors",
    "kind_of",
    "known_dataset",
    "load_keys",
    "load_texts",
    "map_part",
    "parts",
    "published",
    "read_cache_manifest",
    "read_shard_manifest",
    "read_text_map",
    "remedy",
    "unknown_origin",
]

_ENCODER = {f"config.{key}": str for key in ("model", "compute", "storage")}
_SIZES = {"facts.width": int, "config.max_tokens": int}


def _format(name: str, required: Mapping[str, type]) -> Format:
    return Format(name=name, version=1, error=CacheError, made_by="tcf extract", required=required)


CACHE = _format("tcf-cache", {**_SIZES, "config.pooling": str, **_ENCODER})
SHARD = _format("tcf-shard", {"facts.rows": int})
TEXT_MAP = _format("tcf-join", {"inputs.dataset": str, "config.path": str})

_NAME = re.compile("[0-9a-f]{32}")  # digests, in hexadecimal
Vectors = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Kind:
    """A kind of cache.

    Attributes:
        words: what it holds, in words.
        cache: format of the cache.
        shard: format of its shards.
        storages: permitted storage types of its numbers.
        options: options of `tcf extract`, by the entries of the cache's config that record them.
        numbers: the file of a shard with its numbers.
    """

    words: str
    cache: Format
    shard: Format
    storages: tuple[str, ...]
    options: Mapping[str, str]
    numbers: str


_OPTIONS = {
    "pooling": "--pooling",
    "prefix": "--prefix",
    "max_tokens": "--max-tokens",
    "project_out": "--project-out",
    "compute": "--dtype",
}
VECTORS = Kind(
    "vectors",
    CACHE,
    SHARD,
    ("float16", "float32"),
    {"layer": "--layers", **_OPTIONS, "storage": "--storage"},
    "vectors.npy",
)
TOKEN_STATES = Kind(
    "token states",
    _format("tcf-token-states", {**_SIZES, **_ENCODER}),
    _format("tcf-token-shard", {"facts.rows": int, "facts.tokens": int}),
    ("bfloat16", "float16", "float32"),
    {"layer": "--token-states", **_OPTIONS, "storage": "--token-storage"},
    "states.npy",
)
KINDS = (VECTORS, TOKEN_STATES)


@dataclass(frozen=True)
class KnownDataset:
    """A dataset whose texts were extracted into a cache; if it was moved since, the cache may know both paths.

    Attributes:
        fingerprint: fingerprint of the dataset.
        path: its path at that time.
        metadata: counts of items, unique texts, unique token sequences and texts cut at the token limit.
    """

    fingerprint: str
    path: Path
    metadata: Mapping[str, Any]

    @property
    def is_there(self) -> bool:
        """Whether the same dataset is still at its path."""
        return self._fingerprint_there() == self.fingerprint

    @property
    def found_there(self) -> str:
        """What is at its path instead of the dataset, in words."""
        if not self.path.exists():
            return "nothing"
        return "no readable dataset" if self._fingerprint_there() is None else "another dataset"

    def _fingerprint_there(self) -> str | None:
        try:
            return read_manifest(self.path, DATASET).fingerprint
        except DataError:
            return None


def published(parent: Path) -> list[Path]:
    """Return the shards or the text maps in `parent`, in the order of their names.

    Raises:
        CacheError: one has lost its manifest, with which it was published.
    """
    found = [folder for folder in parts(parent) if folder.is_dir()]
    for folder in found:
        if not is_published(folder):
            raise CacheError(f"{folder / MANIFEST}: expected a file, found none; {remedy(folder)}")
    return found


def parts(parent: Path) -> list[Path]:
    """Return the folders in `parent` that are shards or text maps, whole or not, in the order of their names."""
    if not parent.is_dir():
        return []
    folders = (p for p in parent.iterdir() if not p.name.startswith(".") and p.is_dir())
    return sorted(p for p in folders if _NAME.fullmatch(p.name) or is_published(p))


def kind_of(path: Path) -> Kind:
    """Return the kind of the cache at `path`; without a cache, vectors, so that opening it reports what is wrong."""
    return next((kind for kind in KINDS if kind.cache.name == stated_format(path)), VECTORS)


def read_cache_manifest(path: Path, kind: Kind) -> Manifest:
    """Read the manifest of a cache and check that it is of this kind.

    Raises:
        CacheError: there is no cache, it is of the other kind, or its manifest is damaged.
    """
    other = next((other for other in KINDS if other.cache.name == stated_format(path)), kind)
    if other is not kind:
        raise CacheError(f"{path}: expected a cache of {kind.words}, found one of {other.words}; name another cache")
    manifest = read_manifest(path, kind.cache, remedy=unknown_origin(path))
    storage = manifest.config["storage"]
    if storage not in kind.storages:
        raise CacheError(
            f"{path / MANIFEST}: expected config.storage {' or '.join(kind.storages)}, found {storage!r}; "
            f"{unknown_origin(path)}"
        )
    return manifest


def read_shard_manifest(folder: Path, kind: Kind, cache: Manifest) -> Manifest:
    """Read the manifest of a shard and check that the shard belongs to this cache."""
    manifest = read_manifest(folder, kind.shard, remedy=remedy(folder))
    if manifest.inputs.get("cache") != cache.fingerprint:
        raise CacheError(f"{folder}: expected a shard of this cache, found one of another encoder; {remedy(folder)}")
    return manifest


def map_part(file: Path, shape: tuple[int, ...], dtype: "np.dtype[Any]") -> npt.NDArray[Any]:
    """Memory-map an array of a shard; the map keeps no file descriptor, which would limit the number of shards."""
    array = map_array(file, CacheError, remedy(file.parent))
    if array.shape != shape or array.dtype != dtype:
        found = f"{shape_words(array.shape)} {array.dtype}"
        raise CacheError(f"{file}: expected {shape_words(shape)} {dtype}, found {found}; {remedy(file.parent)}")
    return array


def load_keys(folder: Path, manifest: Manifest, kind: Kind, verify: Verify) -> npt.NDArray[np.uint64]:
    """Read the keys of a shard, (rows, 2) uint64, which are as they were written."""
    return _load_table(folder, "keys.npy", manifest, kind.shard, (int(manifest.facts["rows"]), 2), verify)


def load_texts(folder: Path, verify: Verify) -> npt.NDArray[np.uint64]:
    """Read a text map, (n_texts, 4) uint64, which is as it was written."""
    return _load_table(folder, "texts.npy", read_text_map(folder), TEXT_MAP, (None, 4), verify)


def _load_table(
    folder: Path, name: str, manifest: Manifest, format: Format, shape: tuple[int | None, int], verify: Verify
) -> npt.NDArray[np.uint64]:
    """Read a table of keys; None accepts any number of rows."""
    file, (rows, columns) = folder / name, shape
    source = verified_source(folder, name, manifest, format, remedy=remedy(folder), verify=verify)
    table = load_array(file, CacheError, remedy(folder), source)
    expected = (len(table) if rows is None else rows, columns)
    if table.dtype != np.uint64 or table.shape != expected:
        raise CacheError(
            f"{file}: expected {shape_words(expected)} uint64, found {shape_words(table.shape)} {table.dtype}; "
            f"{remedy(folder)}"
        )
    return table


def known_dataset(folder: Path) -> KnownDataset:
    """Return the dataset that a text map was made for."""
    manifest = read_text_map(folder)
    return KnownDataset(manifest.inputs["dataset"], Path(manifest.config["path"]), manifest.facts)


def read_text_map(folder: Path) -> Manifest:
    """Read the manifest of a text map."""
    return read_manifest(folder, TEXT_MAP, remedy=remedy(folder))


def unknown_origin(path: Path) -> str:
    """Return what to do about the damaged manifest of a cache, whose vectors may be those of any model."""
    return f"the origin of its numbers is unknown; {CACHE.remedy(path)}"


def remedy(folder: Path) -> str:
    """Return what to do about a damaged part of a cache, for messages."""
    return f"{REPAIR}, which makes {folder} anew"
