"""Overlap of two datasets: counts by hand on a few items, vectors compared with NumPy in float64."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from typer.testing import CliRunner

from small.data.caches import add_text_map, new_cache, sequences_of
from small.data.raw import folder_of
from small.manifests import reseal
from tcf.commands.app import app
from tcf.common.errors import CacheError, ConfigError, DataError
from tcf.config.prepare import PrepareConfig
from tcf.data.cache.writer import write_shard
from tcf.data.dataset import Dataset
from tcf.data.describe import overlap as overlap_module
from tcf.data.describe import vector_overlap as vector_overlap_module
from tcf.data.describe.overlap import KeyCounts, overlap
from tcf.data.describe.vector_overlap import vector_overlap
from tcf.data.prepare import prepare

# Shared ids: x, s. Shared texts: "Red shoe" (twice in A). Shared without case and spaces: "blue hat" as well.
A_TEXTS = {"x": "Red shoe", "y": "Red shoe", "s": "Blue  Hat", "t": "tea"}
A_USERS = {"u1": "x y s t", "u2": "x x s"}
B_TEXTS = {"s": "Red shoe", "x": "blue hat", "z": "Green shoe shoe", "w": "汉字"}
B_USERS = {"v1": "s s x z", "v2": "w w s"}


def made(folder: Path, texts: dict[str, str], users: dict[str, str]) -> Dataset:
    return prepare("tcf", folder_of(folder / "raw", texts, users), folder / "data", PrepareConfig(min_history=3))


@pytest.fixture
def a(tmp_path: Path) -> Dataset:
    return made(tmp_path / "a", A_TEXTS, A_USERS)


@pytest.fixture
def b(tmp_path: Path) -> Dataset:
    return made(tmp_path / "b", B_TEXTS, B_USERS)


def side(items: int, n_items: int, interactions: int) -> dict[str, Any]:
    """Of 7 interactions."""
    return {
        "items": items,
        "item_share": items / n_items,
        "interactions": interactions,
        "interaction_share": interactions / 7,
    }


EXPECTED: dict[str, Any] = {
    # Interactions in A: x 3, y 1, s 2, t 1; in B: s 3, x 1, z 1, w 2.
    "ids": {"shared": 2, "a": side(2, 4, 5), "b": side(2, 4, 4)},
    "texts": {"shared": 1, "a": side(2, 4, 4), "b": side(1, 4, 3)},
    "folded_texts": {"shared": 2, "a": side(3, 4, 6), "b": side(2, 4, 4)},
    # A: red 2, shoe 2, blue, hat, tea; B: red, shoe 3, blue, hat, green, and two characters.
    "words": {
        "a": 5,
        "b": 7,
        "shared": 4,
        "jaccard": 4 / 8,
        "uses_in_a_known_in_b": 6 / 7,
        "uses_in_b_known_in_a": 6 / 9,
    },
}


@pytest.mark.parametrize("at_once", [1, 3, 1000])
def test_counts_by_hand(a: Dataset, b: Dataset, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlap_module, "_ITEMS_AT_ONCE", at_once)
    monkeypatch.setattr(overlap_module, "_EVENTS_AT_ONCE", at_once)
    found = overlap(a.path, b.path)
    assert found == {
        "a": {"path": str(a.path), "items": 4, "interactions": 7},
        "b": {"path": str(b.path), "items": 4, "interactions": 7},
        **EXPECTED,
    }


def test_a_dataset_beside_itself_and_beside_one_without_words(a: Dataset, tmp_path: Path) -> None:
    own = overlap(a.path, a.path)
    assert [own[key]["shared"] for key in ("ids", "texts", "folded_texts")] == [4, 3, 3]
    assert own["texts"]["a"] == own["texts"]["b"] == side(4, 4, 7)
    assert own["words"] == {**dict.fromkeys(("a", "b", "shared"), 5), **dict.fromkeys(list(own["words"])[3:], 1.0)}
    dots = made(tmp_path / "dots", {"i": "...", "j": "!", "k": "-"}, {"u": "i j k"})
    none = overlap(a.path, dots.path)
    assert none["words"] == {
        "a": 5,
        "b": 0,
        "shared": 0,
        "jaccard": 0.0,
        "uses_in_a_known_in_b": 0.0,
        "uses_in_b_known_in_a": None,
    }
    assert none["ids"]["b"] == {"items": 0, "item_share": 0.0, "interactions": 0, "interaction_share": 0.0}


@pytest.mark.parametrize("waiting", [1, 7, 10_000])
def test_counting_of_keys(waiting: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlap_module, "_WAITING", waiting)
    draw = np.random.default_rng(3)
    counted, expected = KeyCounts(), dict[tuple[int, ...], int]()
    assert [len(column) for column in counted.table] == [0, 0]
    for size in (0, 5, 40, 1, 0, 300):
        keys = draw.integers(0, 6, (size, 2)).astype(np.uint64)
        counts = draw.integers(1, 9, size)
        counted.add(keys, counts)
        for key, count in zip(keys.tolist(), counts.tolist(), strict=True):
            expected[tuple(key)] = expected.get(tuple(key), 0) + count
    keys, counts = counted.table
    assert len(keys) == len(expected)
    assert dict(zip(map(tuple, keys.tolist()), counts.tolist(), strict=True)) == expected


def test_damaged_histories_are_named(a: Dataset, b: Dataset) -> None:
    np.save(a.path / "history_items.npy", np.array([0, 9], np.int32))
    reseal(a.path)
    with pytest.raises(DataError, match=r"history_items.npy: expected items below 4, found 0..9"):
        overlap(a.path, b.path)
    np.save(a.path / "history_items.npy", np.array([0.5]))
    reseal(a.path)
    with pytest.raises(DataError, match=r"expected int32 items with one axis, found float64"):
        overlap(a.path, b.path)
    with pytest.raises(DataError, match=r"expected a directory of format tcf-dataset"):
        overlap(b.path, a.path.parent)


def fill(cache: Path, texts: list[str], vectors: npt.NDArray[np.float32], *datasets: Dataset) -> Path:
    write_shard(cache, sequences_of(texts), vectors)
    for dataset in datasets:
        add_text_map(cache, dataset)
    return cache


def expected_overlap(
    x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], drawn: npt.NDArray[np.int64]
) -> tuple[float, float, float]:
    """Cosine and distance of means, and mean highest cosine of the drawn rows of y to x, all in float64."""
    mean_x, mean_y = x.mean(axis=0), y.mean(axis=0)
    cosine = mean_x @ mean_y / np.linalg.norm(mean_x) / np.linalg.norm(mean_y)
    cosines = (y[drawn] @ x.T) / np.linalg.norm(y[drawn], axis=1)[:, None] / np.linalg.norm(x, axis=1)
    return float(cosine), float(np.linalg.norm(mean_x - mean_y)), float(cosines.max(axis=1).mean())


@pytest.mark.parametrize(("numbers", "sample"), [(1, 3), (40, 100), (2**22, 2)])
def test_vectors_beside_numpy(tmp_path: Path, numbers: int, sample: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vector_overlap_module, "_NUMBERS", numbers)
    monkeypatch.setattr(vector_overlap_module, "_ITEMS_AT_ONCE", 2)
    # Two items of A have one text: both count in its mean.
    texts_a = [*(f"text {n}" for n in range(7)), "text 0"]
    texts_b = [f"word {n}" for n in range(5)]
    a, b = (
        made(tmp_path / name, dict(zip(ids, texts, strict=True)), {"u": " ".join(ids)})
        for name, texts in (("a", texts_a), ("b", texts_b))
        for ids in [[f"{name}{n}" for n in range(len(texts))]]
    )
    draw = np.random.default_rng(1)
    x, y = (draw.normal(size=(n, 6)).astype(np.float32) for n in (7, 5))
    one = fill(new_cache(tmp_path / "one", 6, storage="float32"), texts_a[:7], x, a)
    two = fill(new_cache(tmp_path / "two", 6, storage="float32"), texts_b, y, b)
    drawn = np.random.default_rng(5).choice(5, size=min(5, sample), replace=False)
    expected = expected_overlap(x.astype(np.float64)[[*range(7), 0]], y.astype(np.float64), drawn)
    found = vector_overlap(a.path, b.path, one, two, sample=sample, seed=5)
    assert list(found.values())[:2] == pytest.approx(expected[:2], rel=1e-12)
    assert found["nearest_cosine"] == pytest.approx(expected[2], rel=1e-5)
    assert (found["sampled"], found["seed"]) == (len(drawn), 5)
    own = vector_overlap(a.path, a.path, one, one, sample=sample, seed=0)
    assert own["cosine_of_means"] == pytest.approx(1, abs=1e-12)
    assert (own["distance_of_means"], own["nearest_cosine"]) == (0, pytest.approx(1, abs=1e-6))
    assert own["nearest_cosine"] <= 1


def test_caches_that_do_not_fit_are_refused(a: Dataset, b: Dataset, tmp_path: Path) -> None:
    texts = ["Red shoe", "Blue  Hat", "tea"]
    cache = fill(new_cache(tmp_path / "one"), texts, np.ones((3, 3), np.float16), a)
    other = new_cache(tmp_path / "two", pooling="first")
    with pytest.raises(CacheError, match=r"two: expected the encoder and options of .*one, found others \(.*; extract"):
        vector_overlap(a.path, b.path, cache, other, sample=3, seed=0)
    with pytest.raises(CacheError, match=r"one: expected vectors for each of the 4 items of .*, found 1; run `tcf ext"):
        vector_overlap(a.path, b.path, cache, cache, sample=3, seed=0)


def test_a_zero_vector_is_like_nothing(a: Dataset, tmp_path: Path) -> None:
    texts = ["Red shoe", "Blue  Hat", "tea"]
    cache = fill(new_cache(tmp_path / "one"), texts, np.zeros((3, 3), np.float16), a)
    found = vector_overlap(a.path, a.path, cache, cache, sample=10, seed=0)
    assert list(found.values()) == [0, 0, 0, 4, 0]


def test_the_command(a: Dataset, b: Dataset, tmp_path: Path) -> None:
    words = ["data", "overlap", str(a.path), str(b.path)]
    printed = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)
    assert {key: printed[key] for key in EXPECTED} == EXPECTED
    assert "vectors" not in printed
    lines = CliRunner().invoke(app, words).stdout.splitlines()
    assert lines[:4] == ["a:", f"  path: {a.path}", "  items: 4", "  interactions: 7"]
    assert lines[-4:-1] == ["  shared: 4", "  jaccard: 50.00%", "  uses in a known in b: 85.71%"]
    texts = list(dict.fromkeys([*A_TEXTS.values(), *B_TEXTS.values()]))
    cache = str(fill(new_cache(tmp_path / "one"), texts, np.ones((6, 3), np.float16), a, b))
    for more in ([], ["--cache-b", cache]):
        printed = json.loads(
            CliRunner().invoke(app, [*words, "--cache", cache, *more, "--sample", "2", "--json"]).stdout
        )
        assert printed["vectors"]["sampled"] == 2
        assert printed["vectors"]["cosine_of_means"] == pytest.approx(1)
    wrong = CliRunner().invoke(app, [*words, "--cache-b", cache])
    assert isinstance(wrong.exception, ConfigError)
    assert "--cache-b: expected --cache with it" in str(wrong.exception)
