import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tcf.data.cache.compare as module
from small.data.caches import add_text_map, keys_of, new_cache, new_token_states, sequences_of
from small.encoders.models import save_dataset
from tcf.common.errors import CacheError
from tcf.data.cache.compare import Comparison, Worst, compare
from tcf.data.cache.writer import write_shard


def cache_of(path: Path, data: Path, vectors: dict[str, list[float]], storage: str = "float32") -> Path:
    """A cache that has these texts' vectors, and knows them from a dataset of its own."""
    width = len(next(iter(vectors.values())))
    new_cache(path, width, storage=storage)
    write_shard(path, sequences_of(list(vectors)), np.array(list(vectors.values()), storage))
    add_text_map(path, save_dataset(data, list(vectors)))
    return path


def hexadecimal(text: str) -> str:
    return keys_of([text]).astype("<u8").tobytes().hex()


@pytest.fixture
def a(tmp_path: Path) -> Path:
    return cache_of(tmp_path / "a", tmp_path / "da", {"p": [3, 4], "q": [1, 0], "r": [0, 0], "s": [9, 9], "z": [0, 0]})


@pytest.fixture
def b(tmp_path: Path) -> Path:
    vectors: dict[str, list[float]] = {"t": [1, 1], "z": [0, 0], "r": [0, 2], "q": [-1, 0.5], "p": [6, 8]}
    return cache_of(tmp_path / "b", tmp_path / "db", vectors, "float16")


@pytest.mark.parametrize("numbers", [1, 4, 2**20])
def test_by_hand(a: Path, b: Path, numbers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_NUMBERS", numbers)
    found = compare(a, b)
    assert (found.compared, found.only_a, found.only_b, found.in_neither) == (4, 1, 1, 0)
    # p: 3 and 4, cosine 1. q: 2 and 0.5, cosine -1 / sqrt(1.25). r: 0 and 2, cosine 0. z: 0 and 0, cosine 1.
    lowest = -1 / np.sqrt(1.25)
    assert found.largest_difference == 4.0
    assert found.mean_difference == pytest.approx(11.5 / 8, rel=1e-15)
    assert found.mean_cosine == pytest.approx((2 + lowest) / 4, rel=1e-15)
    assert found.lowest_cosine == pytest.approx(lowest, rel=1e-15)
    assert (found.farthest, found.least_similar) == (Worst(hexadecimal("p"), None), Worst(hexadecimal("q"), None))
    assert json.loads(json.dumps(asdict(found)))["farthest"] == {"text_key": hexadecimal("p"), "item": None}


def test_over_the_texts_of_a_dataset(tmp_path: Path, a: Path, b: Path) -> None:
    found = compare(a, b, save_dataset(tmp_path / "d", ["s", "z", "r", "r", "unknown", "t", "other"]))
    assert (found.compared, found.only_a, found.only_b, found.in_neither) == (2, 1, 1, 2)
    assert (found.largest_difference, found.mean_difference) == (2.0, 0.5)
    assert found.farthest == found.least_similar == Worst(hexadecimal("r"), "i2")


def test_a_cache_and_itself(a: Path) -> None:
    found = compare(a, a)
    assert (found.compared, found.only_a, found.only_b) == (5, 0, 0)
    assert (found.largest_difference, found.mean_difference) == (0.0, 0.0)
    assert found.lowest_cosine == pytest.approx(1, rel=1e-15)


def test_against_one_product(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    x = draw.standard_normal((200, 16)).astype(np.float32)
    y = (x + 0.1 * draw.standard_normal((200, 16))).astype(np.float32)
    texts = [f"text {n}" for n in range(200)]
    order = draw.permutation(200)
    one = cache_of(tmp_path / "1", tmp_path / "d1", dict(zip(texts, x.tolist(), strict=True)))
    two = cache_of(tmp_path / "2", tmp_path / "d2", {texts[n]: y[n].tolist() for n in order})
    found = compare(one, two)
    u, v = x.astype(np.float64), y.astype(np.float64)
    cosines = np.einsum("nd,nd->n", u, v) / np.sqrt(np.einsum("nd,nd->n", u, u) * np.einsum("nd,nd->n", v, v))
    assert found.mean_difference == pytest.approx(np.abs(u - v).mean(), rel=1e-12)
    assert found.largest_difference == np.abs(u - v).max()
    assert found.mean_cosine == pytest.approx(cosines.mean(), rel=1e-12)
    assert found.lowest_cosine == pytest.approx(cosines.min(), rel=1e-12)
    assert found.farthest == Worst(hexadecimal(texts[int(np.abs(u - v).max(axis=1).argmax())]), None)
    assert found.least_similar == Worst(hexadecimal(texts[int(cosines.argmin())]), None)


def test_float16_is_compared_in_float64(tmp_path: Path) -> None:
    # Squares and sums of these exceed what float16 can hold.
    large: dict[str, Any] = {"x": [60000.0] * 4}
    one = cache_of(tmp_path / "1", tmp_path / "d1", large, "float16")
    two = cache_of(tmp_path / "2", tmp_path / "d2", {"x": [-60000.0] * 4}, "float16")
    found = compare(one, two)
    assert found.largest_difference == 2 * float(np.float16(60000))
    assert found.lowest_cosine == pytest.approx(-1, rel=1e-15)


def test_nothing_in_common(tmp_path: Path, a: Path) -> None:
    other = cache_of(tmp_path / "o", tmp_path / "do", {"other": [1, 2]})
    assert compare(a, other) == Comparison(0, 5, 1, 0)


def test_what_cannot_be_compared(tmp_path: Path, a: Path) -> None:
    wide = cache_of(tmp_path / "w", tmp_path / "dw", {"p": [1, 2, 3]})
    with pytest.raises(CacheError, match=f"{wide}: expected vectors of width 2 as in {a}, found 3"):
        compare(a, wide)
    with pytest.raises(CacheError, match="expected a cache of vectors, found one of token states"):
        compare(a, new_token_states(tmp_path / "s"))
