"""The vectors that the diversity of lists is measured on: those of a cache that the user names."""

from pathlib import Path

from tcf.common.errors import ConfigError
from tcf.config.evaluate import EvaluateConfig
from tcf.data.cache.caches import VectorCache
from tcf.data.dataset import Dataset
from tcf.ranking.list_metrics import VectorsOf

__all__ = ["open_list_vectors", "vectors_input", "vectors_of"]


def open_list_vectors(path: Path | None, config: EvaluateConfig) -> VectorCache | None:
    """Open the cache of `--vectors`; None if none is named.

    Raises:
        ConfigError: one is named, and lists are not asked for.
        CacheError: it is missing or damaged.
    """
    if path is None:
        return None
    if not config.lists:
        raise ConfigError(
            f"--vectors: expected --lists as well, whose diversity is measured on them, found {path} alone; add --lists"
        )
    return VectorCache.open(path, verify=config.verify)


def vectors_input(cache: VectorCache | None) -> dict[str, str]:
    """What an evaluation records of the cache among its inputs."""
    return {} if cache is None else {"vectors": cache.manifest.fingerprint}


def vectors_of(cache: VectorCache | None, dataset: Dataset) -> VectorsOf | None:
    """Return what reads the vectors of some of the dataset's items; None without a cache.

    Raises:
        CacheError: some items have no vector.
    """
    if cache is None:
        return None
    found, rows = cache, cache.rows_for(dataset)
    return lambda items: found.gather(rows[items])
