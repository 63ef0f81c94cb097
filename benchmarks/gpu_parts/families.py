"""Vectors of every family on the device, compared with transformers on the CPU in float32, one text at a time."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gpu_parts.part import Finding, Setting, at_least
from gpu_parts.stage import dataset_of, extracted
from small.encoders.families import ENCODERS, FAMILIES, hidden_states, own_model, save_family
from small.encoders.models import save_dataset, token_ids
from tcf.config.extract import ExtractConfig

__all__ = ["check_families"]

_FLOAT32, _16_BITS = 1 - 1e-6, 0.999
_TEXTS, _MAX_TOKENS = 24, 30
_CHECKED = ("opt", "opt-post-norm", "gpt2", "gpt_neox", "llama", "qwen2", "mistral", "bert", "roberta", "t5")
_REHEARSED = ("opt", "llama", "bert")


def check_families(setting: Setting) -> Iterator[Finding]:
    """The lowest cosine of any text's vector, for each family and type."""
    texts = dataset_of(setting, _TEXTS).texts.to_pylist()
    dataset = save_dataset(setting.scratch / "families", texts)
    for name in _REHEARSED if setting.small else _CHECKED:
        folder = save_family(name, setting.scratch / name)
        reference = _reference(name, folder, texts)
        for dtype, floor in (("float32", _FLOAT32), ("bfloat16", _16_BITS), ("float16", _16_BITS)):
            kind: Any = dtype
            config = ExtractConfig(dtype=kind, storage="float32", devices=str(setting.device), tokens_per_batch=256)
            vectors = extracted(setting, folder, dataset, config=config).vectors
            yield at_least(f"{name}, {dtype}: lowest cosine", _lowest_cosine(vectors, reference), floor, ".7f")


def _reference(name: str, folder: Path, texts: Sequence[str]) -> npt.NDArray[np.float64]:
    """Vectors from the states of transformers, pooled here in float64."""
    model, blocks = own_model(name, folder), FAMILIES[name].blocks
    rows = []
    for text in texts:
        states = hidden_states(model, blocks, token_ids(folder, text, _MAX_TOKENS))[-1].double().numpy()
        rows.append(states[0] if name in ENCODERS else states.sum(0) / len(states))
    return np.stack(rows)


def _lowest_cosine(a_ND: npt.NDArray[Any], b_ND: npt.NDArray[Any]) -> float:
    a, b = a_ND.astype(np.float64), b_ND.astype(np.float64)
    return float(((a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))).min())
