"""Extractions by small models."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
import torch

from small.encoders.families import FAMILIES, hidden_states, own_model
from small.encoders.models import TITLES, made_up_texts, token_ids
from tcf.config.extract import ExtractConfig
from tcf.data import Dataset, VectorCache
from tcf.data.cache.caches import TokenStates
from tcf.extract import stage as module
from tcf.extract.result import Extraction
from tcf.extract.stage import extract

__all__ = [
    "TEXTS",
    "config",
    "extracted",
    "no_model",
    "own_states",
    "pooled",
    "token_rows",
    "vectors",
]


TEXTS = [*TITLES, *made_up_texts(30)]


def config(**settings: Any) -> ExtractConfig:
    """Settings of tests; without a trial, whose result depends on how busy the machine is."""
    return ExtractConfig(**{"storage": "float32", "devices": "cpu", "tokens_per_batch": 2048, **settings})


def extracted(dataset: Dataset, model: Path, out: Path, **settings: Any) -> Extraction:
    return extract(data=dataset.path, model=model, name="small", out=out, config=config(**settings))


def vectors(out: Path, dataset: Dataset) -> Any:
    cache = VectorCache.open(out)
    cache.verify()
    return cache.vectors_for(dataset)


def token_rows(out: Path, dataset: Dataset) -> list[npt.NDArray[np.float64]]:
    """The stored states of every item's tokens, (T, D) each."""
    cache = TokenStates.open(out)
    cache.verify()
    states, offsets = cache.gather(cache.rows_for(dataset))
    numbers = torch.from_numpy(states).view(torch.bfloat16) if cache.storage == "bfloat16" else torch.from_numpy(states)
    return np.split(numbers.double().numpy(), offsets[1:-1])


def own_states(family: str, folder: Path) -> list[dict[int, npt.NDArray[np.float64]]]:
    """Transformers' own states of every text read alone with its mask, (T, D) a layer."""
    model, blocks = own_model(family, folder), FAMILIES[family].blocks
    found = [hidden_states(model, blocks, token_ids(folder, text, 30)) for text in TEXTS]
    return [{layer: states.double().numpy() for layer, states in layers.items()} for layers in found]


def pooled(states: npt.NDArray[np.float64], pooling: Literal["mean", "first"]) -> npt.NDArray[np.float64]:
    """One vector a text."""
    mean: npt.NDArray[np.float64] = states.sum(axis=0) / len(states)
    return states[0] if pooling == "first" else mean


@contextmanager
def no_model() -> Iterator[None]:
    """Within it, weights cannot be loaded."""

    def refuse(*arguments: object) -> None:
        raise AssertionError("the model was loaded")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "load_engine", refuse)
        yield
