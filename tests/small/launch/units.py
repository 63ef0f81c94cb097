"""Units whose tasks only pretend: what they do is the name of their source. And a launcher without processes."""

import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from tcf.common.errors import ModelError
from tcf.config.evaluate import EvaluateConfig
from tcf.config.launch import LaunchConfig
from tcf.config.train import TrainConfig
from tcf.launch.units import unit_process
from tcf.launch.units.run_unit import UnitEnd
from tcf.launch.units.tasks import ConvertTask, DownloadTask, EvaluateTask, Stage, Task, TrainTask
from tcf.launch.units.unit import STAGES, Unit
from tcf.launch.workers.local_processes import LocalProcesses, LocalWorker
from tcf.launch.workers.worker import WorkerSpec

__all__ = ["PretendedLauncher", "PretendingProcesses", "environment_here", "everywhere", "main", "pretended"]


def environment_here() -> dict[str, str]:
    """This process's environment, in which a program finds the modules that this process finds, those of tests too."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


def everywhere(**settings: object) -> dict[Stage, LaunchConfig]:
    """The same settings for all stages."""
    config = replace(LaunchConfig(), **settings)  # type: ignore[arg-type]
    return dict.fromkeys(STAGES, config)


def pretended(name: str, action: str, folder: Path, needs: Sequence[str] = (), *, stage: Stage = "convert") -> Unit:
    """A unit whose output tells of the process in which it ran."""
    out, task = folder / f"{name}.out", Task()
    match stage:
        case "convert":
            task = ConvertTask(Path("/", action), out, None)
        case "train":
            task = TrainTask(Path("/", action), (), out, TrainConfig())
        case "evaluate":
            task = EvaluateTask(Path("/", action), "", None, (), out, EvaluateConfig())
        case "download":
            task = DownloadTask("dataset", action)
    return Unit(name, task, tuple(needs))


def main() -> None:
    """Run units that only pretend."""
    for kind in (ConvertTask, TrainTask, EvaluateTask, DownloadTask):
        setattr(kind, "run", _pretend)  # noqa: B010 - a method of four classes
    unit_process._WITHOUT_TORCH = (
        *unit_process._WITHOUT_TORCH,
        "convert",
        "train",
        "evaluate",
    )  # it takes seconds to load
    unit_process.main()


@dataclass(frozen=True)
class PretendingProcesses(LocalProcesses):
    """Starts processes whose units only pretend."""

    def start(self, spec: WorkerSpec) -> LocalWorker:
        return super().start(replace(spec, module="small.launch.units"))


def _pretend(task: Task) -> None:
    match task:
        case ConvertTask(source=source) | TrainTask(data=source) | EvaluateTask(run_folder=Path() as source):
            _act(source.name, task.outputs[0])
        case DownloadTask(name=action):
            _act(action, None)


def _act(action: str, out: Path | None) -> None:
    print(f"action: {action}", flush=True)
    match action:
        case "refuse":
            raise ModelError("m: expected a model,\nfound none")
        case "defect":
            raise KeyError("defect")
        case "sleep":
            if out is not None:
                out.with_suffix(".begun").touch()
            try:
                time.sleep(300)
            finally:
                if out is not None:
                    out.with_suffix(".cleaned-up").touch()
        case "SIGKILL" | "SIGSEGV":
            os.kill(os.getpid(), signal.Signals[action])
        case "exit":
            os._exit(3)
    if out is not None:
        names = ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")
        out.write_text(json.dumps({"pid": os.getpid(), **{name: os.environ.get(name) for name in names}}))


@dataclass
class PretendedLauncher:
    """Runs nothing: each try ends at once, as it was told.

    Attributes:
        ends: how the tries of a unit end, by name, one after the other; those not named are done.
        room: how many it takes at the same time.
        tries: names of all tries, in order.
        offered: names of the units of each offer.
    """

    ends: dict[str, list[UnitEnd]] = field(default_factory=dict)
    room: int = 100
    tries: list[str] = field(default_factory=list)
    offered: list[list[str]] = field(default_factory=list)
    closed: bool = False
    _taken: list[str] = field(default_factory=list)

    def take(self, units: Sequence[Unit]) -> Sequence[Unit]:
        self.offered.append([unit.name for unit in units])
        taken = units[: self.room - len(self._taken)]
        self._taken += [unit.name for unit in taken]
        return taken

    def ended(self, timeout: float) -> list[UnitEnd]:
        if not self._taken:
            time.sleep(min(timeout, 0.01))
            return []
        name = self._taken.pop(0)
        self.tries.append(name)
        ends = self.ends.get(name, [])
        return [ends.pop(0) if ends else UnitEnd(name, "done")]

    def running(self) -> Sequence[str]:
        return self._taken

    def close(self) -> None:
        self.closed = True
