"""Public functions for training runs: train, open."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tcf.api.arguments import CachePaths, DataPath, PathLike, VectorsPath, as_path, as_paths, checked_config
from tcf.common.errors import ConfigError
from tcf.common.integrity.checksums import Verify
from tcf.config.train import TrainConfig
from tcf.config.typed_values import typed
from tcf.data.cache.caches import VectorCache
from tcf.launch.train_on_devices import train_on_devices
from tcf.train.inputs import check_number
from tcf.train.run.open_run import Run
from tcf.train.run.open_run import open_run as open_directory

if TYPE_CHECKING:  # its module needs transformers
    from tcf.extract.result import Extraction

__all__ = ["dataset_of", "open_run", "starting_from", "train_recommender"]


def train_recommender(
    data: DataPath | None = None,
    caches: "CachePaths | Extraction" = (),
    *,
    out: PathLike,
    config: TrainConfig = TrainConfig(),
    init_from: VectorsPath | None = None,
) -> Run:
    """Train a recommender on cached vectors (TCF) or on learned item ids (IDCF).

    A finished run at `out` of the same settings and inputs is opened and returned; an interrupted one is resumed.
    In a script started by torchrun, every process calls this function and gets the run.

    Args:
        data: the dataset, or its directory; None for the only dataset of the first cache.
        caches: vector cache, or several whose vectors are concatenated; none for `TrainConfig(items="id")`.
        out: run directory to create.
        config: model, loss, optimiser, devices and when to stop.
        init_from: a vector cache that learned ids start from, for `TrainConfig(items="id")`, whose `id_init` becomes
            `text`; only the training reads it.

    Returns:
        The run, on the first device of `config`; its model is loaded when it is first needed.

    Raises:
        ConfigError: no dataset is known, caches are missing or not needed, or settings do not suit them.
        DataError: the dataset is missing, damaged or too small.
        CacheError: a cache is missing or damaged, or lacks items.
        RunError: `out` holds something else, or another process is training there.

    Example:
        ```python
        config = tcf.TrainConfig(backbone="sasrec", width=64, epochs=2)
        run = tcf.train_recommender("dataset", "cache", out="run", config=config)
        print(run.metadata["best_epoch"], run.to_pandas())
        ```
    """
    settings, places, place = checked_config(config, TrainConfig), as_paths(caches, "caches"), as_path(out, "out")
    first = None if init_from is None else as_path(init_from, "init_from")
    settings, read = starting_from(first, settings, places)
    dataset = dataset_of(None if data is None else as_path(data, "data"), read)
    train_on_devices(data=dataset, caches=read, out=place, config=settings)
    device = settings.devices.partition(",")[0]
    return open_directory(place, data=dataset, caches=places, device=device, verify=settings.verify)


def open_run(
    path: PathLike,
    *,
    data: DataPath | None = None,
    caches: CachePaths = (),
    device: str = "auto",
    verify: Verify = "once",
) -> Run:
    """Open a finished run: its settings, log and model.

    Args:
        path: the run's directory.
        data: the dataset, if it is no longer where the run found it.
        caches: the vector caches, likewise, in the order of training.
        device: device for its model: auto, cpu, cuda, cuda:1, ...
        verify: `once` or `always`: whether large files that this machine has verified are verified again.

    Returns:
        The run; its model is loaded when it is first needed.

    Raises:
        RunError: there is no finished run at the path, it is damaged, or the dataset or a cache is not the one it was
            trained on.
        DataError: the dataset is missing or damaged.
        CacheError: a cache is missing or damaged.

    Example:
        ```python
        run = tcf.open_run("run", device="cpu")
        vectors = run.item_vectors()
        ```
    """
    dataset = None if data is None else as_path(data, "data")
    return open_directory(
        as_path(path, "path"),
        data=dataset,
        caches=as_paths(caches, "caches"),
        device=device,
        verify=typed(verify, Verify, "verify"),
    )


def starting_from(
    init_from: Path | None, config: TrainConfig, caches: Sequence[Path]
) -> tuple[TrainConfig, tuple[Path, ...]]:
    """Return the settings of a training whose ids may start from a cache, and all caches that it reads.

    Args:
        init_from: the cache that ids start from, which sets `id_init`; None for others.
        config: settings.
        caches: caches for items as text.

    Raises:
        ConfigError: items are not ids, or ids are to start from texts and no cache says from which.
    """
    if init_from is None and config.id_init != "text":
        return config, tuple(caches)
    if config.items != "id":
        raise ConfigError(
            f"--init-from: expected --items id, found --items {config.items}; leave --init-from out, or add --items id"
        )
    if init_from is None:
        raise ConfigError("--id-init text: expected the vector cache to start from, found none; add --init-from")
    check_number(config.items, caches)
    return dataclasses.replace(config, id_init="text"), (init_from,)


def dataset_of(data: Path | None, caches: Sequence[Path]) -> Path:
    """Return the given dataset, or the only one of the first cache.

    Raises:
        ConfigError: neither a dataset nor a cache is given.
        CacheError: the cache has no dataset, or several.
    """
    if data is not None:
        return data
    if not caches:
        raise ConfigError("expected --data, or a --cache made from one dataset; found neither")
    return VectorCache.open(caches[0]).only_dataset()
