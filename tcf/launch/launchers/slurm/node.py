"""The node that a task of a job runs on, as Slurm's variables describe it, and what the units' process gets from it."""

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from tcf.common.errors import RunError

__all__ = ["SlurmNode"]

# Below the range from which systems choose ports for outgoing connections.
_PORTS = range(20000, 30000)


@dataclass(frozen=True)
class SlurmNode:
    """One node of a job, on which one task runs.

    Attributes:
        job: id of the job, as Slurm's commands take it: `17`, or `17_2` in an array.
        number: unique number of the job, also in an array.
        rank: number of the node in the job; the records are written by node 0.
        nodes: number of nodes of the job.
        hosts: names of the nodes, in Slurm's short form.
        cpus: number of cores that the job has on this node; 0 if Slurm does not say.
    """

    job: str
    number: int
    rank: int
    nodes: int
    hosts: str
    cpus: int

    @classmethod
    def of(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Read Slurm's variables.

        Args:
            environment: variables of a job's process.
        """
        array, task = environment.get("SLURM_ARRAY_JOB_ID"), environment.get("SLURM_ARRAY_TASK_ID")
        number = environment["SLURM_JOB_ID"]
        return cls(
            job=number if array is None else f"{array}_{task}",
            number=int(number),
            rank=int(environment.get("SLURM_PROCID", "0")),
            nodes=int(environment.get("SLURM_NNODES", "1")),
            hosts=environment.get("SLURM_JOB_NODELIST", ""),
            cpus=int(environment.get("SLURM_CPUS_ON_NODE", "0")),
        )

    @property
    def threads(self) -> int:
        """Threads of the units' process: as many as the job has cores; 0 if the user's own `OMP_NUM_THREADS` holds."""
        return 0 if "OMP_NUM_THREADS" in os.environ else self.cpus

    def variables(self) -> dict[str, str]:
        """The variables by which the processes of several nodes find one another, named as torchrun names them.

        Raises:
            RunError: Slurm does not say which nodes there are.
        """
        if self.nodes == 1:
            return {}
        port = _PORTS[self.number % len(_PORTS)]
        return {
            "NNODES": str(self.nodes),
            "NODE_RANK": str(self.rank),
            "MASTER_ADDR": _first_host(self.hosts),
            "MASTER_PORT": str(port),
        }


def _first_host(hosts: str) -> str:
    """The first of the nodes that a short form such as `node[3-5,8]` names."""
    command = ["scontrol", "show", "hostnames", hosts]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        return done.stdout.split()[0]
    except (OSError, subprocess.SubprocessError, IndexError) as error:
        raise RunError(f"Slurm: expected the names of the nodes {hosts or '(none)'}, found none ({error})") from error
