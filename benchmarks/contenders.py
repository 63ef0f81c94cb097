"""The contenders of `offload.py`: each runs one extraction in a separate process."""

import json
import shutil
import signal
import statistics
import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from checkpoints import Checkpoint
from groups import control_group
from measured_extract import Measured
from processes import Ended, drop_from_cache, watch
from tcf_commands import Commands, Planned

from tcf.common.devices import dtype_name
from tcf.data.dataset import Dataset

__all__ = ["Bench", "Outcome"]

_HERE = Path(__file__).parent

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Outcome:
    """The result of a contender.

    Attributes:
        items: number of items that it computed vectors for.
        seconds: time without loading and imports.
        weight_bytes: bytes of weights that it read; None if not counted.
        disk_bytes: bytes that it read from disk during this time.
        ended: the process.
        group_peak: peak memory of its control group in bytes, page cache included; None without a group.
        group_read: bytes that the group read from disk, from start to end.
        measured: measurements by tcf; None for other contenders.
    """

    items: int
    seconds: float
    weight_bytes: int | None
    disk_bytes: int
    ended: Ended
    group_peak: int | None
    group_read: int | None
    measured: Measured | None = None

    @property
    def rate(self) -> float:
        """Items per second."""
        return self.items / self.seconds


@dataclass
class Bench:
    """A checkpoint, texts, and the limits that contenders run under.

    Attributes:
        checkpoint: the model.
        texts: distinct texts.
        dataset: the same texts as a dataset of tcf.
        folder: folder for the files that are written, on the limited disk.
        group: memory limit of the control group in bytes.
        read_limit: limit on reading the disk in bytes per second; None for no limit.
        max_memory: memory that tcf may use in the group, in bytes.
        vectors: vectors of the first extraction, for comparison with the others.
    """

    checkpoint: Checkpoint
    texts: list[str]
    dataset: Dataset
    folder: Path
    group: int
    read_limit: int | None
    max_memory: int
    vectors: Vectors | None = field(default=None, init=False)

    @property
    def dtype(self) -> str:
        """The type to compute in, by name."""
        return dtype_name(self.checkpoint.dtype)

    @property
    def log(self) -> Path:
        """File for the standard error of processes."""
        return self.folder / "log"

    def plan(self) -> Planned:
        """The plan of `tcf plan` for the sweep, from calibration runs in the control group."""
        with control_group(self.group, self.folder, read_limit=self.read_limit) as group:
            return self._commands("sweep").plan(group)

    def extract(self, schedule: str, repeats: int) -> Outcome:
        """Run `tcf extract` with a schedule; returns the run of median time. The resident schedule gets no group."""
        found = sorted((self._extract_once(schedule) for _ in range(repeats)), key=lambda outcome: outcome.seconds)
        return found[len(found) // 2]

    def _extract_once(self, schedule: str) -> Outcome:
        commands = self._commands(schedule)
        shutil.rmtree(commands.cache, ignore_errors=True)
        with ExitStack() as stack:
            group = None
            if schedule != "resident":
                group = stack.enter_context(control_group(self.group, self.folder, read_limit=self.read_limit))
            ended, measured = commands.extract(group)
            ended.expect()
            peak, read = (None, None) if group is None else (group.peak, group.read_bytes)
        if measured.schedule != schedule:
            sys.exit(f"expected the schedule {schedule}, found {measured.schedule}")
        self._check_close(schedule, commands.vectors)
        return Outcome(
            len(self.texts),
            measured.seconds,
            measured.weight_bytes,
            measured.disk_bytes,
            ended,
            peak,
            read,
            measured,
        )

    def accelerate(self, size: int, items: int) -> Outcome | None:
        """Run accelerate's disk offload with a batch size; None if the group has too little memory for it."""
        texts, vectors, result = (self.folder / name for name in ("texts.json", "vectors.npy", "accelerate.json"))
        texts.write_text(json.dumps(self.texts), encoding="utf-8")
        command = [sys.executable, str(_HERE / "offload_accelerate.py"), "--model", str(self.checkpoint.folder)]
        command += ["--texts", str(texts), "--items", str(items), "--size", str(size), "--memory", str(self.group)]
        command += ["--dtype", self.dtype, "--vectors", str(vectors), "--result", str(result)]
        drop_from_cache(self.checkpoint.folder)
        with control_group(self.group, self.folder, read_limit=self.read_limit) as group:
            ended = watch(group.command(command), log=self.log)
            peak, read = group.peak, group.read_bytes
        if ended.status == -signal.SIGKILL:
            print(f"accelerate, batch {size}: killed because it ran out of memory", flush=True)
            return None
        measured = json.loads(_text(ended, result))
        self._check_close(f"accelerate, batch {size}", np.load(vectors))
        print(f"accelerate, batch {size}: {measured['on_disk']} of {measured['modules']} modules on disk", flush=True)
        return Outcome(
            measured["items"],
            measured["seconds"],
            measured["weight_bytes"],
            measured["disk_bytes"],
            ended,
            peak,
            read,
        )

    def _commands(self, schedule: str) -> Commands:
        settings = ["--schedule", schedule, "--dtype", self.dtype, "--storage", "float32"]
        if schedule == "sweep":
            settings += ["--max-memory", f"cpu={self.max_memory}"]
        folder = self.folder / schedule
        folder.mkdir(exist_ok=True)
        return Commands(self.checkpoint.folder, self.dataset, folder, tuple(settings))

    def _check_close(self, name: str, theirs: Vectors) -> None:
        """Exit if vectors of the same texts do not agree with the first ones."""
        if self.vectors is None:
            self.vectors = theirs
            return
        both = min(len(self.vectors), len(theirs))
        ours, theirs = self.vectors[:both], theirs[:both]
        own, other = _cosines(ours, theirs), _cosines(np.roll(ours, 1, axis=0), theirs)
        lowest, usual = float(own.min()), statistics.median(other.tolist())
        print(
            f"{name}: lowest cosine with tcf's vectors {lowest:.7f}, median cosine with those of other titles "
            f"{usual:.3f}",
            flush=True,
        )
        if not lowest > (1 - 1e-5 if self.dtype == "float32" else 0.99) or lowest <= usual:
            sys.exit(f"{name}: its vectors differ from tcf's")


def _text(ended: Ended, result: Path) -> str:
    """Read and remove the result file of a process, after checking that it succeeded."""
    ended.expect()
    text = result.read_text(encoding="utf-8")
    result.unlink()
    return text


def _cosines(ours: Vectors, theirs: Vectors) -> Vectors:
    found: Vectors = (ours * theirs).sum(1) / (np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1))
    return found
