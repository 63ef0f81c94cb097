"""Comparison of the vectors of two caches, text by text; all sums are computed in float64.

Shapes: n texts that both caches have a vector for.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tcf.common.errors import CacheError
from tcf.common.integrity.checksums import Verify
from tcf.common.progress import Progress
from tcf.data.cache.cache_base import RowIndices
from tcf.data.cache.caches import VectorCache
from tcf.data.dataset import Dataset
from tcf.data.keys import Keys, first_occurrences, locate, text_keys

__all__ = ["Comparison", "Worst", "compare"]

_NUMBERS = 2**21  # numbers of each cache held in memory at once


@dataclass(frozen=True)
class Worst:
    """The text whose vectors agree least by one measure.

    Attributes:
        text_key: key of the text, in hexadecimal.
        item: the first item that has the text; None without a dataset.
    """

    text_key: str
    item: str | None


@dataclass(frozen=True)
class Comparison:
    """Differences of two caches over the texts with a vector in both; the measures are None if there are none.

    Attributes:
        compared: texts with a vector in both.
        only_a: texts with a vector only in the first cache.
        only_b: texts with a vector only in the second cache.
        in_neither: texts of the dataset without a vector; 0 without a dataset.
        largest_difference: largest absolute difference of two numbers.
        mean_difference: mean absolute difference of two numbers.
        mean_cosine: mean cosine over texts; two zero vectors have a cosine of 1, a zero and another vector one of 0.
        lowest_cosine: lowest cosine of all texts.
        farthest: the text with the largest difference.
        least_similar: the text with the lowest cosine.
    """

    compared: int
    only_a: int
    only_b: int
    in_neither: int
    largest_difference: float | None = None
    mean_difference: float | None = None
    mean_cosine: float | None = None
    lowest_cosine: float | None = None
    farthest: Worst | None = None
    least_similar: Worst | None = None


def compare(a: Path, b: Path, dataset: Dataset | None = None, *, verify: Verify = "once") -> Comparison:
    """Compare the vectors of two caches over the texts that both know.

    Memory holds a few thousand vectors, and about 150 bytes for each text.

    Args:
        a: a vector cache.
        b: another vector cache of the same width; encoder, options and storage type may differ.
        dataset: if given, compare only its texts, and name its items.
        verify: whether large files that this machine has verified are verified again.

    Raises:
        CacheError: the widths differ, or a cache cannot be read.
    """
    first, second = VectorCache.open(a, verify=verify), VectorCache.open(b, verify=verify)
    if first.width != second.width:
        raise CacheError(
            f"{b}: expected vectors of width {first.width} as in {a}, found {second.width}; compare caches of one width"
        )
    texts = _texts(first, second, dataset)
    rows_a, rows_b = first.locate_keys(texts), second.locate_keys(texts)
    in_a, in_b = rows_a >= 0, rows_b >= 0
    both = np.flatnonzero(in_a & in_b)
    counts = Comparison(
        compared=len(both),
        only_a=int((in_a & ~in_b).sum()),
        only_b=int((in_b & ~in_a).sum()),
        in_neither=int((~in_a & ~in_b).sum()) if dataset is not None else 0,
    )
    if not len(both):
        return counts
    both = both[np.argsort(rows_a[both], kind="stable")]  # so that the first cache is read sequentially
    first.verify_rows(rows_a[both])
    second.verify_rows(rows_b[both])
    largest, mean, cosine = _measured(first, rows_a[both], second, rows_b[both])
    farthest, least = int(np.argmax(largest)), int(np.argmin(cosine))
    return replace(
        counts,
        largest_difference=float(largest[farthest]),
        mean_difference=float(mean.mean()),
        mean_cosine=float(cosine.mean()),
        lowest_cosine=float(cosine[least]),
        farthest=_worst(texts[both[farthest]], dataset),
        least_similar=_worst(texts[both[least]], dataset),
    )


def _texts(first: VectorCache, second: VectorCache, dataset: Dataset | None) -> Keys:
    """Return the distinct texts to compare: those of the dataset, or of both caches."""
    if dataset is not None:
        keys = text_keys(dataset.texts)
    else:
        keys = np.concatenate([first.text_maps[:, :2], second.text_maps[:, :2]])
    return keys[first_occurrences(keys)]


def _measured(
    first: VectorCache, rows_a: RowIndices, second: VectorCache, rows_b: RowIndices
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return largest and mean absolute difference, and cosine, of each pair of rows, (n,) each."""
    n = len(rows_a)
    largest, mean, cosine = np.empty(n), np.empty(n), np.empty(n)
    size = max(1, _NUMBERS // max(1, first.width))
    with Progress("compare", n, "texts") as progress:
        for start in range(0, n, size):
            part = slice(start, min(start + size, n))
            x = first.gather(rows_a[part]).astype(np.float64)
            y = second.gather(rows_b[part]).astype(np.float64)
            difference = np.abs(x - y)
            largest[part], mean[part] = difference.max(axis=1), difference.mean(axis=1)
            cosine[part] = _cosines(x, y)
            progress.advance(part.stop - start)
    return largest, mean, cosine


def _cosines(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    lengths_x, lengths_y = np.linalg.norm(x, axis=1), np.linalg.norm(y, axis=1)
    # Two zero vectors are equal, so their cosine is 1; a zero vector and another one have a cosine of 0.
    nonzero = (lengths_x > 0) & (lengths_y > 0)
    cosines: npt.NDArray[np.float64] = ((lengths_x == 0) & (lengths_y == 0)).astype(np.float64)
    x_unit = x[nonzero] / lengths_x[nonzero, None]
    y_unit = y[nonzero] / lengths_y[nonzero, None]
    cosines[nonzero] = (x_unit * y_unit).sum(axis=1)
    return cosines


def _worst(text: npt.NDArray[np.uint64], dataset: Dataset | None) -> Worst:
    key = text.astype("<u8").tobytes().hex()
    if dataset is None:
        return Worst(key, None)
    item = int(locate(text[None], text_keys(dataset.texts))[0])
    return Worst(key, str(dataset.item_ids[item].as_py()))
