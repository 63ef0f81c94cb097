"""Opening a cache of whichever kind is there."""

from pathlib import Path
from typing import Any

from tcf.data.cache.cache_base import CacheBase
from tcf.data.cache.cache_files import TOKEN_STATES, kind_of
from tcf.data.cache.caches import VectorCache
from tcf.data.cache.token_states import TokenStates

__all__ = ["open_cache"]


def open_cache(path: str | Path) -> CacheBase[Any]:
    """Open a cache of vectors or of token states.

    Raises:
        CacheError: no cache is there, or it is damaged.
    """
    if kind_of(Path(path)) is TOKEN_STATES:
        return TokenStates.open(path)
    return VectorCache.open(path)
