"""Public functions for datasets and caches, which need no model: download, prepare, open."""

from pathlib import Path
from typing import TYPE_CHECKING

from tcf.api.arguments import PathLike, as_path, checked_config
from tcf.assets.resolve import fetch_dataset
from tcf.common.integrity.checksums import Verify
from tcf.config.prepare import PrepareConfig
from tcf.config.raw_formats import RawFormat
from tcf.config.typed_values import typed
from tcf.data.cache.caches import TokenStates, VectorCache
from tcf.data.cache.caches import open_cache as open_cache_directory
from tcf.data.dataset import Dataset
from tcf.data.dataset import open_dataset as open_dataset_directory
from tcf.data.prepare import prepare

if TYPE_CHECKING:  # its module needs transformers
    from tcf.extract.result import Extraction

__all__ = ["download_dataset", "open_cache", "open_dataset", "prepare_dataset"]


def download_dataset(name: str, *, accept_licence: bool = False) -> Path:
    """Download a named dataset's raw files, unless they have already been downloaded.

    Args:
        name: name of the dataset, such as `ml-100k`, `mind-small` or `amazon-2018-video-games`; `tcf data download
            --help` lists them.
        accept_licence: whether you accept the dataset's terms of use; otherwise the error shows them, if there are any.

    Returns:
        The folder with the raw files, for `prepare_dataset`.

    Raises:
        ConfigError: an argument has another type.
        DataError: the name is unknown, the terms are not accepted, or no source can be reached.

    Example:
        ```python
        raw = tcf.download_dataset("ml-100k")
        ```
    """
    return fetch_dataset(typed(name, str, "name"), accept_licence=typed(accept_licence, bool, "accept_licence"))


def prepare_dataset(
    format: RawFormat, raw: PathLike, out: PathLike, config: PrepareConfig = PrepareConfig()
) -> Dataset:
    """Turn raw files into a dataset: filtered, indexed, split into training, validation and test.

    A dataset at `out` that was made from the same files with the same settings is opened and returned.

    Args:
        format: format of the raw files: tcf, recbole, mind, hm, movielens, amazon or table.
        raw: folder with the raw files.
        out: dataset directory to create.
        config: filters, split, texts, and how to treat bad rows.

    Returns:
        The dataset.

    Raises:
        ConfigError: a setting does not suit the format or the data.
        DataError: the raw files are missing or damaged, nothing is left of them, or `out` holds something else.

    Example:
        ```python
        config = tcf.PrepareConfig(min_history=4, keep_last=20)
        dataset = tcf.prepare_dataset("tcf", "raw", "dataset", config)
        dataset.to_pandas("interactions").head()
        ```
    """
    settings = checked_config(config, PrepareConfig)
    return prepare(typed(format, RawFormat, "format"), as_path(raw, "raw"), as_path(out, "out"), settings)


def open_dataset(path: PathLike, *, verify: Verify = "once") -> Dataset:
    """Open a dataset that `prepare_dataset` made.

    Args:
        path: the dataset directory.
        verify: `once` or `always`: whether large files that this machine has verified are verified again.

    Returns:
        The dataset: ids, texts, histories and their split.

    Raises:
        DataError: there is no finished dataset at the path, or it is damaged.

    Example:
        ```python
        dataset = tcf.open_dataset("dataset")
        print(dataset.n_users, dataset.n_items)
        ```
    """
    return open_dataset_directory(as_path(path, "path"), verify=typed(verify, Verify, "verify"))


def open_cache(path: "PathLike | Extraction", *, verify: Verify = "once") -> VectorCache | TokenStates:
    """Open a cache that `extract_vectors` made.

    Args:
        path: the cache's directory, or the extraction that made it.
        verify: `once` or `always`: whether large files that this machine has verified are verified again.

    Returns:
        A cache of vectors, or a cache of token states if the path is one.

    Raises:
        CacheError: there is no cache at the path, or it is damaged.
        ConfigError: the extraction made several caches.

    Example:
        ```python
        cache = tcf.open_cache("cache")
        print(cache.width, cache.n_rows)
        ```
    """
    return open_cache_directory(as_path(path, "path"), verify=typed(verify, Verify, "verify"))
