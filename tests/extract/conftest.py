from pathlib import Path
from typing import Any

import pytest

from small_extractions import TEXTS
from small_models import save_dataset, save_opt, vectors_one_by_one
from tcf.data import Dataset


@pytest.fixture(scope="session")
def opt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_opt(tmp_path_factory.mktemp("opt") / "m")


@pytest.fixture(scope="session")
def expected(opt: Path) -> Any:
    return vectors_one_by_one(opt, TEXTS, pooling="mean")


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return save_dataset(tmp_path / "d", TEXTS)
