"""What tests of several packages share."""

import logging
import os
import shutil
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tcf.common.files import home
from tcf.common.logs import configure_logging

if TYPE_CHECKING:
    from small.train.trainings import Train
    from tcf.data import Dataset

# Tests compute little at a time: threads that wait for one another on a busy machine would take ten times as long.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let reports be sent by processes, in UTF-8: some tests log texts that are not, which pytest captures."""
    report = yield
    report.sections = [(name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections]
    return report


@pytest.fixture(scope="session")
def assets_home() -> Path:
    """The user's ordinary folder of assets, so that real ones are fetched once a machine and not once a test run."""
    return home()


@pytest.fixture(autouse=True)
def unchanged_log() -> Iterator[None]:
    """Every test begins with a log of tcf that nobody has configured, whatever tests and fixtures before it did."""
    logger = logging.getLogger("tcf")
    logger.setLevel(logging.NOTSET)
    logger.handlers.clear()
    yield
    logger.setLevel(logging.NOTSET)
    logger.handlers.clear()


@pytest.fixture
def shown_log(unchanged_log: None) -> None:
    """The log of tcf on standard error, as the command line shows it."""
    configure_logging()


# Imports stand inside the fixtures: most tests need neither torch nor transformers.


@pytest.fixture(scope="session")
def opt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from small.encoders.models import save_opt

    return save_opt(tmp_path_factory.mktemp("opt") / "m")


@pytest.fixture
def dataset(tmp_path: Path) -> "Dataset":
    from small.encoders.models import save_dataset
    from small.extract.extractions import TEXTS

    return save_dataset(tmp_path / "d", TEXTS)


@pytest.fixture
def run_train(tmp_path: Path) -> "Train":
    """Train on a small dataset below `tmp_path`."""
    from small.train.trainings import trainings

    return trainings(tmp_path)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs, not to be changed."""
    from small.train.evaluations import make_runs
    from small.train.runs import walks

    folder = tmp_path_factory.mktemp("made")
    make_runs(folder, walks())
    return folder


@pytest.fixture
def runs(made: Path, tmp_path: Path) -> Path:
    """A copy of the folder of runs, to be spoilt."""
    return Path(shutil.copytree(made, tmp_path / "made"))


@pytest.fixture
def own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Results of calibration runs are stored for this test alone."""
    monkeypatch.setenv("TCF_HOME", str(tmp_path_factory.mktemp("home")))
