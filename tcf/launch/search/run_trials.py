"""The trials of a search, dealt out to workers until all have ended; Optuna decides what is drawn and what is pruned.

This process alone holds the study. It draws the settings, hears of every epoch, and ends trials that do not promise
anything. Whatever ends it, the workers end too; started again, it goes on where it was.
"""

import signal
import sys
from dataclasses import dataclass, field, replace
from typing import Any

from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from tcf.common.errors import ConfigError, RunError
from tcf.common.progress import Progress
from tcf.config.train import TrainConfig
from tcf.launch.search.results import best_of, folder_of, rows_of, write_results
from tcf.launch.search.search_file import SearchFile
from tcf.launch.search.study import draw, twin
from tcf.launch.search.trial_process import Task
from tcf.launch.search.trial_workers import Worker, speaking
from tcf.ranking.metrics import SEARCH_METRIC

__all__ = ["Course"]


@dataclass
class Course:
    """The trials of a search and who trains them.

    Attributes:
        search: what is asked for.
        study: the trials, which only this process changes.
        workers: who trains.
        progress: told of every epoch and every end.
        waiting: trials that an earlier process did not finish.
        busy: what each worker trains.
        deaths: trials whose worker was killed once.
    """

    search: SearchFile
    study: Study
    workers: list[Worker]
    progress: Progress
    waiting: list[Trial]
    busy: dict[Worker, tuple[Trial, Task]] = field(default_factory=dict)
    deaths: set[int] = field(default_factory=set)

    def run(self) -> None:
        """Deal out trials and hear of them until all have ended."""
        self._deal()
        while self.busy:
            for worker in speaking(list(self.busy)):
                self._hear(worker)
            self._deal()

    def _deal(self) -> None:
        for worker in self.workers:
            if worker in self.busy:
                continue
            found = self._next()
            if found is None:
                return
            trial, config = found
            self._begin(worker, trial, config)

    def _next(self) -> tuple[Trial, TrainConfig] | None:
        """The next trial that has to be trained."""
        while (trial := self._waiting_or_new()) is not None:
            drawn = draw(trial, self.search.space)
            other = twin(self.study, trial)
            if other is not None:
                self._end_like(trial, other)
                continue
            try:
                return trial, self.search.settings(drawn)
            except ConfigError as error:
                self._fail(trial, str(error))
        return None

    def _waiting_or_new(self) -> Trial | None:
        if self.waiting:
            return self.waiting.pop(0)
        there = len(self.study.get_trials(deepcopy=False))
        return self.study.ask() if there < self.search.most_trials else None

    def _begin(self, worker: Worker, trial: Trial, config: TrainConfig) -> None:
        config = config if worker.device is None else replace(config, devices=worker.device)
        out = folder_of(self.search.out, trial.number)
        task = Task(self.search.data, self.search.caches_for(config), out, config, worker.threads)
        self.busy[worker] = trial, task
        worker.begin(task)

    def _hear(self, worker: Worker) -> None:
        trial, task = self.busy[worker]
        message = worker.hear()
        if message is None:
            if not self._takes_up(worker, trial, task):
                del self.busy[worker]
            return
        match message:
            case {"epoch": int(epoch), SEARCH_METRIC.key: float(value)}:
                self._report(trial, epoch, value)
                worker.answer(not trial.should_prune())
            case {"ended": "refused", "reason": str(reason)}:
                raise RunError(
                    f"{reason}; mend this and run the same command again: the search goes on with {task.out}"
                )
            case {"ended": str(how)}:
                self._end(trial, how, message)
                del self.busy[worker]

    def _report(self, trial: Trial, epoch: int, value: float) -> None:
        # A run that is taken up tells of its earlier epochs again.
        if epoch not in self._frozen(trial).intermediate_values:
            trial.report(value, epoch)
        self.progress.advance(0, f"trial {trial.number}, epoch {epoch}: {SEARCH_METRIC.name} {value:.4f}")

    def _end(self, trial: Trial, how: str, message: dict[str, Any]) -> None:
        if how == "trained":
            facts, metric = message["facts"], SEARCH_METRIC.name
            trial.set_user_attr("facts", facts)
            self.study.tell(trial, facts[metric])
            self._tell(trial, f"{metric} {facts[metric]:.4f} at epoch {facts['best_epoch']} of {facts['epochs']}")
        elif how == "pruned":
            self.study.tell(trial, state=TrialState.PRUNED)
            self._tell(trial, f"pruned after epoch {self._frozen(trial).last_step}")
        else:
            self._fail(trial, message["reason"])

    def _fail(self, trial: Trial, reason: str) -> None:
        """Count a trial that cannot be trained; as a pruned one, so that such settings are avoided."""
        trial.set_user_attr("reason", reason)
        self.study.tell(trial, state=TrialState.PRUNED)
        self._tell(trial, f"failed: {reason}")

    def _end_like(self, trial: Trial, other: FrozenTrial) -> None:
        """Let a trial end as an earlier one of the same settings has ended."""
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
        self._tell(trial, f"the settings of trial {other.number}, not trained again")

    def _takes_up(self, worker: Worker, trial: Trial, task: Task) -> bool:
        """Whether a trial whose worker has ended goes on in a new process; a second time, it has failed.

        Raises:
            RunError: the worker was asked to end.
        """
        status = worker.end()
        if status in (-signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP):
            raise RunError(f"{task.out}: its process was asked to end; run the same command again, and it goes on")
        reason = f"its process ended by {signal.Signals(-status).name}" if status < 0 else worker.last_words()
        if status < 0 and trial.number not in self.deaths:
            self.deaths.add(trial.number)
            print(f"tcf: warning: trial {trial.number}: {reason}; it goes on in a new one", file=sys.stderr, flush=True)
            worker.begin(task)
            return True
        self._fail(trial, f"{reason} (see {worker.log})")
        return False

    def _frozen(self, trial: Trial) -> FrozenTrial:
        """The trial as the journal has it."""
        return self.study.get_trials(deepcopy=False)[trial.number]

    def _tell(self, trial: Trial, words: str) -> None:
        rows = rows_of(self.study)
        write_results(self.search, rows)
        best = best_of(rows)
        so_far = "" if best is None else f"; best {best.value or 0.0:.4f} (trial {best.number})"
        print(f"trial {trial.number}: {words}{so_far}", file=sys.stderr, flush=True)
        self.progress.advance(1)
