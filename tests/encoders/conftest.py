from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from small.encoders.families import save_family


@pytest.fixture(scope="session")
def family_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A small model of a family in several shards, made once and not to be changed."""
    return cache(lambda name: save_family(name, tmp_path_factory.mktemp("families") / name))
