"""From computed vectors to what is stored: nothing that does not fit the storage type gets into a cache."""

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from tcf.data.dataset import Dataset
from tcf.errors import ModelError

__all__ = ["to_storage"]


def to_storage(
    vectors: npt.NDArray[np.float32],
    storage: Literal["float16", "float32"],
    *,
    dataset: Dataset,
    items: npt.NDArray[np.int64],
) -> npt.NDArray[np.floating[Any]]:
    """Convert vectors to the storage type.

    Args:
        vectors: (n, width) as computed.
        storage: type to store.
        dataset: where the texts come from, for messages.
        items: an item whose text each vector belongs to, (n,).

    Raises:
        ModelError: a value is not finite, or too large for float16; names the item and its text.
    """
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(bad):
        raise ModelError(
            f"{_which(dataset, items, bad)}: the language model gave a value that is not finite; "
            "pass --dtype float32 or bfloat16 and a new --out, or, with these already, fetch the model anew"
        )
    if storage == "float32":
        return vectors
    limit = float(np.finfo(np.float16).max)
    large = np.flatnonzero(np.abs(vectors).max(axis=1, initial=0) > limit)
    if len(large):
        worst = float(np.abs(vectors[large]).max())
        raise ModelError(
            f"{_which(dataset, items, large)}: a value of {worst:.3g} does not fit float16 (at most {limit:.0f}); "
            "pass --storage float32 and a new --out"
        )
    return vectors.astype(np.float16)


def _which(dataset: Dataset, items: npt.NDArray[np.int64], bad: npt.NDArray[np.int64]) -> str:
    item = int(items[bad[0]])
    text = dataset.texts[item].as_py()
    more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
    return f"{dataset.path}: item {dataset.item_ids[item].as_py()} ({text[:60]!r}){more}"
