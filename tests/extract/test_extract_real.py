from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from small_extractions import extracted, vectors
from small_models import save_dataset
from tcf.assets import fetch_dataset, resolve_model


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
