"""The task that joins finished runs into one ranking."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from tcf.config.combine import CombineConfig, CombinedBaseline
from tcf.config.fields import typed_options
from tcf.launch.units.task import Stage, Task

__all__ = ["CombineTask"]


@dataclass(frozen=True)
class CombineTask(Task):
    """The combination of finished runs, and of baselines, into one ranking.

    Attributes:
        runs: directories of the runs.
        names: what each of them is called in the combination.
        baselines: untrained rankings that are members as well.
        out: the combination's directory.
        config: settings.
    """

    stage: ClassVar[Stage] = "combine"
    runs: tuple[Path, ...]
    names: tuple[str, ...]
    baselines: tuple[CombinedBaseline, ...]
    out: Path
    config: CombineConfig

    @property
    def outputs(self) -> tuple[Path, ...]:
        """The combination."""
        return (self.out,)

    @property
    def arguments(self) -> tuple[str, ...]:
        """See `Task`."""
        runs = [f"{name}={run}" for name, run in zip(self.names, self.runs, strict=True)]
        baselines = [part for baseline in self.baselines for part in ("--baseline", baseline)]
        return ("combine", *runs, *baselines, "--out", str(self.out), *typed_options(self.config))

    def run(self) -> None:
        """See `Task`."""
        from tcf.evaluate.combination.combine import combine

        combine(self.runs, out=self.out, config=self.config, baselines=self.baselines, names=self.names)
