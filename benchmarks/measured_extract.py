"""`tcf extract`, instrumented to measure the time from the loaded model to the last vector.

    python benchmarks/measured_extract.py RESULT.json --data DATASET --model FOLDER --out CACHE ...

The bytes read and the times are written to RESULT.json. In a sweep, the checkpoint is dropped from the page cache when
the clock starts, so that every weight is read from disk.
"""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from processes import drop_from_cache, read_of_disks

from tcf import cli
from tcf.encoders.folder.model_folder import ModelFolder
from tcf.extract.fill_caches import CacheFiller
from tcf.extract.schedules import load_engine
from tcf.extract.schedules.engine import Engine
from tcf.extract.schedules.sweep import SweepEngine

__all__ = ["Measured"]


@dataclass
class Measured:
    """Measurements of an extraction.

    Attributes:
        load_seconds: time to load the model.
        seconds: time from the loaded model to the end.
        weight_bytes: bytes of weights read from files, loading included; None if the schedule does not count them.
        disk_bytes: bytes read from disks by all threads of the process, from the loaded model to the end.
        schedule: schedule of the engine.
        tokens_per_batch: number of tokens in a micro-batch.
        done: whether it finished.
    """

    load_seconds: float = 0.0
    seconds: float = 0.0
    weight_bytes: int | None = None
    disk_bytes: int = 0
    schedule: str = ""
    tokens_per_batch: int = 0
    done: bool = False


_FILL = CacheFiller.fill


class _Watch:
    """Replaces the functions with which the stage loads a model and fills caches."""

    def __init__(self) -> None:
        self.measured = Measured()
        self._began = 0.0

    def load(self, folder: ModelFolder, *rest: Any) -> Engine:
        """Load a model and start the clock."""
        began = time.perf_counter()
        engine = load_engine.load_engine(folder, *rest)
        self.measured.load_seconds = time.perf_counter() - began
        if isinstance(engine, SweepEngine):
            drop_from_cache(folder.path)
        self.measured.disk_bytes = -read_of_disks()
        self._began = time.perf_counter()
        return engine

    def fill(self, filler: CacheFiller, engine: Engine | None) -> tuple[dict[str, int], int]:
        """Fill the caches and stop the clock."""
        found = _FILL(filler, engine)
        measured = self.measured
        if engine is not None:
            measured.seconds = time.perf_counter() - self._began
            measured.disk_bytes += read_of_disks()
            measured.schedule, measured.tokens_per_batch = engine.metadata["schedule"], engine.tokens_per_batch
            measured.weight_bytes = engine.stream.bytes_read if isinstance(engine, SweepEngine) else None
            measured.done = True
        return found


def main() -> None:
    """Run the command."""
    result = Path(sys.argv[1])
    sys.argv = ["tcf", "extract", *sys.argv[2:]]
    watch = _Watch()
    run: Callable[[], None] = cli.main

    def fill(filler: CacheFiller, engine: Engine | None) -> tuple[dict[str, int], int]:
        return watch.fill(filler, engine)

    with patch("tcf.extract.stage.load_engine", watch.load), patch.object(CacheFiller, "fill", fill):
        try:
            run()
        finally:
            result.write_text(json.dumps(asdict(watch.measured)), encoding="utf-8")


if __name__ == "__main__":
    main()
