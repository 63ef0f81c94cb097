from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from small.encoders.models import save_bert, save_dataset, save_opt, vectors_one_by_one
from small.extract.extractions import TEXTS, extracted, no_model, vectors
from tcf.common.errors import CacheError, ModelError
from tcf.config.extract import Pooling
from tcf.data import Dataset, VectorCache
from tcf.data.cache.prune import prune
from tcf.extract.result import Extraction

# Half the distance of neighbours among float16 numbers below 4, and the arithmetic's own rounding.
FLOAT16 = 2**-10 + 1e-5


@pytest.mark.parametrize("head", [False, True])
@pytest.mark.parametrize(
    ("save", "pooling"),
    [
        (save_opt, "mean"),
        (lambda path, **options: save_opt(path, norm="post", **options), "mean"),
        (save_bert, "first"),
    ],
)
def test_vectors_are_transformers_own_pooled_as_the_family_asks(
    tmp_path: Path, dataset: Dataset, save: Callable[..., Path], pooling: Any, head: bool
) -> None:
    model = save(tmp_path / "m", head=head, shard="20KB" if head else "1GB")
    extracted(dataset, model, tmp_path / "c")
    own = vectors_one_by_one(model, TEXTS, pooling=pooling)
    np.testing.assert_allclose(vectors(tmp_path / "c", dataset), own, rtol=0, atol=1e-5)


@pytest.mark.parametrize("pooling", get_args(Pooling))
def test_pooling_on_request(tmp_path: Path, dataset: Dataset, opt: Path, pooling: Any) -> None:
    extracted(dataset, opt, tmp_path / "c", pooling=pooling)
    own = vectors_one_by_one(opt, TEXTS, pooling=pooling)
    np.testing.assert_allclose(vectors(tmp_path / "c", dataset), own, rtol=0, atol=1e-5)
    assert VectorCache.open(tmp_path / "c").describe()["encoder"]["pooling"] == pooling


def test_a_sentence_encoders_own_pooling(tmp_path: Path, dataset: Dataset) -> None:
    model = save_bert(tmp_path / "m")
    (model / "1_Pooling").mkdir()
    (model / "1_Pooling" / "config.json").write_text('{"pooling_mode_mean_tokens": true}')
    extracted(dataset, model, tmp_path / "c")
    own = vectors_one_by_one(model, TEXTS, pooling="mean")
    np.testing.assert_allclose(vectors(tmp_path / "c", dataset), own, rtol=0, atol=1e-5)


def test_a_sentence_encoder_of_a_pooling_that_is_not_known(tmp_path: Path, dataset: Dataset) -> None:
    model = save_bert(tmp_path / "m")
    (model / "1_Pooling").mkdir()
    (model / "1_Pooling" / "config.json").write_text('{"pooling_mode": "attention"}')
    with pytest.raises(ModelError, match="'pooling_mode', one of cls, max, .*, lasttoken, found 'attention'; choose"):
        extracted(dataset, model, tmp_path / "c")


@pytest.mark.parametrize(
    "settings",
    [
        {"tokens_per_batch": 1},
        {"tokens_per_batch": 50},
        {"shard_rows": 1},
        {"shard_rows": 7, "tokens_per_batch": 17},
        {"shard_rows": 1000},
    ],
)
def test_batches_and_shards_change_nothing(
    tmp_path: Path, dataset: Dataset, opt: Path, expected: Any, settings: dict[str, int]
) -> None:
    done = extracted(dataset, opt, tmp_path / "c", **settings)
    np.testing.assert_allclose(vectors(tmp_path / "c", dataset), expected, rtol=0, atol=1e-5)
    rows = settings.get("shard_rows", 8192)
    assert len(VectorCache.open(tmp_path / "c").shards) == -(-done.sequences // rows)


def test_order_and_duplicates_change_nothing(tmp_path: Path, opt: Path, expected: Any) -> None:
    order = np.random.default_rng(1).integers(0, len(TEXTS), 100)
    shuffled = save_dataset(tmp_path / "d", [TEXTS[row] for row in order])
    done = extracted(shuffled, opt, tmp_path / "c", shard_rows=11)
    np.testing.assert_allclose(vectors(tmp_path / "c", shuffled), expected[order], rtol=0, atol=1e-5)
    assert done.items == 100
    assert done.texts == len({TEXTS[row] for row in order}) == done.sequences == done.computed


def test_counts(tmp_path: Path, opt: Path) -> None:
    long = "super mario " * 30
    dataset = save_dataset(tmp_path / "d", ["a", "b", "a", "", long, long + "2"])
    done = extracted(dataset, opt, tmp_path / "c")
    # Both long texts are cut to the same 30 tokens, so they share a vector.
    assert done == Extraction(
        caches=(tmp_path / "c",), parquet=(), items=6, texts=5, sequences=4, computed=4, cut=2, unknown_words=0,
        without_tokens=0, only_prompt=0, max_tokens=30,
    )  # fmt: skip
    assert done.summary() == (
        "6 items, 5 distinct texts, 4 distinct token sequences, 4 computed now\n"
        f"2 texts (40.00%) cut at 30 tokens\ncache: {tmp_path / 'c'}"
    )
    described = VectorCache.open(tmp_path / "c").describe()["datasets"][0]
    assert (described["items"], described["texts"], described["sequences"], described["texts_cut"]) == (6, 5, 4, 2)
    rows = vectors(tmp_path / "c", dataset)
    assert (rows[4] == rows[5]).all()
    assert (rows[0] == rows[2]).all()
    again = extracted(dataset, opt, tmp_path / "c")
    assert again == replace(done, computed=0)
    assert again.summary() == done.summary().replace("4 computed", "0 computed")


@pytest.mark.parametrize("max_tokens", [2, 5])
def test_long_texts_keep_their_front(tmp_path: Path, dataset: Dataset, opt: Path, max_tokens: int) -> None:
    extracted(dataset, opt, tmp_path / "c", max_tokens=max_tokens)
    own = vectors_one_by_one(opt, TEXTS, pooling="mean", max_tokens=max_tokens)
    np.testing.assert_allclose(vectors(tmp_path / "c", dataset), own, rtol=0, atol=1e-5)


def test_the_first_token_of_opt_counts(tmp_path: Path, opt: Path) -> None:
    dataset = save_dataset(tmp_path / "d", ["super mario"])
    extracted(dataset, opt, tmp_path / "c")
    ids = AutoTokenizer.from_pretrained(str(opt), local_files_only=True)("super mario")["input_ids"]
    model = AutoModel.from_pretrained(str(opt), local_files_only=True).eval()
    states = model(input_ids=torch.tensor([ids])).last_hidden_state[0].detach().numpy()
    assert ids[0] == 2
    np.testing.assert_allclose(vectors(tmp_path / "c", dataset)[0], states.mean(axis=0), rtol=0, atol=1e-5)
    assert np.abs(vectors(tmp_path / "c", dataset)[0] - states[1:].mean(axis=0)).max() > 0.01


def test_storage_in_float16_rounds_once(tmp_path: Path, dataset: Dataset, opt: Path, expected: Any) -> None:
    extracted(dataset, opt, tmp_path / "c", storage="float16")
    stored = vectors(tmp_path / "c", dataset)
    assert stored.dtype == np.float16
    assert np.abs(expected).max() < 4
    np.testing.assert_allclose(stored.astype(np.float64), expected, rtol=0, atol=FLOAT16)


def test_bfloat16_is_within_its_rounding(tmp_path: Path, dataset: Dataset, opt: Path, expected: Any) -> None:
    """Against transformers' own bfloat16; the tolerance is twice what that one itself is off from float32."""
    extracted(dataset, opt, tmp_path / "c", dtype="bfloat16")
    own = vectors_one_by_one(opt, TEXTS, pooling="mean", dtype=torch.bfloat16)
    rounding = np.abs(own - expected).max()
    assert 1e-4 < rounding < 0.1
    assert np.abs(vectors(tmp_path / "c", dataset) - own).max() <= 2 * rounding


def test_a_second_dataset_appends_what_is_missing(tmp_path: Path, opt: Path, expected: Any) -> None:
    first, second = save_dataset(tmp_path / "1", TEXTS[:20]), save_dataset(tmp_path / "2", TEXTS[10:])
    extracted(first, opt, tmp_path / "c")
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "c" / "shards").rglob("*.npy")}
    done = extracted(second, opt, tmp_path / "c")
    assert done.computed == len(set(TEXTS[10:]) - set(TEXTS[:20]))
    assert {file: file.stat().st_mtime_ns for file in before} == before
    np.testing.assert_allclose(vectors(tmp_path / "c", first), expected[:20], rtol=0, atol=1e-5)
    np.testing.assert_allclose(vectors(tmp_path / "c", second), expected[10:], rtol=0, atol=1e-5)


def test_what_is_there_needs_no_weights_in_memory(tmp_path: Path, dataset: Dataset, opt: Path) -> None:
    extracted(dataset, opt, tmp_path / "c")
    with no_model():
        assert extracted(dataset, opt, tmp_path / "c").computed == 0
        subset = save_dataset(tmp_path / "subset", TEXTS[5:9])
        assert extracted(subset, opt, tmp_path / "c").computed == 0


def test_a_warm_subset_needs_no_model_at_all(tmp_path: Path, dataset: Dataset) -> None:
    model = save_opt(tmp_path / "m")
    extracted(dataset, model, tmp_path / "c")
    whole = vectors(tmp_path / "c", dataset)
    for file in model.iterdir():
        file.unlink()
    subset = save_dataset(tmp_path / "subset", TEXTS[12:4:-1])
    assert (vectors(tmp_path / "c", subset) == whole[12:4:-1]).all()


def test_a_pruned_cache_serves_further(tmp_path: Path, opt: Path) -> None:
    """What a cache was never told of a dataset, such as how many texts were cut, is not made up."""
    extracted(save_dataset(tmp_path / "d", TEXTS), opt, tmp_path / "c")
    few = save_dataset(tmp_path / "few", TEXTS[:9])
    prune(tmp_path / "c", [few], tmp_path / "p")
    done = extracted(few, opt, tmp_path / "p")
    assert (done.items, done.computed, done.cut) == (9, 0, None)
    assert "an unknown number of texts cut at 30 tokens" in done.summary()


def test_a_shard_that_was_cut_short_is_noticed(tmp_path: Path, dataset: Dataset, opt: Path) -> None:
    extracted(dataset, opt, tmp_path / "c")
    (file,) = (tmp_path / "c" / "shards").rglob("vectors.npy")
    size = file.stat().st_size
    with file.open("r+b") as stream:
        stream.truncate(100)
    with pytest.raises(CacheError, match=rf"vectors.npy: expected {size} bytes, found 100 bytes; run .* --repair"):
        extracted(dataset, opt, tmp_path / "c")
