"""`tcf plan` and `tcf extract` as processes of their own, for benchmarks."""

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
    """What a plan predicts.

    Attributes:
        seconds: of the whole extraction, loading included.
        weight_bytes: of weights that are read.
        macro_batches: shards that are computed.
        peak: most bytes of the process's memory that no file backs.
    """

    seconds: float
    weight_bytes: int
    macro_batches: int
    peak: int


@dataclass(frozen=True)
class Commands:
    """The commands with one model, dataset and settings.

    Attributes:
        model: its folder.
        dataset: the texts.
        folder: for the cache, logs and what tcf remembers of the machine.
        settings: options that both commands take.
    """

    model: Path
    dataset: Dataset
    folder: Path
    settings: tuple[str, ...]

    @property
    def cache(self) -> Path:
        """Where vectors go."""
        return self.folder / "cache"

    @property
    def log(self) -> Path:
        """What the processes write to standard error, one after the other."""
        return self.folder / "log"

    @property
    def vectors(self) -> npt.NDArray[np.float32]:
        """Those of the dataset's items, from the cache."""
        return np.asarray(VectorCache.open(self.cache).vectors_for(self.dataset), np.float32)

    def plan(self, group: Group | None = None) -> Planned:
        """What `tcf plan` says, from trials made now or by an earlier command of these."""
        ended = self._run([sys.executable, "-m", "tcf.cli", "plan", "--json", *self._options()], group, None)
        found = json.loads(ended.expect().output)
        peak = found["peak_memory_bytes"]["cpu"]
        return Planned(found["seconds"], found["weight_bytes_read"], found["macro_batches"], peak)

    def extract(self, group: Group | None = None, *, kill: Callable[[], bool] | None = None) -> tuple[Ended, Measured]:
        """Run `tcf extract`; what a process that is killed has measured is lost.

        Args:
            group: to run it in.
            kill: asked all the time whether to kill it.
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
        # What is remembered of the disk's speed is to be its speed under the same limits.
        env = {"TCF_HOME": str(self.folder / "home")}
        return watch(command if group is None else group.command(command), log=self.log, env=env, kill=kill)


def compared(planned: Planned, ended: Ended, measured: Measured) -> Sequence[Sequence[str]]:
    """Rows of a table: planned, measured, and their ratio."""
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
