"""`tcf plan` and `tcf extract` in separate processes, for benchmarks."""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from groups import Group
from measured_extract import Measured
from processes import Ended, drop_from_cache, watch

from tcf.data.cache.caches import VectorCache
from tcf.data.dataset import Dataset

__all__ = ["Commands", "Planned", "compared"]


@dataclass(frozen=True)
class Planned:
    """The predictions of a plan.

    Attributes:
        seconds: time of the whole extraction, loading included.
        weight_bytes: bytes of weights to read.
        macro_batches: number of shards to compute.
        peak: peak of the process's memory that no file backs, in bytes.
    """

    seconds: float
    weight_bytes: int
    macro_batches: int
    peak: int


@dataclass(frozen=True)
class Commands:
    """The commands with one model, dataset and settings.

    Attributes:
        model: folder of the model.
        dataset: dataset with the texts.
        folder: folder for the cache, the logs and the measurements that tcf remembers.
        settings: options of both commands.
    """

    model: Path
    dataset: Dataset
    folder: Path
    settings: tuple[str, ...]

    @property
    def cache(self) -> Path:
        """The vector cache."""
        return self.folder / "cache"

    @property
    def log(self) -> Path:
        """File for the standard error of all processes."""
        return self.folder / "log"

    @property
    def vectors(self) -> npt.NDArray[np.float32]:
        """The vectors of the dataset's items, from the cache."""
        return np.asarray(VectorCache.open(self.cache).vectors_for(self.dataset), np.float32)

    def plan(self, group: Group | None = None) -> Planned:
        """Run `tcf plan`, which makes calibration runs or uses those of an earlier command."""
        ended = self._run([sys.executable, "-m", "tcf.cli", "plan", "--json", *self._options()], group, None)
        found = json.loads(ended.expect().output)
        peak = found["peak_memory_bytes"]["cpu"]
        return Planned(found["seconds"], found["weight_bytes_read"], found["macro_batches"], peak)

    def extract(self, group: Group | None = None, *, kill: Callable[[], bool] | None = None) -> tuple[Ended, Measured]:
        """Run `tcf extract`; the measurements of a killed process are lost.

        Args:
            group: control group to run in.
            kill: called repeatedly; whether to kill the process.
        """
        result = self.folder / "measured.json"
        result.unlink(missing_ok=True)
        program = [sys.executable, str(Path(__file__).with_name("measured_extract.py")), str(result)]
        ended = self._run([*program, *self._options(), "--out", str(self.cache)], group, kill)
        measured = Measured(**json.loads(result.read_text(encoding="utf-8"))) if result.is_file() else Measured()
        return ended, measured

    def _options(self) -> list[str]:
        return ["--data", str(self.dataset.path), "--model", str(self.model), "--devices", "cpu", *self.settings]

    def _run(self, command: list[str], group: Group | None, kill: Callable[[], bool] | None) -> Ended:
        drop_from_cache(self.model)
        # The remembered speed of the disk must be its speed under the same limits.
        env = {"TCF_HOME": str(self.folder / "home")}
        return watch(command if group is None else group.command(command), log=self.log, env=env, kill=kill)


def compared(planned: Planned, ended: Ended, measured: Measured) -> Sequence[Sequence[str]]:
    """Rows of a table with planned values, measured values and their ratios."""
    took, weight_bytes = measured.load_seconds + measured.seconds, measured.weight_bytes or 0
    mib = 2**20
    return [
        ["", "planned", "measured", "measured / planned"],
        _row("weights read, bytes", planned.weight_bytes, weight_bytes, ",.0f"),
        _row("peak anonymous + shared, MiB", planned.peak / mib, ended.peak / mib, ",.0f"),
        _row("seconds, loading included", planned.seconds, took, ".1f"),
    ]


def _row(what: str, planned: float, measured: float, form: str) -> list[str]:
    return [what, format(planned, form), format(measured, form), f"{measured / planned:.3f}"]
