"""Training on several devices: one worker for each, started by the main process of each machine.

The main process computes nothing, so it can end the workers whatever they wait for. They find one another through the
environment variables that torchrun and `accelerate launch` also set, so these can start the ranks instead. With the
variables NNODES, NODE_RANK, MASTER_ADDR and MASTER_PORT, the same command on several machines trains one run.
"""

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
import torch.distributed as dist

from tcf.common.devices import resolve_device, resolve_devices
from tcf.common.errors import ConfigError, RunError, TcfError
from tcf.common.files import is_published
from tcf.common.manifest import digest, read_manifest
from tcf.common.torch_internals import USE_EXISTING_STORE, is_lost_partner
from tcf.config.fields import to_mapping
from tcf.config.train import TrainConfig
from tcf.encoders.accelerate_internals import DEVICE_VARIABLE, can_reach_other_gpus
from tcf.launch.node_address import NodeAddress
from tcf.launch.nodes import Nodes
from tcf.launch.train_process import train_as_rank
from tcf.launch.workers.jobs import TrainingJob
from tcf.launch.workers.local_processes import DEFAULT_STARTER
from tcf.launch.workers.process_group import run_process_group
from tcf.launch.workers.worker import ProcessStarter, WorkerSpec
from tcf.ranking.faiss_search import load_faiss
from tcf.train.model.recommender import Recommender
from tcf.train.parallel import EpochTask, Forward, SingleProcess
from tcf.train.run.file_names import RUN
from tcf.train.stage import TrainResult, train

__all__ = ["train_on_devices"]

_LOCALHOST = "127.0.0.1"


def train_on_devices(
    *,
    data: Path,
    caches: Sequence[Path] = (),
    out: Path,
    config: TrainConfig,
    starter: ProcessStarter = DEFAULT_STARTER,
) -> TrainResult | None:
    """Train a recommender on the requested devices, and publish the run.

    On one device this is `tcf.train.stage.train`. If one of several processes fails, all end; the same call resumes
    the training.

    Args:
        data: a dataset directory.
        caches: cache directories for items as text, whose vectors are concatenated; the one that ids start from, with
            `id_init` text; none for other items as ids.
        out: the run's directory.
        config: settings.
        starter: starts the workers if there are several devices.

    Returns:
        The result; None in all but the first of several processes started by torchrun, and on all nodes but the first.

    Raises:
        TcfError: see `train`; or a process was ended from outside, or another node has failed.
        RuntimeError: a process failed for a reason that the user cannot fix.
    """
    job = TrainingJob(data, tuple(caches), out, config, torch.get_num_threads())
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and "RANK" in os.environ:
        return _train_started_rank(job)
    devices, address = _devices(config.devices), NodeAddress.from_environment()
    if address is not None:
        return _train_in_nodes(job, devices, address, starter)
    if len(devices) == 1:
        config = dataclasses.replace(config, devices=str(devices[0]))
        return train(data=data, caches=caches, out=out, config=config)
    if is_published(out):
        return _find_trained(job, devices, ",".join(map(str, devices)))
    load_faiss()  # checked here, before the workers start
    _train_in_processes(job, devices, starter)
    return TrainResult(out, read_manifest(out, RUN), trained=True)


def _devices(names: str) -> tuple[torch.device, ...]:
    """The requested devices; `auto` is a single one, because the number of devices changes a run's numbers."""
    return (resolve_device(names),) if names == "auto" else resolve_devices(names)


@dataclasses.dataclass(frozen=True)
class _Unneeded(SingleProcess):
    """A group without processes, for a run that is there: the number of devices decides whether it is the same one."""

    device: torch.device
    devices: str

    def next_task(self) -> EpochTask | None:
        """See `Group`."""
        return None

    def prepare(self, model: Recommender, adamw: torch.optim.Optimizer) -> Forward:
        """Refuse to train."""
        raise RunError("expected the finished run to stay where it is, found it removed; run the same command again")


def _find_trained(job: TrainingJob, devices: Sequence[torch.device], all_devices: str) -> TrainResult:
    """Find a finished run, or refuse it if it is another one."""
    group = _Unneeded(devices[0], all_devices)
    return train(data=job.data, caches=job.caches, out=job.out, config=job.config, group=group)


def _train_in_processes(job: TrainingJob, devices: Sequence[torch.device], starter: ProcessStarter) -> None:
    """Start a worker for each device of this machine, the only one, and wait for all."""
    # The workers find one another through this store, which lives as long as this process.
    store = dist.TCPStore(_LOCALHOST, 0, is_master=True, wait_for_workers=False)  # type: ignore[attr-defined]
    job = dataclasses.replace(job, config=dataclasses.replace(job.config, devices=",".join(map(str, devices))))
    run_process_group(starter, _specs(job, devices, NodeAddress(1, 0, _LOCALHOST, store.port)))


def _train_in_nodes(
    job: TrainingJob, devices: Sequence[torch.device], address: NodeAddress, starter: ProcessStarter
) -> TrainResult | None:
    """Start a worker for each device of this machine, and wait for those of all machines."""
    load_faiss()
    devices = [torch.device("cuda", device.index or 0) if device.type == "cuda" else device for device in devices]
    kind, own = devices[0].type, to_mapping(dataclasses.replace(job.config, devices="auto"))
    work = digest({**job.as_message(), "config": own, "threads": 0})
    nodes = Nodes.meet(address, len(devices), kind, work)
    # The nodes' devices may have the same names, so that only the type says something about all of them.
    all_devices = ",".join([kind] * len(devices) * address.number)
    job = dataclasses.replace(job, config=dataclasses.replace(job.config, devices=all_devices))
    with nodes.together():
        is_found = nodes.agree("found" if is_published(job.out) else "train") == "found"
        if not is_found:
            run_process_group(starter, _specs(job, devices, address), nodes.check)
    if address.rank > 0:
        return None
    if is_found:
        return _find_trained(job, devices, all_devices)
    return TrainResult(job.out, read_manifest(job.out, RUN), trained=True)


def _specs(job: TrainingJob, devices: Sequence[torch.device], address: NodeAddress) -> list[WorkerSpec]:
    """The workers of this machine."""
    on_cpu = devices[0].type == "cpu"
    threads = max(1, job.threads // len(devices)) if on_cpu else job.threads
    job = dataclasses.replace(job, threads=threads)
    place = f" of node {address.rank}" if address.number > 1 else ""
    return [
        WorkerSpec(
            f"{device}{place} (process {rank + 1} of {len(devices)})",
            "tcf.launch.train_process",
            job,
            threads,
            _environment(rank, devices, address),
        )
        for rank, device in enumerate(devices)
    ]


def _environment(rank: int, devices: Sequence[torch.device], address: NodeAddress) -> Mapping[str, str]:
    """The variables that torchrun sets for a rank of this machine, and the rank's device."""
    variables = {
        "RANK": str(address.rank * len(devices) + rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(address.number * len(devices)),
        "LOCAL_WORLD_SIZE": str(len(devices)),
        "MASTER_ADDR": address.host,
        "MASTER_PORT": str(address.port),
        **USE_EXISTING_STORE,
    }
    if devices[rank].type == "cpu":
        return variables
    # Some GPUs cannot reach one another directly, which NCCL has to be told.
    no_peer_access = {} if can_reach_other_gpus() else {"NCCL_P2P_DISABLE": "1", "NCCL_IB_DISABLE": "1"}
    return {**variables, **no_peer_access, DEVICE_VARIABLE: str(devices[rank])}


def _train_started_rank(job: TrainingJob) -> TrainResult | None:
    rank = os.environ["RANK"]
    with _errors_name_rank(rank):
        if job.config.devices not in ("auto", "cpu", "cuda"):
            raise ConfigError(
                f"--devices: expected auto, cpu or cuda, since torchrun or accelerate, which started the processes, "
                f"assigns their devices, found {job.config.devices}; leave it out"
            )
        if rank == "0":
            return train_as_rank(job)
        # The first rank prints the same; errors are not printed here, but leave this block.
        with Path(os.devnull).open("w") as null, contextlib.redirect_stderr(null):
            return train_as_rank(job)


@contextlib.contextmanager
def _errors_name_rank(rank: str) -> Iterator[None]:
    """Add the rank to the message of an error; a lost partner becomes an error that the user can fix."""
    try:
        yield
    except TcfError as error:
        raise type(error)(f"rank {rank}: {error}") from None
    except RuntimeError as error:
        if not is_lost_partner(error):
            raise
        raise RunError(
            f"rank {rank}: expected every process to continue, found one that has ended or does not answer "
            f"({' '.join(str(error).split())}); its output states the cause: fix that and run the same command again"
        ) from error
