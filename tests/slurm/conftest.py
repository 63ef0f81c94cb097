"""A real Slurm on this machine for the tests of this folder, or the reason why there is none."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "up.sh"
PROGRAMS = ("sbatch", "srun", "squeue", "scontrol", "slurmctld", "slurmd", "munged")


def reason_without() -> str | None:
    """Why no Slurm can be started here."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        return f"no {', '.join(missing)}: the packages slurmctld, slurmd, slurm-client and munge are not installed"
    return None if os.geteuid() == 0 else "only root can start slurmd"


def free_ports(number: int) -> list[int]:
    """Ports that nobody listens on; distinct."""
    with ExitStack() as opened:
        sockets = [opened.enter_context(socket.socket()) for _ in range(number)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@pytest.fixture(scope="session")
def slurm() -> Iterator[Path]:
    """A Slurm of two nodes with two cores each, and arrays of five tasks; the folder of its files."""
    if (reason := reason_without()) is not None:
        pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="tcf-slurm-"))
    ctld, *slurmds = map(str, free_ports(3))
    ports = {"CTLD_PORT": ctld, "SLURMD_PORTS": " ".join(slurmds)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
        started = subprocess.run(
            [SCRIPT, folder], env={**os.environ, **ports}, capture_output=True, text=True, check=False
        )
        try:
            if started.returncode != 0:
                logs = "".join(file.read_text(errors="replace")[-2000:] for file in (folder / "log").glob("*"))
                # Some containers forbid what its daemons need; who asks for these tests wants to know.
                tell = pytest.fail if os.environ.get("TCF_CLUSTER") == "all" else pytest.skip
                tell(f"Slurm did not start: {started.stderr}{logs}")
            yield folder
            subprocess.run(["scancel", "--user=root", "--signal=KILL", "--full"], check=False)
            subprocess.run(["scancel", "--user=root"], check=False)
        finally:
            subprocess.run([SCRIPT, folder, "down"], check=False)
            shutil.rmtree(folder, ignore_errors=True)
