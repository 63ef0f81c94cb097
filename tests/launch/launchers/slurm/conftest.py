"""Slurm's commands, and the records of its jobs."""

from pathlib import Path

import pytest

from small.launch.fake_slurm import FakeSlurm
from tcf.launch.units.records import Records


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    return FakeSlurm.installed(tmp_path / "bin", monkeypatch)


@pytest.fixture
def records(tmp_path: Path) -> Records:
    return Records(tmp_path / "state")
