"""Public functions that read texts with a language model: plan, extract."""

import os

from tcf.api.arguments import DataPath, PathLike, as_path, at_least, checked_config
from tcf.common.errors import ConfigError
from tcf.common.manifest import read_manifest
from tcf.config.extract import ExtractConfig
from tcf.data.dataset import DATASET
from tcf.encoders.folder.local_model import local_model
from tcf.extract.plan.plan import Plan
from tcf.extract.plan.planner import plan_for_data, plan_for_items
from tcf.extract.result import Extraction
from tcf.launch.extract_on_devices import extract_on_devices

__all__ = ["extract_vectors", "plan_extraction"]


def extract_vectors(
    data: DataPath, model: PathLike, out: PathLike, config: ExtractConfig = ExtractConfig()
) -> Extraction:
    """Compute a vector of every item text of a dataset with a language model, and cache the vectors.

    Vectors that the cache at `out` already has are not computed again; an interrupted extraction is resumed.

    Args:
        data: the dataset, or its directory.
        model: a named model such as `minilm` or `opt-125m`, a hub id, a model folder, or a text file of word vectors.
        out: vector cache to create or extend; with several layers in `config`, the folder of their caches.
        config: layers, pooling, number of tokens, devices and how to compute.

    Returns:
        A summary of the extraction. Other functions accept it in place of the path of its cache.

    Raises:
        DataError: there is no dataset at the path.
        ModelError: the model cannot be found, downloaded or run.
        ConfigError: a setting does not suit the model or this machine.
        CacheError: the cache at `out` was made with another encoder or other options.

    Example:
        ```python
        config = tcf.ExtractConfig(max_tokens=20, devices="cpu")
        extraction = tcf.extract_vectors("dataset", "model", "cache", config)
        vectors = tcf.open_cache(extraction).to_pandas()
        ```
    """
    settings, dataset, name = checked_config(config, ExtractConfig), as_path(data, "data"), _model(model)
    place = as_path(out, "out")
    read_manifest(dataset, DATASET)  # before a model of gigabytes is downloaded
    return extract_on_devices(data=dataset, model=local_model(name), name=name, out=place, config=settings)


def plan_extraction(
    model: PathLike,
    data: DataPath | None = None,
    *,
    items: int | None = None,
    tokens_per_text: int | None = None,
    out: PathLike | None = None,
    config: ExtractConfig = ExtractConfig(),
) -> Plan:
    """Predict how `extract_vectors` would run a model on this machine: schedule, memory, time, disk.

    Nothing is downloaded, and no weights are loaded.

    Args:
        model: as for `extract_vectors`; for the published OPT sizes, the name is enough.
        data: the dataset, or its directory.
        items: number of distinct texts, instead of `data`.
        tokens_per_text: with `items`: tokens per text; the default is typical of titles.
        out: where the cache would be written, to check free disk space.
        config: settings of the extraction.

    Returns:
        The plan; `print` shows it.

    Raises:
        ConfigError: neither `data` nor `items` is given, or both; or the model cannot be run on this machine.
        DataError: there is no dataset at the path.
        ModelError: the model is not on this machine.

    Example:
        ```python
        print(tcf.plan_extraction("model", items=50_000))
        ```
    """
    settings, name = checked_config(config, ExtractConfig), _model(model)
    place = None if out is None else as_path(out, "out")
    if data is not None and items is None and tokens_per_text is None:
        return plan_for_data(name, as_path(data, "data"), place, settings)
    if data is None and items is not None:
        tokens = None if tokens_per_text is None else at_least(1, tokens_per_text, "tokens_per_text")
        return plan_for_items(name, at_least(1, items, "items"), tokens, place, settings)
    raise ConfigError("expected either --data alone, or --items with or without --tokens-per-text")


def _model(model: PathLike) -> str:
    """A model as `local_model` accepts it; a path object is never the name of a known model."""
    if isinstance(model, str):
        if model == "":
            raise ConfigError("model: expected a name or a path, found an empty string")
        return model
    if isinstance(model, os.PathLike):
        return str(as_path(model, "model").absolute())
    raise ConfigError(f"model: expected a name or a path, found {type(model).__name__}")
