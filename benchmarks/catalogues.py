"""Texts of a file, and datasets of items alone, for benchmarks."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from tcf.data.dataset import Dataset, Histories, write_dataset
from tcf.data.split import leave_one_out

__all__ = ["read_texts", "write_items"]


def read_texts(file: Path, n: int) -> list[str]:
    """Distinct texts of a file with a text after a tab on each line, drawn at random.

    Args:
        file: the file.
        n: how many at most.
    """
    lines = file.read_text(encoding="utf-8").splitlines()
    texts = list(dict.fromkeys(line.split("\t", 1)[1].strip() for line in lines))
    return [texts[row] for row in np.random.default_rng(0).permutation(len(texts))[:n].tolist()]


def write_items(path: Path, texts: Sequence[str]) -> Dataset:
    """A dataset of items that nobody has taken yet.

    Args:
        path: where it goes.
        texts: one an item.
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
