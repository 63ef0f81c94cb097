"""Real models on real titles, beside transformers' own forward in padded batches."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from small.encoders.models import save_dataset
from small.extract.extractions import extracted, vectors
from tcf.assets.resolve import fetch_dataset, resolve_model
from tcf.encoders.folder.local_model import local_model

GAMES = Path(__file__).parents[3] / "shared" / "data" / "games" / "items.tsv"
LAYER = 15


@pytest.fixture(scope="module")
def film_titles(assets_home: Path) -> list[str]:
    """The first 200 titles of MovieLens."""
    lines = (fetch_dataset("ml-100k") / "ml-100k.item").read_text(encoding="utf-8").splitlines()
    return [line.split("\t")[1] for line in lines[1:201]]


@pytest.fixture(scope="module")
def game_titles() -> list[str]:
    """500 titles of video games, the short ones first, so that batches of them need little padding."""
    if not GAMES.is_file():
        pytest.skip(f"{GAMES} is not there")
    lines = GAMES.read_text(encoding="utf-8").splitlines()
    return sorted((line.split("\t", 1)[1] for line in lines[:: len(lines) // 500][:500]), key=len)


def padded(model: Any, tokenizer: Any, texts: list[str]) -> Iterator[tuple[Any, torch.Tensor]]:
    """transformers' output and its mask, (B, T, 1), of batches in the order of the texts."""
    for start in range(0, len(texts), 50):
        batch = tokenizer(texts[start : start + 50], padding=True, truncation=True, max_length=30, return_tensors="pt")
        with torch.no_grad():
            yield model(**batch, output_hidden_states=True), batch["attention_mask"][..., None]


def mean(states_BTD: torch.Tensor, mask_BT1: torch.Tensor) -> npt.NDArray[np.float32]:
    return np.asarray(((states_BTD * mask_BT1).sum(dim=1) / mask_BT1.sum(dim=1)).numpy())


@pytest.mark.parametrize("titles", ["film_titles", "game_titles"])
def test_minilm_reads_real_titles(
    tmp_path: Path, assets_home: Path, titles: str, request: pytest.FixtureRequest
) -> None:
    texts = request.getfixturevalue(titles)
    folder = resolve_model("minilm")
    dataset = save_dataset(tmp_path / "d", texts)
    extracted(dataset, folder, tmp_path / "c")
    tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    model = AutoModel.from_pretrained(str(folder), local_files_only=True).eval()
    means = np.concatenate([mean(output.last_hidden_state, mask) for output, mask in padded(model, tokenizer, texts)])
    own = means / np.linalg.norm(means, axis=1, keepdims=True)  # its modules end with Normalize
    np.testing.assert_allclose(vectors(tmp_path / "c", dataset), own, rtol=0, atol=1e-5)


def test_smollm2_reads_real_titles(tmp_path: Path, assets_home: Path, game_titles: list[str]) -> None:
    folder, titles = local_model("smollm2-135m"), game_titles[::5]
    dataset = save_dataset(tmp_path / "d", titles)
    extracted(dataset, folder, tmp_path / "c", layers=(LAYER, -1))
    tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    tokenizer.padding_side = "right"
    model = AutoModel.from_pretrained(str(folder), local_files_only=True, dtype=torch.float32).eval()
    outputs = list(padded(model, tokenizer, titles))
    middle = np.concatenate([mean(output.hidden_states[LAYER], mask) for output, mask in outputs])
    last = np.concatenate([mean(output.last_hidden_state, mask) for output, mask in outputs])
    # In the middle of this model some numbers are in the thousands.
    scale = np.abs(middle).max()
    np.testing.assert_allclose(vectors(tmp_path / "c" / f"layer{LAYER}", dataset), middle, rtol=0, atol=1e-5 * scale)
    np.testing.assert_allclose(vectors(tmp_path / "c" / "layer-1", dataset), last, rtol=0, atol=1e-3)
