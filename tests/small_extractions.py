"""Extractions by small models."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import tcf.extract.stage as module
from small_models import TITLES, made_up_texts
from tcf.config import ExtractConfig
from tcf.data import Dataset, VectorCache
from tcf.extract.stage import Extraction, extract

__all__ = [
    "TEXTS",
    "extracted",
    "no_model",
    "vectors",
]


TEXTS = [*TITLES, *made_up_texts(30)]


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
