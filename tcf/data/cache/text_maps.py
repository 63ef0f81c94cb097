"""Writing text maps: a text map is streamed to a hidden file and published once it is complete."""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np

from tcf.common.errors import CacheError
from tcf.common.files import is_published, publishing, staging_place, writing
from tcf.common.manifest import digest, seal
from tcf.data.cache.cache_files import TEXT_MAP
from tcf.data.keys import Keys
from tcf.data.npy_files import ArrayFile

__all__ = ["DatasetIdentity", "TextMapWriter", "text_map_path", "write_text_map"]


class DatasetIdentity(Protocol):
    """What a text map needs to know of a dataset: a `Dataset` or an `ItemTable`."""

    @property
    def path(self) -> Path:
        """The dataset directory."""

    @property
    def fingerprint(self) -> str:
        """Sha256 of the dataset's content."""


def text_map_path(path: Path, dataset: DatasetIdentity) -> Path:
    """Return where a dataset's text map is published; its name is a digest of the dataset's fingerprint and path."""
    return path / "datasets" / digest([dataset.fingerprint, str(dataset.path.resolve())])[:32]


class TextMapWriter:
    """A context manager that writes and publishes a dataset's text map, a few texts at a time.

    The map of a dataset that was moved is published again, so that the cache knows its new path. The cache need not
    exist before `publish`. Leaving the block without calling `publish` discards everything.

    Args:
        path: the cache directory.
        dataset: the dataset of the texts.
    """

    def __init__(self, path: Path, dataset: DatasetIdentity) -> None:
        self._path, self._dataset = path, dataset
        self._place = text_map_path(path, dataset)
        self._rows: ArrayFile | None = None
        self._stack = ExitStack()

    @property
    def there(self) -> bool:
        """Whether the cache already has this text map; then nothing is written."""
        return is_published(self._place)

    def __enter__(self) -> Self:
        """Start the file: inside the cache, or next to its path as long as there is no cache."""
        if self.there:
            return self
        scratch = staging_place(self._place if is_published(self._path) else self._path)
        with writing(self._place):
            scratch.parent.mkdir(parents=True, exist_ok=True)
            self._stack.callback(scratch.unlink, missing_ok=True)
            self._rows = ArrayFile(scratch, (4,), np.uint64)
            self._stack.callback(self._rows.close)
        self._scratch = scratch
        return self

    def add(self, texts: Keys, sequences: Keys) -> None:
        """Append texts; each distinct text of the dataset must be added once.

        Args:
            texts: (n, 2) keys of texts.
            sequences: (n, 2) keys of their token sequences.
        """
        if self._rows is not None:
            with writing(self._place):
                self._rows.append(np.concatenate([texts, sequences], axis=1))

    def publish(self, metadata: Mapping[str, Any]) -> None:
        """Publish the text map in the cache.

        Args:
            metadata: counts, for `tcf cache describe`.

        Raises:
            CacheError: there is no cache.
        """
        if self._rows is None:
            return
        if not is_published(self._path):
            raise CacheError(f"{self._path}: expected a cache to write into, found none; run `tcf extract` first")
        inputs, config = {"dataset": self._dataset.fingerprint}, {"path": str(self._dataset.path.resolve())}
        with publishing(self._place, duplicate_is_harmless=True) as staging:
            self._rows.close()
            self._scratch.rename(staging / "texts.npy")
            seal(staging, TEXT_MAP, inputs=inputs, config=config, facts=metadata)
        self._rows = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove the file unless it was published."""
        with writing(self._place):
            self._stack.close()


def write_text_map(
    path: Path, dataset: DatasetIdentity, *, texts: Keys, sequences: Keys, metadata: Mapping[str, Any]
) -> None:
    """Publish a dataset's text map, all texts at once.

    Args:
        path: the cache directory.
        dataset: the dataset of the texts.
        texts: (n, 2) keys of its unique texts.
        sequences: (n, 2) keys of their token sequences.
        metadata: counts, for `tcf cache describe`.
    """
    with TextMapWriter(path, dataset) as writer:
        writer.add(texts, sequences)
        writer.publish(metadata)
