"""Leaves a study to itself: to this command in the background, or to Slurm, which gets everything at once."""

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tcf.common.errors import RunError
from tcf.common.files import writing
from tcf.common.output.folders import make_folder
from tcf.launch.study.run_study import forget_results
from tcf.launch.study.status.started import claimed, is_claimed, note_start, watch_command
from tcf.launch.study.study import Study
from tcf.launch.units.records import Records

__all__ = ["Detached", "detach"]

_TURN = 0.1  # seconds between two looks


@dataclass(frozen=True)
class Detached:
    """What was left to itself.

    Attributes:
        study: the study.
        process: number of the process in the background; 0 if jobs were handed to a scheduler.
        jobs: numbers of the jobs.
        log: the file with what the command prints; None for jobs.
    """

    study: Study
    process: int
    jobs: tuple[str, ...]
    log: Path | None

    def as_json(self) -> dict[str, Any]:
        """The same as JSON values."""
        return {
            "study": str(self.study.out),
            "process": self.process or None,
            "jobs": [*self.jobs],
            "log": None if self.log is None else str(self.log),
        }

    def summary(self) -> str:
        """How to follow it, and how to stop it."""
        if self.process:
            about = [f"study: runs in the background, process {self.process}", f"log: {self.log}"]
            stop = f"kill {self.process}"
        else:
            jobs = ", ".join(self.jobs) or "none, since nothing is left to do or all of it is queued already"
            about = [f"study: jobs of Slurm: {jobs}"]
            stop = shlex.join(["scancel", *self.jobs])
        return "\n".join([*about, f"watch it: {watch_command(self.study)}", f"stop it: {stop}"])


def detach(study: Study, overrides: Sequence[str], arguments: Sequence[str]) -> Detached:
    """Leave a study to itself.

    If units of some stage run on Slurm, all of them are submitted, each to wait for those that it needs. Otherwise
    the same command is started in the background, in a session of its own, so that it outlives the terminal.

    Args:
        study: the study.
        overrides: the entries that replaced those of its file.
        arguments: of `tcf`, for the same command without --detach.

    Raises:
        RunError: another command is at the study, or its folder cannot be written.
        TcfError: jobs cannot be submitted.
    """
    stages = {unit.stage for unit in study.units}
    with claimed(study):  # refused here, where somebody reads it
        if any(study.launch[stage].launcher == "slurm" for stage in stages):
            return _submit(study, overrides)
    return _start(study, arguments)


def _submit(study: Study, overrides: Sequence[str]) -> Detached:
    from tcf.launch.launchers.slurm.submit_all import submit_all
    from tcf.launch.study.predict import with_predictions

    records = Records(study.state)
    note_start(study, overrides, "submitted")
    forget_results(study, records)
    jobs = submit_all(with_predictions(study).units, study.launch, records).jobs
    return Detached(study, 0, jobs, None)


def _start(study: Study, arguments: Sequence[str]) -> Detached:
    log = study.state / "study.log"
    with writing(log):
        make_folder(log.parent)
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "tcf", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            start_new_session=True,
        )
    finally:
        os.close(descriptor)
    _wait_for_the_start(process, study, log)
    return Detached(study, process.pid, (), log)


def _wait_for_the_start(process: "subprocess.Popen[bytes]", study: Study, log: Path) -> None:
    """Wait until the command is at the study, so that a status says so, or has ended.

    Raises:
        RunError: it has ended at once.
    """
    while not is_claimed(study.out):
        status = process.poll()
        if status is None:
            time.sleep(_TURN)
        elif status == 0:
            return  # all was done
        else:
            lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
            reason = lines[-1].removeprefix("tcf: error: ") if lines else f"it ended with status {status}"
            raise RunError(f"{study.out}: expected the command to go on in the background, but {reason} (see {log})")
