from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from small.encoders.families import save_family
from small.encoders.models import save_bert, vectors_one_by_one
from small.extract.extractions import TEXTS


@pytest.fixture(scope="session")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_bert(tmp_path_factory.mktemp("bert") / "m")


@pytest.fixture(scope="session")
def family(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A small model of a family with three blocks, made once and not to be changed."""
    return cache(lambda name: save_family(name, tmp_path_factory.mktemp("families") / name))


@pytest.fixture(scope="session")
def expected(opt: Path) -> Any:
    return vectors_one_by_one(opt, TEXTS, pooling="mean")
