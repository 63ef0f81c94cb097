"""Processes that can only do their work together: when one of them fails, all are ended, and the reason is raised."""

import json
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import IO, Any

from tcf.common import errors
from tcf.common.errors import RunError, TcfError
from tcf.launch.processes import Work, end, start

__all__ = ["Member", "work_together"]

_LOOK = 0.05  # seconds between two looks at the processes
_GRACE = 3.0  # seconds in which the others may say why they failed too
_LINES = 20


@dataclass(frozen=True)
class Member:
    """A process to be.

    Attributes:
        name: for people.
        module: its function `main` is called.
        work: what it is to do.
        environment: variables of its own.
    """

    name: str
    module: str
    work: Work
    environment: Mapping[str, str]


@dataclass(frozen=True, eq=False)
class _Running:
    """A process of the team.

    Attributes:
        name: for people.
        process: its standard input is open for as long as it shall live.
        told: its standard output, where it says why it failed.
        said: its standard error; None for the first, which writes to ours.
    """

    name: str
    process: "subprocess.Popen[bytes]"
    told: IO[bytes]
    said: IO[bytes] | None


def work_together(members: Sequence[Member]) -> None:
    """Start processes and wait until all have done their work; whatever ends this process ends them.

    What the first one writes to standard error goes to ours, what the others write is kept for the case that one fails.

    Args:
        members: the processes.

    Raises:
        TcfError: what a process said for a reason that a user can mend; or it was ended from outside.
        RuntimeError: a process failed for another reason.
    """
    with ExitStack() as stack:
        team: list[_Running] = []
        # Also when one cannot be started, or this process is interrupted.
        stack.callback(lambda: end([running.process for running in team]))
        for member in members:
            team.append(_started(member, stack, quiet=bool(team)))
        failed = _wait(team)
        if failed:
            # The first to fail has failed by itself; of the others nobody knows.
            raise _reason(failed, team)


def _started(member: Member, stack: ExitStack, *, quiet: bool) -> _Running:
    told = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - closed with the stack
    said = stack.enter_context(tempfile.TemporaryFile()) if quiet else None  # noqa: SIM115
    process = start(member.module, member.work, told=told, said=said, environment=member.environment)
    return _Running(member.name, process, told, said)


def _wait(team: Sequence[_Running]) -> list[_Running]:
    """Wait until all have ended, or one has failed; those that failed, the first ones to end first."""
    ended: list[_Running] = []
    ends = float("inf")
    while len(ended) < len(team) and time.monotonic() < ends:
        time.sleep(_LOOK)
        ended += [running for running in team if running not in ended and running.process.poll() is not None]
        if ends == float("inf") and any(running.process.returncode for running in ended):
            ends = time.monotonic() + _GRACE
    return [running for running in ended if running.process.returncode]


def _reason(failed: Sequence[_Running], team: Sequence[_Running]) -> Exception:
    """What ended a process from outside; else what a user can mend; else what was said first.

    A process whose partner is gone fails as well, so not everything that was said is a reason.
    """
    for running in failed:
        number = -running.process.returncode if running.process.returncode < 0 else running.process.returncode - 128
        if number in set(signal.Signals):
            name = signal.Signals(number).name
            return RunError(f"{running.name} was ended by {name}, and so were the others; run the same command again")
    told = [(running.name, _told(running)) for running in sorted(failed, key=team.index)]
    for _, why in told:
        if why["error"] is not None:
            return _error(why["error"], why["text"])
    name, why = min(told, key=lambda pair: pair[1]["at"])
    return RuntimeError(f"{name} failed:\n{why['text']}")


def _told(running: _Running) -> dict[str, Any]:
    """What a process told of its failure; the end of its standard error, if nothing."""
    lines = _lines(running.told)
    if lines:
        why: dict[str, Any] = json.loads(lines[-1])
        return why
    text = "\n".join(_lines(running.said)[-_LINES:]) if running.said is not None else "see above"
    return {"error": None, "text": f"status {running.process.returncode}: {text}", "at": float("inf")}


def _lines(stream: IO[bytes]) -> list[str]:
    stream.seek(0)
    return stream.read().decode(errors="replace").splitlines()


def _error(kind: str, text: str) -> TcfError:
    known = {name: value for name, value in vars(errors).items() if isinstance(value, type)}
    error: TcfError = known[kind](text)
    return error
