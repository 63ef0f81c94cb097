"""Units that run on Slurm beside a test, which disturbs their jobs meanwhile."""

import subprocess
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from small.launch.waiting import wait_for
from tcf.common.parsing import read_json
from tcf.config.launch import LaunchConfig
from tcf.launch.launchers.run_units import UnitResults, run_units
from tcf.launch.launchers.slurm.slurm_launcher import SlurmLauncher
from tcf.launch.units.records import Records
from tcf.launch.units.tasks import Stage
from tcf.launch.units.unit import Unit

__all__ = ["Beside", "files_of", "job_of", "pid_of", "queue"]

RESULTS = {".npy", ".parquet", ".safetensors", ".jsonl"}


@dataclass
class Beside:
    """A command that runs units on Slurm, in a thread.

    Attributes:
        units: the units.
        records: their records.
        launch: settings of all stages.
        tries: how often each is tried.
    """

    units: Sequence[Unit]
    records: Records
    launch: Mapping[Stage, LaunchConfig]
    tries: int = 2
    _results: list[UnitResults] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        launcher = SlurmLauncher(self.launch, self.records, poll=0.5, patience=3.0)
        self._results.append(run_units(self.units, self.records, launcher, tries=self.tries))

    def results(self, patience: float) -> UnitResults:
        """Wait for the end of all units."""
        self._thread.join(patience)
        assert self._results, "the units have not ended, or the command has failed"
        return self._results[0]

    def wait_for_line(self, unit: Unit, words: str, patience: float = 120) -> None:
        """Wait until a unit has printed something."""
        log = self.records.log(unit.name)
        wait_for(lambda: log.exists() and words in log.read_text(), patience=patience)


def job_of(unit: Unit, records: Records) -> str:
    """The job that runs a unit, or has run it."""
    record = records.read(unit.name)
    assert record is not None
    return record.job


def pid_of(unit: Unit, records: Records) -> int:
    """The process that runs a unit."""
    return int(read_json(records.lease(unit.name))["pid"])


def queue() -> list[str]:
    """Names and states of all jobs that Slurm has not ended."""
    done = subprocess.run(["squeue", "--noheader", "--format", "%j %T"], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def files_of(out: Path) -> dict[str, bytes]:
    """The results below a folder, without what names times and places."""
    files = [file for file in out.rglob("*") if file.suffix in RESULTS and "datasets" not in file.parts]
    return {str(file.relative_to(out)): file.read_bytes() for file in files if "state" not in file.parts}
