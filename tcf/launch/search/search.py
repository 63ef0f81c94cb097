"""Hyperparameter search: a folder of trials, which are ordinary runs, and the results."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from optuna.study import Study

from tcf.common.devices import resolve_device
from tcf.common.errors import RunError
from tcf.common.files import check_destination, writing
from tcf.common.integrity.verified_files import verify_files
from tcf.common.lease_file import acquire, kept
from tcf.common.manifest import read_manifest
from tcf.common.progress import Progress
from tcf.common.units import counted
from tcf.launch.file_terms import errors_in_file_terms
from tcf.launch.search.results import (
    BEST,
    TrialRow,
    best_row,
    render_table,
    trial_folder,
    trial_rows,
    trial_values,
    write_results,
)
from tcf.launch.search.run_trials import TrialLoop
from tcf.launch.search.search_file import SearchFile
from tcf.launch.search.study import JOURNAL, open_study, unfinished_trials
from tcf.launch.search.trial_workers import trial_workers
from tcf.launch.search.verify_trials import warn_of_damaged_trials
from tcf.launch.workers.local_processes import DEFAULT_STARTER
from tcf.launch.workers.worker import ProcessStarter
from tcf.ranking.faiss_search import load_faiss
from tcf.train.inputs import Inputs
from tcf.train.run.file_names import RUN

__all__ = ["SearchResult", "run_search"]

_LEASE = ".search.claim"


@dataclass(frozen=True)
class SearchResult:
    """The result of a search.

    Attributes:
        search: the search.
        rows: all trials, the best first.
        best: the best trial.
    """

    search: SearchFile
    rows: tuple[TrialRow, ...]
    best: TrialRow

    @property
    def configuration(self) -> Path:
        """The file with the best settings, for `tcf train --config`."""
        return self.search.out / BEST

    def as_json(self) -> dict[str, Any]:
        """The result as JSON values."""
        return {
            "out": str(self.search.out),
            "configuration": str(self.configuration),
            "monitor": self.search.monitor,
            "best": trial_values(self.search, self.best),
            "trials": [trial_values(self.search, row) for row in self.rows],
        }

    def summary(self) -> str:
        """A table of the best trials, and where everything is stored."""
        states = [row.state for row in self.rows]
        counts = ", ".join(f"{states.count(state):,} {state}" for state in dict.fromkeys(states))
        return (
            f"{render_table(self.search, self.rows)}\n{counted(len(self.rows), 'trial')} ({counts}) in "
            f"{self.search.out}\nThe best settings by validation {self.search.monitor}: {self.configuration} "
            f"(tcf train --config {self.configuration} --out RUN)"
        )


def run_search(search: SearchFile, starter: ProcessStarter = DEFAULT_STARTER) -> SearchResult:
    """Train the requested number of trials; those of earlier runs count, and unfinished ones are resumed.

    With one worker, equal files and inputs give equal trials, however often the search was interrupted.

    Args:
        search: the search.
        starter: starts the workers.

    Raises:
        ConfigError: a device does not exist.
        DataError: the dataset is missing or damaged.
        CacheError: a cache is missing or damaged, or lacks vectors.
        RunError: `search.out` holds something else, another process is searching there, or no trial could be trained.
        TcfError: FAISS is not installed.
    """
    load_faiss()
    for device in (*search.config.devices, str(search.fixed.get("devices", "auto"))):
        resolve_device(device)
    with errors_in_file_terms(search.path, keys=("items", "cache", "data")):
        fingerprints = Inputs.open("text" if search.caches else "id", search.data, search.caches).fingerprints
    with _locked(search):
        study = open_study(search, fingerprints)
        _run_trials(search, study, starter)
        rows = trial_rows(study)
        write_results(search, rows)
    warn_of_damaged_trials(search.out, rows, search.fixed.get("verify", "once"))
    best = best_row(rows)
    if best is None:
        reasons = [row.reason for row in rows if row.reason]
        raise RunError(
            f"{search.out}: expected a trial that can be trained, found {len(rows)} that failed, the last because of: "
            f"{reasons[-1] if reasons else 'unknown'}; change [train] or [space] in {search.path}, and its `out`"
        )
    _check_run(search, best)
    return SearchResult(search, tuple(rows), best)


def _check_run(search: SearchFile, best: TrialRow) -> None:
    """Check that the run of the best trial is there and whole; it may have been trained long ago.

    Raises:
        RunError: it is missing, or a file of it has changed.
    """
    run = trial_folder(search.out, best.number if best.same_as is None else best.same_as)
    command = f"tcf train --config {search.out / BEST} --out {run}"
    verify_files(run, read_manifest(run, RUN), RUN, remedy=f"remove {run} and run `{command}`")


def _run_trials(search: SearchFile, study: Study, starter: ProcessStarter) -> None:
    ended = len([trial for trial in study.get_trials(deepcopy=False) if trial.state.is_finished()])
    config, threads = search.config, torch.get_num_threads()
    with (
        Progress("search", max(search.n_trials, ended), "trials", done=ended) as progress,
        trial_workers(search.out / "logs", config.workers, config.devices, threads, starter) as workers,
    ):
        TrialLoop(search, study, workers, progress, unfinished_trials(study)).run()


@contextmanager
def _locked(search: SearchFile) -> Iterator[None]:
    """Lock the folder of the search within the block; it is created if it does not exist."""
    out, remedy = search.out, f"name another `out` in {search.path}"
    check_destination(out)
    with writing(out):
        if out.exists() and not (out / JOURNAL).exists() and any(entry.name != _LEASE for entry in out.iterdir()):
            raise RunError(f"{out}: expected a search or an unused path, found other files; {remedy}")
        out.mkdir(parents=True, exist_ok=True)
        if not acquire(out / _LEASE):
            raise RunError(
                f"{out}: expected a search that no other process runs, found one at work; wait for it, or {remedy}"
            )
    with kept(out / _LEASE):
        yield
