from pathlib import Path
from typing import Any

import pytest

from small.encoders.models import edit_json, edit_weights, save_opt
from small.extract.extractions import extracted, no_model
from tcf.common.errors import CacheError, ConfigError, ModelError
from tcf.data import Dataset


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"pooling": "first"}, "pooling: mean found, first requested"),
        ({"max_tokens": 20}, "max_tokens: 30 found, 20 requested"),
        ({"dtype": "bfloat16"}, "compute: float32 found, bfloat16 requested"),
        ({"storage": "float16"}, "storage: float32 found, float16 requested"),
        ({"layers": (1,)}, "layer: -1 found, 1 requested"),
        ({"prefix": "query: "}, r"prefix: '' found, query:  requested"),
        ({"token_states": -1}, "expected a cache of token states, found one of vectors"),
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
    with pytest.raises(CacheError, match="weights: .* found"):
        extracted(dataset, save_opt(tmp_path / "other", seed=1), tmp_path / "c")
    merges = (model / "merges.txt").read_text().splitlines()
    (model / "merges.txt").write_text("\n".join(merges[:-5]) + "\n")
    with pytest.raises(CacheError, match="tokenizer: .* found") as caught:
        extracted(dataset, model, tmp_path / "c")
    assert str(caught.value).count("requested") == 1
    with pytest.raises(CacheError, match="architecture: .* found"):
        edit_json(model / "config.json", num_attention_heads=2)
        extracted(dataset, model, tmp_path / "c")


def test_a_foreign_directory_is_left_alone(tmp_path: Path, dataset: Dataset, opt: Path) -> None:
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "notes.txt").write_text("mine")
    with no_model(), pytest.raises(CacheError, match="found other files"):
        extracted(dataset, opt, tmp_path / "c")
    assert [file.name for file in (tmp_path / "c").iterdir()] == ["notes.txt"]


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
    with pytest.raises(ConfigError, match="--devices"):
        extracted(dataset, opt, tmp_path / "c", devices=device)
