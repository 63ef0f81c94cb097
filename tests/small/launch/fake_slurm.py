"""Slurm's commands as small programs that note what they are asked and answer what a test has written down."""

import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

__all__ = ["FakeSlurm", "Submitted"]

PROGRAMS = {
    "sbatch": """
        if [ -e "$0.refuses" ]; then cat "$0.refuses" >&2; exit 1; fi
        if [ -e "$0.most" ] && [ $(ls "$(dirname "$0")" | grep -c '^submitted-') -ge $(cat "$0.most") ]; then
            echo "sbatch: error: QOSMaxSubmitJobPerUserLimit" >&2; exit 1
        fi
        number=$(( $(ls "$(dirname "$0")" | grep -c '^submitted-') + 1 ))
        { cat "$1"; env | grep -E '^(SLURM|SBATCH)_' | sed 's/^/# /'; } > "$(dirname "$0")/submitted-$number"
        echo "Submitted batch job $number"
    """,
    "squeue": """
        if [ -e "$0.refuses" ]; then cat "$0.refuses" >&2; exit 1; fi
        if [ -e "$0.says" ] && ! env | grep -q '^SQUEUE_'; then cat "$0.says"; fi
    """,
    "scontrol": """
        case "$2" in
            config) echo "MaxArraySize            = 3"; [ ! -e "$0.says" ] || cat "$0.says" ;;
            hostnames) echo node7; echo node9 ;;
        esac
    """,
    "srun": "exit 1",
}


@dataclass(frozen=True)
class Submitted:
    """A submission.

    Attributes:
        job: its id.
        script: the job's script.
    """

    job: str
    script: str

    def option(self, name: str) -> str | None:
        """The value of an option of sbatch; None if it is not there."""
        found = re.search(rf"^#SBATCH --{name}=(.*)$", self.script, re.MULTILINE)
        return None if found is None else found[1]

    @property
    def name(self) -> str:
        """The job's name."""
        return self.option("job-name") or ""


@dataclass(frozen=True)
class FakeSlurm:
    """The commands, first on the PATH.

    Attributes:
        folder: where they are.
    """

    folder: Path

    @classmethod
    def installed(cls, folder: Path, monkeypatch: pytest.MonkeyPatch) -> "FakeSlurm":
        """Write the commands, and put them on the PATH."""
        folder.mkdir()
        for name, text in PROGRAMS.items():
            program = folder / name
            program.write_text(f"#!/bin/bash\n{text}")
            program.chmod(program.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
        return cls(folder)

    def refuses(self, command: str, words: str) -> None:
        """Let a command fail with a message; empty for no more."""
        file = self.folder / f"{command}.refuses"
        file.write_text(words)
        if not words:
            file.unlink()

    def queue(self, *lines: str) -> None:
        """Let the queue hold these lines, in the format that tcf asks for."""
        (self.folder / "squeue.says").write_text("".join(f"{line}\n" for line in lines))

    def accepts(self, number: int) -> None:
        """Let sbatch refuse further submissions after so many."""
        (self.folder / "sbatch.most").write_text(str(number))

    def configuration(self, line: str) -> None:
        """Let the configuration have this line too."""
        (self.folder / "scontrol.says").write_text(f"{line}\n")

    def submitted(self) -> Sequence[Submitted]:
        """All submissions, in order."""
        files = sorted(self.folder.glob("submitted-*"), key=lambda file: int(file.name.split("-")[1]))
        return [Submitted(file.name.split("-")[1], file.read_text()) for file in files]
