"""Runs the trials of a search on its workers; Optuna suggests their parameters and decides which are pruned.

Only this process uses the study: it asks for trials, reports every epoch, and prunes trials that do badly. Workers end
with this process. Started again, the search resumes where it was.
"""

import logging
import signal
from dataclasses import dataclass, field, replace
from typing import Any

from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from tcf.common.errors import ConfigError, RunError
from tcf.common.progress import Progress
from tcf.common.units import as_percent
from tcf.config.train import TrainConfig
from tcf.launch.file_terms import in_file_terms, keys_of
from tcf.launch.search.results import best_row, trial_folder, trial_rows, write_results
from tcf.launch.search.search_file import SearchFile
from tcf.launch.search.study import find_duplicate, suggest
from tcf.launch.search.trial_workers import TrialWorker
from tcf.launch.workers.jobs import TrainingJob
from tcf.launch.workers.worker import ready

__all__ = ["TrialLoop"]

logger = logging.getLogger(__name__)


@dataclass
class TrialLoop:
    """Runs the trials of a search until the requested number of them has ended.

    Attributes:
        search: the search.
        study: its trials, which only this process changes.
        workers: the workers that train the trials.
        progress: shows every epoch, and counts ended trials.
        unfinished: trials that an earlier process did not finish.
        running: the trial that each busy worker trains.
        killed: numbers of the trials whose worker has been killed once.
    """

    search: SearchFile
    study: Study
    workers: list[TrialWorker]
    progress: Progress
    unfinished: list[Trial]
    running: dict[TrialWorker, tuple[Trial, TrainingJob]] = field(default_factory=dict)
    killed: set[int] = field(default_factory=set)

    def run(self) -> None:
        """Start trials and handle messages of the workers until all trials have ended."""
        self._start_trials()
        while self.running:
            for worker in ready(list(self.running)):
                self._handle_message(worker)
            self._start_trials()

    def _start_trials(self) -> None:
        for worker in self.workers:
            if worker in self.running:
                continue
            following = self._next_trial()
            if following is None:
                return
            trial, config = following
            self._start(worker, trial, config)

    def _next_trial(self) -> tuple[Trial, TrainConfig] | None:
        """The next trial that needs training, with its settings; None if there is none."""
        while (trial := self._ask()) is not None:
            params = suggest(trial, self.search.space)
            other = find_duplicate(self.study, trial, self.search)
            if other is not None:
                self._copy_result(trial, other)
                continue
            try:
                return trial, self.search.settings(params)
            except ConfigError as error:
                self._fail(trial, str(error))
        return None

    def _ask(self) -> Trial | None:
        """An unfinished trial or a new one; None if there are as many as requested."""
        if self.unfinished:
            return self.unfinished.pop(0)
        existing = len(self.study.get_trials(deepcopy=False))
        return self.study.ask() if existing < self.search.n_trials else None

    def _start(self, worker: TrialWorker, trial: Trial, config: TrainConfig) -> None:
        config = config if worker.device is None else replace(config, devices=worker.device)
        out = trial_folder(self.search.out, trial.number)
        job = TrainingJob(self.search.data, self.search.caches_for(config), out, config, worker.threads)
        self.running[worker] = trial, job
        worker.train(job)

    def _handle_message(self, worker: TrialWorker) -> None:
        trial, job = self.running[worker]
        message = worker.receive()
        if message is None:
            if not self._retry(worker, trial, job):
                del self.running[worker]
            return
        match message:
            case {"epoch": int(epoch), "value": float(value), "goes_on": bool(goes_on)}:
                self._report(trial, epoch, value)
                # There is nothing to save after the last epoch; and a later epoch than this was decided upon before.
                worker.decide(not (goes_on and trial.should_prune()))
            case {"ended": "refused", "reason": str(reason)}:
                reason = in_file_terms(reason, self.search.path, "train", keys_of(TrainConfig))
                raise RunError(f"{reason}; fix this and run the same command again: the search resumes with {job.out}")
            case {"ended": str(how)}:
                self._finish(trial, how, message)
                del self.running[worker]

    def _report(self, trial: Trial, epoch: int, value: float) -> None:
        # A run that is resumed reports its earlier epochs again.
        if epoch not in self._stored(trial).intermediate_values:
            trial.report(value, epoch)
        self.progress.advance(0, f"trial {trial.number}, epoch {epoch}: {self._shown(value)}")

    def _finish(self, trial: Trial, how: str, message: dict[str, Any]) -> None:
        if how == "trained":
            facts, value = message["facts"], message["facts"][self.search.monitor]
            trial.set_user_attr("facts", facts)
            self.study.tell(trial, value)
            self._announce(trial, f"{self._shown(value)} at epoch {facts['best_epoch']} of {facts['epochs']}")
        elif how == "pruned":
            self.study.tell(trial, state=TrialState.PRUNED)
            self._announce(trial, f"pruned after epoch {self._stored(trial).last_step}")
        else:
            self._fail(trial, message["reason"])

    def _fail(self, trial: Trial, reason: str) -> None:
        """Record a failed trial as pruned in the study, so that the sampler avoids such parameters."""
        trial.set_user_attr("reason", reason)
        self.study.tell(trial, state=TrialState.PRUNED)
        self._announce(trial, f"failed: {reason}")

    def _copy_result(self, trial: Trial, other: FrozenTrial) -> None:
        """Copy the result of an earlier trial with the same parameters."""
        trial.set_user_attr("same_as", other.user_attrs.get("same_as", other.number))
        for name in ("facts", "reason"):
            if name in other.user_attrs:
                trial.set_user_attr(name, other.user_attrs[name])
        if other.state == TrialState.COMPLETE:
            self.study.tell(trial, other.value)
        else:
            if other.last_step is not None:
                self._report(trial, other.last_step, other.intermediate_values[other.last_step])
            self.study.tell(trial, state=TrialState.PRUNED)
        self._announce(trial, f"same settings as trial {other.number}, not trained again")

    def _retry(self, worker: TrialWorker, trial: Trial, job: TrainingJob) -> bool:
        """Restart a trial whose worker has been killed for the first time; otherwise record its failure.

        Returns:
            Whether the trial was started again.

        Raises:
            RunError: the worker was asked to end, by a signal.
        """
        outcome = worker.wait()
        ended_by = outcome.ended_by
        if ended_by in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            raise RunError(
                f"{job.out}: its process was ended by {ended_by.name}; run the same command again to continue"
            )
        reason = worker.failure(outcome) if ended_by is None else f"its process was ended by {ended_by.name}"
        if ended_by is not None and trial.number not in self.killed:
            self.killed.add(trial.number)
            logger.warning(f"trial {trial.number}: {reason}; it continues in a new process")
            worker.train(job)
            return True
        self._fail(trial, f"{reason} (see {worker.log})")
        return False

    def _stored(self, trial: Trial) -> FrozenTrial:
        """The trial as stored in the journal."""
        return self.study.get_trials(deepcopy=False)[trial.number]

    def _announce(self, trial: Trial, words: str) -> None:
        rows = trial_rows(self.study)
        write_results(self.search, rows)
        best = best_row(rows)
        so_far = "" if best is None else f"; best {as_percent(best.value or 0.0)} (trial {best.number})"
        logger.info(f"trial {trial.number}: {words}{so_far}")
        self.progress.advance(1)

    def _shown(self, value: float) -> str:
        """A validation mean of the metric that the search maximises, formatted."""
        return f"validation {self.search.monitor} {as_percent(value)}"
