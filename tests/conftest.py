"""What tests of several packages share."""

import os
from pathlib import Path

import pytest

from tcf.obtain import home

# Tests compute little at a time: threads that wait for one another on a busy machine would take ten times as long.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def assets_home() -> Path:
    """The user's ordinary folder of assets, so that real ones are fetched once a machine and not once a test run."""
    return home()
