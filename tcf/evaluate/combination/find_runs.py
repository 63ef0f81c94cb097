"""Runs that are read one after the other, whose caches may have moved: each takes as many as it was trained on."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tcf.common.errors import ConfigError, RunError
from tcf.common.files import is_published
from tcf.common.manifest import read_manifest
from tcf.train.run.file_names import RUN, SELECTION
from tcf.train.run.recorded_run import RecordedRun, n_caches_of, read_run

__all__ = ["RunReader"]


@dataclass
class RunReader:
    """Reads what the directories of runs say.

    Attributes:
        data: where the dataset of all is now; the recorded places if None.
        caches: where their caches are now, run by run, in the order of training; the recorded places if empty.
    """

    data: Path | None
    caches: Sequence[Path]
    _taken: int = field(default=0, init=False)

    def read(self, path: Path) -> RecordedRun:
        """Read the next run.

        Raises:
            RunError: it is unfinished, damaged or something else, or an input is no longer at its recorded place.
            ConfigError: caches were named, and too few are left.
        """
        return read_run(path, data=self.data, caches=self._next_caches(path))

    def read_selection(self, refit: RecordedRun) -> RecordedRun:
        """Read the run that chose a refit's number of epochs, which has the same inputs.

        Raises:
            RunError: it is missing or damaged.
        """
        place, given = refit.path / SELECTION, refit.caches if self.caches else ()
        if not is_published(place):
            raise RunError(
                f"{place}: expected the run that chose the number of epochs of {refit.path}, a refit, whose validation "
                "metrics are needed, found nothing; restore it from a copy, or train the refit again"
            )
        found = read_run(place, data=self.data, caches=given)
        if found.manifest.fingerprint != refit.manifest.facts.get("selection"):
            raise RunError(
                f"{found.path}: expected the run that chose the number of epochs of {refit.path}, found another; "
                f"{RUN.remedy(refit.path)}"
            )
        return found

    def check_all_taken(self) -> None:
        """Refuse more caches than the runs were trained on.

        Raises:
            ConfigError: saying how many.
        """
        if self._taken < len(self.caches):
            raise ConfigError(
                f"--cache: expected the {self._taken} caches that the runs were trained on, run by run, found "
                f"{len(self.caches)}; leave out the others, or all of them if none has moved"
            )

    def _next_caches(self, path: Path) -> Sequence[Path]:
        if not self.caches:
            return ()
        needed = n_caches_of(read_manifest(path, RUN))
        taken = self.caches[self._taken : self._taken + needed]
        if len(taken) < needed:
            raise ConfigError(
                f"--cache: expected all caches that the runs were trained on, run by run, found {len(self.caches)}, "
                f"too few for {path}; name those of every run, a cache of two runs twice"
            )
        self._taken += needed
        return taken
