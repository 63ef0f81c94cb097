"""The place of all trials, and the figures in the end."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from small.faults.trials import Tally

TALLY = pytest.StashKey[Tally]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[TALLY] = Tally()


@pytest.fixture(scope="session")
def tally(request: pytest.FixtureRequest) -> Tally:
    """Counts of this run, printed in its end."""
    return request.config.stash[TALLY]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    lines = list(config.stash[TALLY].lines())
    if len(lines) > 1:
        terminalreporter.section("faults")
        for line in lines:
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def seed() -> int:
    """Of everything that is drawn; `TCF_TEST_SEED` sets another."""
    return int(os.environ.get("TCF_TEST_SEED", "0"))


@pytest.fixture(scope="session")
def every() -> bool:
    """Whether all trials are made, as `make faults` does, or a few of each kind."""
    return os.environ.get("TCF_FAULTS") == "all"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An empty working directory, with `TCF_HOME` in it."""
    folder = tmp_path_factory.mktemp("world")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("TCF_HOME", str(folder / "home"))
        yield folder
