import shutil
from pathlib import Path

import pytest

from small_evaluations import make_runs
from small_runs import walks


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    make_runs(folder, walks())
    return folder


@pytest.fixture
def runs(made: Path, tmp_path: Path) -> Path:
    """A copy of its own, to be spoilt."""
    return Path(shutil.copytree(made, tmp_path / "made"))
