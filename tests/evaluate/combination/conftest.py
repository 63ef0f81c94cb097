"""Runs that several files of tests combine."""

from pathlib import Path

import pytest

from small.evaluate.member_runs import prepared, trained
from small.train.runs import walks


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset, its cache, two runs, and their refits."""
    place = tmp_path_factory.mktemp("runs")
    data, cache = prepared(place, walks())
    for items in ("text", "id"):
        trained(place, items, data, cache, items=items)
        trained(place, f"{items}-refit", data, cache, items=items, refit=True)
    return place
