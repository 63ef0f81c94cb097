"""Measurements of processes from outside: their duration and their peak memory."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Ended", "drop_from_cache", "end_orderly", "expect", "mib", "read_of_disks", "table", "watch"]

_BETWEEN_LOOKS = 0.01  # seconds
_UNBACKED = re.compile(rb"^Rss(?:Anon|Shmem):\s+(\d+) kB", re.MULTILINE)
_LINES_SHOWN = 15


@dataclass(frozen=True)
class Ended:
    """Measurements of a process that has ended.

    Attributes:
        status: its exit status; if it was killed, the negative number of the signal.
        seconds: time from start to end.
        cpu: CPU seconds, which depend little on other processes of the machine.
        peak: peak of anonymous and shared memory, which no file backs, in bytes; sampled a hundred times per second,
            to the end or until the given file exists.
        resident: peak of the resident set in bytes, pages of files included, as the system counts it.
        output: its standard output.
        log: the file with its standard error.
    """

    status: int
    seconds: float
    cpu: float
    peak: int
    resident: int
    output: str
    log: Path

    def expect(self, status: int = 0) -> "Ended":
        """Return self; exits with the last lines of the log if the process has another exit status."""
        if self.status != status:
            lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LINES_SHOWN:]
            sys.exit("\n".join([*lines, f"expected a process to end with status {status}, found {self.status}"]))
        return self


def watch(
    command: Sequence[str],
    *,
    log: Path,
    env: Mapping[str, str] | None = None,
    kill: Callable[[], bool] | None = None,
    until: Path | None = None,
) -> Ended:
    """Run a command to its end, and sample its memory.

    Args:
        command: program and arguments; the memory of child processes is not measured.
        log: file that standard error is appended to.
        env: environment variables in addition to this process's own.
        kill: called at every sample; whether to kill the process with SIGKILL.
        until: memory is sampled until this file exists; None for until the end.
    """
    out = log.with_suffix(".out")
    with log.open("ab") as errors, out.open("wb") as output:
        began = time.monotonic()
        process = subprocess.Popen(command, stdout=output, stderr=errors, env={**os.environ, **(env or {})})
        try:
            status, cpu, resident, peak = _await(process.pid, kill, until)
        except BaseException:
            process.kill()
            process.wait()
            raise
        process.returncode = status
        seconds = time.monotonic() - began
    return Ended(status, seconds, cpu, peak, resident, out.read_text(encoding="utf-8"), log)


def _await(pid: int, kill: Callable[[], bool] | None, until: Path | None) -> tuple[int, float, int, int]:
    """Status, CPU seconds, and peak resident and unbacked memory in bytes, of a child process."""
    peak = 0
    while True:
        ended, status, usage = os.wait4(pid, os.WNOHANG)
        if ended:
            cpu = usage.ru_utime + usage.ru_stime
            return os.waitstatus_to_exitcode(status), cpu, usage.ru_maxrss * 1024, peak
        if until is None or not until.exists():
            peak = max(peak, _unbacked(pid))
        if kill is not None and kill():
            os.kill(pid, signal.SIGKILL)
            kill = None
        time.sleep(_BETWEEN_LOOKS)


def _unbacked(pid: int) -> int:
    """Bytes of anonymous and shared memory; 0 for a process that has just ended."""
    return 1024 * sum(int(found) for found in _UNBACKED.findall(Path(f"/proc/{pid}/status").read_bytes()))


def drop_from_cache(folder: Path) -> None:
    """Drop a folder's files from the page cache, so that the next read of them reads the disk."""
    for path in folder.iterdir():
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def end_orderly() -> None:
    """Make SIGTERM end this program like an error, so that its processes and control groups are removed."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))


def read_of_disks() -> int:
    """Bytes that the threads of this process have read from disks so far, not counting the page cache."""
    found = re.search(r"^read_bytes: (\d+)", Path("/proc/self/io").read_text(), re.MULTILINE)
    return int(found[1]) if found else 0


def expect(is_met: bool, expected: str, found: str) -> bool:
    """Print a message on standard error if an expectation is not met; returns whether it is met."""
    if not is_met:
        print(f"expected {expected}, found {found}", file=sys.stderr)
    return is_met


def mib(size: float | None) -> str:
    """Format bytes as MiB for a table; None, for an unmeasured value, as a dash."""
    return "-" if size is None else f"{size / 2**20:,.0f}"


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
