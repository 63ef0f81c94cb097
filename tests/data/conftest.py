"""What tests of raw data share."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tcf.data.tables.engine import Engine


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator["Engine"]:
    """One engine for the tests of a module: their tables have different names."""
    from tcf.data.tables.engine import Engine

    with Engine(tmp_path_factory.mktemp("engine") / "scratch") as opened:
        yield opened
