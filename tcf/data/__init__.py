"""From raw files to datasets, and the cache of item vectors."""

from tcf.data.cache.caches import VectorCache
from tcf.data.dataset import Dataset, Histories, open_dataset

__all__ = ["Dataset", "Histories", "VectorCache", "open_dataset"]
