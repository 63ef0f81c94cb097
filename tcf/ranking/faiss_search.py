"""Exact search for the best rows by inner product with FAISS: every row is scored.

Shapes: B users, R rows, K listed rows, D width.
"""

from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from tcf.common.errors import TcfError
from tcf.config.libraries import install_command, require_library

__all__ = ["LONGEST_LIST", "USERS_AT_ONCE", "Search", "exhaustive_search", "load_faiss"]

Search: TypeAlias = Callable[[npt.NDArray[np.float32], int], tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]]
"""Maps states_BD and K, at most R, to scores_BK in descending order and their rows_BK."""

LONGEST_LIST = 1024
"""Longer lists are slower than scoring everything, and the limit of FAISS on a GPU is 2048."""

USERS_AT_ONCE = 4096
"""The block size that FAISS uses for queries on the CPU."""


def exhaustive_search(vectors_RD: npt.NDArray[np.float32], device: Literal["cpu", "cuda"]) -> Search:
    """Return an exhaustive search over these vectors.

    Args:
        vectors_RD: (R, D) float32, finite.
        device: `cuda` searches on a GPU if this FAISS supports GPUs and finds one; otherwise the CPU is used.

    Raises:
        TcfError: FAISS is not installed.
    """
    faiss = load_faiss()
    if device == "cuda" and hasattr(faiss, "StandardGpuResources") and faiss.get_num_gpus() > 0:
        return _gpu_search(faiss, vectors_RD)
    vectors_RD = np.ascontiguousarray(vectors_RD)

    # The function that IndexFlatIP calls, without the index's copy of the vectors.
    def search(states_BD: npt.NDArray[np.float32], k: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        scores_BK, rows_BK = faiss.knn(states_BD, vectors_RD, k, metric=faiss.METRIC_INNER_PRODUCT)
        return scores_BK, rows_BK

    return search


def _gpu_search(faiss: Any, vectors_RD: npt.NDArray[np.float32]) -> Search:
    resources = faiss.StandardGpuResources()
    index = faiss.GpuIndexFlatIP(resources, vectors_RD.shape[1])
    index.add(np.ascontiguousarray(vectors_RD))

    def search(states_BD: npt.NDArray[np.float32], k: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        scores_BK, rows_BK = index.search(np.ascontiguousarray(states_BD), k)
        return scores_BK, rows_BK

    return search


def load_faiss() -> Any:
    """Import FAISS, which takes little time beside torch; called before any work that ranks in the end.

    Raises:
        TcfError: it is not installed, or cannot be imported.
    """
    require_library("faiss", "ranking")
    try:
        import faiss
    except (ImportError, OSError) as error:
        raise TcfError(
            f"ranking: expected a FAISS that can be imported, found one that cannot ({' '.join(str(error).split())}); "
            f"uninstall it, and install it with {install_command('faiss')}"
        ) from None
    return faiss
