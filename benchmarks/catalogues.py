"""Texts from a file or made up, and datasets with items only, for benchmarks."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from tcf.data.dataset import Dataset, Histories, write_dataset
from tcf.data.split import leave_one_out

__all__ = ["product_lines", "read_range", "read_texts", "unrelated_texts", "write_items"]

_GARMENTS = ("dress", "top", "tee", "sweater", "jacket", "skirt", "trousers", "shorts", "leggings", "bra", "bag", "cap")
_KINDS = ("slim", "wide", "knitted", "ribbed", "denim", "linen", "printed", "lace", "padded", "cropped", "velvet")
_VARIANTS = ("(1)", "2-pack", "3-pack", "HW", "tall", "petite", "plus", "black", "white", "blue", "striped", "solid")
_CONSONANTS, _VOWELS = "bcdfghjklmnprstvz", "aeiou"


def read_range(file: Path, n: int) -> list[str]:
    """Read texts that follow one another when all distinct ones are sorted, as those of a shard do; shuffled.

    Args:
        file: a file with a text after a tab on each line.
        n: maximum number of texts.
    """
    texts, draw = sorted(_distinct_texts(file)), np.random.default_rng(0)
    first = int(draw.integers(max(0, len(texts) - n) + 1))
    return [texts[first + row] for row in draw.permutation(len(texts[first : first + n])).tolist()]


def product_lines(n: int) -> list[str]:
    """Make up distinct product names: lines of a few variants each, such as `Morina ribbed top black`.

    They stand for the product names of H&M, which may not be passed on: with a token at the start of each text, 48 to
    49 % of the tokens are those of another text that begins alike.

    Args:
        n: number of texts.
    """
    draw, names = np.random.default_rng(0), dict[str, None]()
    while len(names) < n:
        line = f"{_invented(draw, 3).capitalize()} {draw.choice(_KINDS)} {draw.choice(_GARMENTS)}"
        names[line] = None
        for variant in draw.permutation(_VARIANTS)[: draw.geometric(0.72) - 1].tolist():
            names[f"{line} {variant}"] = None
    texts = list(names)[:n]
    return [texts[row] for row in draw.permutation(n).tolist()]


def unrelated_texts(n: int) -> list[str]:
    """Make up texts of random letters, which have next to no beginnings in common.

    Args:
        n: number of texts.
    """
    draw = np.random.default_rng(0)
    return [" ".join(_invented(draw, 3) for _ in range(draw.integers(2, 7))) for _ in range(n)]


def _invented(draw: np.random.Generator, syllables: int) -> str:
    return "".join(draw.choice(list(_CONSONANTS)) + draw.choice(list(_VOWELS)) for _ in range(syllables))


def read_texts(file: Path, n: int) -> list[str]:
    """Read a random sample of the distinct texts in a file with a text after a tab on each line.

    Args:
        file: the file.
        n: maximum number of texts.
    """
    texts = _distinct_texts(file)
    return [texts[row] for row in np.random.default_rng(0).permutation(len(texts))[:n].tolist()]


def _distinct_texts(file: Path) -> list[str]:
    lines = file.read_text(encoding="utf-8").splitlines()
    return list(dict.fromkeys(line.split("\t", 1)[1].strip() for line in lines))


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
