"""Texts from a file, and datasets with items only, for benchmarks."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from tcf.data.dataset import Dataset, Histories, write_dataset
from tcf.data.split import leave_one_out

__all__ = ["read_texts", "write_items"]


def read_texts(file: Path, n: int) -> list[str]:
    """Read a random sample of the distinct texts in a file with a text after a tab on each line.

    Args:
        file: the file.
        n: maximum number of texts.
    """
    lines = file.read_text(encoding="utf-8").splitlines()
    texts = list(dict.fromkeys(line.split("\t", 1)[1].strip() for line in lines))
    return [texts[row] for row in np.random.default_rng(0).permutation(len(texts))[:n].tolist()]


def write_items(path: Path, texts: Sequence[str]) -> Dataset:
    """Write a dataset of items without interactions.

    Args:
        path: where to write it.
        texts: one text per item.
    """
    return write_dataset(
        path,
        item_ids=pa.array([str(i) for i in range(len(texts))], pa.large_string()),
        texts=pa.array(texts, pa.large_string()),
        user_ids=pa.array([], pa.large_string()),
        split=leave_one_out(Histories(np.zeros(1, np.int64), np.zeros(0, np.int32))),
        inputs={},
        config={},
        statistics={},
    )
