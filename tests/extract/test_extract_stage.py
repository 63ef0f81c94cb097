import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

import tcf.extract.stage as module
from small_models import (
    TITLES,
    edit_json,
    edit_weights,
    made_up_texts,
    save_bert,
    save_dataset,
    save_opt,
    token_ids,
    vectors_one_by_one,
)
from tcf.assets import fetch_dataset, resolve_model
from tcf.config import ExtractConfig
from tcf.data import Dataset, VectorCache
from tcf.errors import CacheError, ConfigError, ModelError
from tcf.extract.stage import Extraction, extract

TEXTS = [*TITLES, *made_up_texts(30)]
# Half the distance of neighbours among float16 numbers below 4, and the arithmetic's own rounding.
FLOAT16 = 2**-10 + 1e-5


@pytest.fixture(scope="module")
def opt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_opt(tmp_path_factory.mktemp("opt") / "m")


@pytest.fixture(scope="module")
def expected(opt: Path) -> Any:
    return vectors_one_by_one(opt, TEXTS, pooling="mean")


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return save_dataset(tmp_path / "d", TEXTS)


def extracted(dataset: Dataset, model: Path, out: Path, **settings: Any) -> Extraction:
    config = ExtractConfig(**{"storage": "float32", "device": "cpu", **settings})
    return extract(data=dataset.path, model=model, name="small", out=out, config=config)


def vectors(out: Path, dataset: Dataset) -> Any:
    cache = VectorCache.open(out)
    cache.verify()
    return cache.vectors_for(dataset)


@contextmanager
def no_model() -> Iterator[None]:
    """Within it, weights cannot be loaded."""

    def refuse(*arguments: object) -> None:
        raise AssertionError("the model was loaded")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "load_encoder", refuse)
        yield


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


@pytest.mark.parametrize("pooling", ["mean", "first", "last"])
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


def test_a_sentence_encoder_of_a_pooling_that_is_not_there(tmp_path: Path, dataset: Dataset) -> None:
    model = save_bert(tmp_path / "m")
    (model / "1_Pooling").mkdir()
    (model / "1_Pooling" / "config.json").write_text('{"pooling_mode_max_tokens": true}')
    with pytest.raises(ConfigError, match="--pooling: expected mean, first or last"):
        extracted(dataset, model, tmp_path / "c")
    extracted(dataset, model, tmp_path / "c", pooling="mean")


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
    assert done == Extraction(items=6, texts=5, sequences=4, computed=4, cut=2)
    described = VectorCache.open(tmp_path / "c").describe()["datasets"][0]
    assert (described["items"], described["texts"], described["sequences"], described["texts_cut"]) == (6, 5, 4, 2)
    rows = vectors(tmp_path / "c", dataset)
    assert (rows[4] == rows[5]).all()
    assert (rows[0] == rows[2]).all()
    assert extracted(dataset, opt, tmp_path / "c").computed == 0


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


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"pooling": "first"}, "pooling: mean there, first asked for"),
        ({"max_tokens": 20}, "max_tokens: 30 there, 20 asked for"),
        ({"dtype": "bfloat16"}, "compute: float32 there, bfloat16 asked for"),
        ({"storage": "float16"}, "storage: float32 there, float16 asked for"),
    ],
)
def test_other_options_are_refused_before_the_work(
    tmp_path: Path, dataset: Dataset, opt: Path, settings: dict[str, Any], words: str
) -> None:
    extracted(dataset, opt, tmp_path / "c")
    with no_model(), pytest.raises(CacheError, match=words):
        extracted(dataset, opt, tmp_path / "c", **settings)


def test_other_weights_and_another_tokenizer_are_refused(tmp_path: Path, dataset: Dataset) -> None:
    model = save_opt(tmp_path / "m")
    extracted(dataset, model, tmp_path / "c")
    with pytest.raises(CacheError, match="weights: .* there"):
        extracted(dataset, save_opt(tmp_path / "other", seed=1), tmp_path / "c")
    merges = (model / "merges.txt").read_text().splitlines()
    (model / "merges.txt").write_text("\n".join(merges[:-5]) + "\n")
    with pytest.raises(CacheError, match="tokenizer: .* there") as caught:
        extracted(dataset, model, tmp_path / "c")
    assert str(caught.value).count("asked for") == 1
    with pytest.raises(CacheError, match="architecture: .* there"):
        edit_json(model / "config.json", num_attention_heads=2)
        extracted(dataset, model, tmp_path / "c")


def test_a_foreign_directory_is_left_alone(tmp_path: Path, dataset: Dataset, opt: Path) -> None:
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "notes.txt").write_text("mine")
    with no_model(), pytest.raises(CacheError, match="found other files"):
        extracted(dataset, opt, tmp_path / "c")
    assert [file.name for file in (tmp_path / "c").iterdir()] == ["notes.txt"]


def test_a_value_beyond_float16_names_the_item_and_leaves_no_cache(tmp_path: Path, dataset: Dataset) -> None:
    model = save_opt(tmp_path / "m")
    edit_weights(model, {"decoder.final_layer_norm.weight": torch.full((32,), 1e6)})
    with pytest.raises(ModelError, match=r"item i\d+ \('.*'\).*does not fit float16 .*--storage float32"):
        extracted(dataset, model, tmp_path / "c", storage="float16")
    extracted(dataset, model, tmp_path / "c", storage="float32")
    assert np.abs(vectors(tmp_path / "c", dataset)).max() > 65_504


def test_weights_that_are_not_numbers_name_an_item(tmp_path: Path, dataset: Dataset) -> None:
    model = save_opt(tmp_path / "m")
    edit_weights(model, {"decoder.final_layer_norm.bias": torch.full((32,), torch.nan)})
    with pytest.raises(ModelError, match=r"item i0 \('The Legend of Zelda: Ocarina of Time'\) and .* not finite"):
        extracted(dataset, model, tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_the_item_named_is_the_one_whose_text_is_at_fault(tmp_path: Path) -> None:
    model = save_opt(tmp_path / "m")
    texts = ["mario", "mario", "zelda", "mario 2", "日", "日", "star"]
    weights = AutoModel.from_pretrained(str(model), local_files_only=True).decoder.embed_tokens.weight.detach().clone()
    weights[token_ids(model, "日", 30)[1:]] = torch.nan
    edit_weights(model, {"decoder.embed_tokens.weight": weights})
    with pytest.raises(ModelError, match=r"item i4 \('日'\): the language model gave a value that is not finite"):
        extracted(save_dataset(tmp_path / "d", texts), model, tmp_path / "c", shard_rows=3)
    # The shard before it is there, and stays of use.
    assert VectorCache.open(tmp_path / "c").n_rows == 3


def test_what_cannot_work_leaves_no_cache(tmp_path: Path, dataset: Dataset) -> None:
    model = save_opt(tmp_path / "m")
    with pytest.raises(ConfigError, match="--max-tokens: expected at most 64"):
        extracted(dataset, model, tmp_path / "c", max_tokens=65)
    edit_weights(model, {"decoder.layers.0.fc1.weight": None})
    with pytest.raises(ModelError, match="lacks 1 weights"):
        extracted(dataset, model, tmp_path / "c")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["d", "m"]


@pytest.mark.parametrize("device", ["tpu", "cuda:99", "meta", ""])
def test_a_device_that_is_not_there(tmp_path: Path, dataset: Dataset, opt: Path, device: str) -> None:
    with pytest.raises(ConfigError, match="--device"):
        extracted(dataset, opt, tmp_path / "c", device=device)


def test_two_processes_at_once_make_one_right_cache(tmp_path: Path, opt: Path, expected: Any) -> None:
    first, second = save_dataset(tmp_path / "1", TEXTS), save_dataset(tmp_path / "2", TEXTS[::-1])
    # Both import what they need, say so, and begin when both have.
    program = (
        "import sys, tcf.extract.stage, tcf.cli\nfrom transformers import AutoModel, AutoTokenizer\n"
        "print('ready', flush=True); sys.stdin.readline(); tcf.cli.main()"
    )
    common = ["--model", str(opt), "--out", str(tmp_path / "c"), "--storage", "float32", "--shard-rows", "1"]
    running = [
        subprocess.Popen(
            [sys.executable, "-c", program, "extract", "--data", str(dataset.path), *common, "--device", "cpu"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for dataset in (first, second)
    ]
    assert [process.stdout and process.stdout.readline() for process in running] == ["ready\n", "ready\n"]
    for process in running:
        print(file=process.stdin, flush=True)
    for process in running:
        _, said = process.communicate(timeout=300)
        assert process.returncode == 0, said
    np.testing.assert_allclose(vectors(tmp_path / "c", first), expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(vectors(tmp_path / "c", second), expected[::-1], rtol=0, atol=1e-5)
    assert not list(tmp_path.rglob(".*.partial-*"))


@pytest.fixture(scope="module")
def film_titles(assets_home: Path) -> list[str]:
    """The first 200 titles of MovieLens."""
    lines = (fetch_dataset("ml-100k") / "ml-100k.item").read_text(encoding="utf-8").splitlines()
    return [line.split("\t")[1] for line in lines[1:201]]


def test_minilm_reads_real_titles_as_transformers_does_in_padded_batches(
    tmp_path: Path, film_titles: list[str]
) -> None:
    folder = resolve_model("minilm")
    dataset = save_dataset(tmp_path / "d", film_titles)
    extracted(dataset, folder, tmp_path / "c")
    tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    model = AutoModel.from_pretrained(str(folder), local_files_only=True).eval()
    rows = []
    for start in range(0, len(film_titles), 50):
        batch = tokenizer(
            film_titles[start : start + 50], padding=True, truncation=True, max_length=30, return_tensors="pt"
        )
        with torch.no_grad():
            states = model(**batch).last_hidden_state
        mask = batch["attention_mask"][..., None]
        rows.append(((states * mask).sum(dim=1) / mask.sum(dim=1)).numpy())
    np.testing.assert_allclose(vectors(tmp_path / "c", dataset), np.concatenate(rows), rtol=0, atol=1e-5)
