"""The training loop: each epoch is trained, evaluated, saved and logged, until patience or epochs run out.

A refit has no validation: it runs a known number of epochs and keeps the last one's parameters.
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from tcf.common.errors import DivergedError, RunError
from tcf.train.loss_meter import LossMeter
from tcf.train.run.epoch_log import Epoch
from tcf.train.run.records import Log, Records
from tcf.train.run.resume_state import ResumePoint
from tcf.train.run.training_progress import TrainingProgress
from tcf.train.trainer import Trainer
from tcf.train.validation import Validation

__all__ = ["EarlyStopping", "FixedEpochs", "TrainingOutcome", "Watch", "fit", "measure"]

Watch = Callable[[Epoch, bool], None]
"""Called with each epoch, and whether the training would go on: False after the last epoch, and for one that another
follows already, because it was finished by an earlier attempt."""


@dataclass
class EarlyStopping:
    """Remembers the best epoch; only a strictly better value counts as better.

    Attributes:
        patience: epochs in a row without a better value after which to stop.
        best: the best value so far.
        best_epoch: its epoch; 0 before the first one.
        waited: epochs since then.
    """

    patience: int
    best: float = float("-inf")
    best_epoch: int = 0
    waited: int = 0

    def update(self, epoch: int, value: float) -> bool:
        """Record an epoch's value; returns whether it is the best so far."""
        if value > self.best:
            self.best, self.best_epoch, self.waited = value, epoch, 0
            return True
        self.waited += 1
        return False

    @property
    def should_stop(self) -> bool:
        """Whether patience has run out."""
        return self.waited >= self.patience


@dataclass
class FixedEpochs:
    """A number of epochs known from the start, of which the last one is kept.

    Attributes:
        epochs: the number.
        best_epoch: the epoch whose model is kept; 0 before the last one.
        ended: epochs that have ended.
    """

    epochs: int
    best_epoch: int = 0
    ended: int = 0

    def update(self, epoch: int) -> bool:
        """Record the end of an epoch; returns whether it was the last."""
        self.ended = epoch
        self.best_epoch = epoch if epoch == self.epochs else 0
        return self.best_epoch > 0

    @property
    def should_stop(self) -> bool:
        """Whether all epochs have ended."""
        return self.ended >= self.epochs


@dataclass(frozen=True)
class TrainingOutcome:
    """The epoch whose model was kept, and the number of epochs."""

    best_epoch: int
    epochs: int


def fit(trainer: Trainer, goal: Validation | int, records: Records, watch: Watch | None = None) -> TrainingOutcome:
    """Train until patience or epochs run out, keeping the best epoch's parameters; or for a given number of epochs.

    An interrupted training resumes from its last saved state, and ends as it would have without the interruption.

    Args:
        trainer: a new trainer.
        goal: the queries that select the best epoch; or, for a refit, the number of epochs to train.
        records: where progress is saved and logged.
        watch: see `Watch`; for a resumed training, called first with the finished epochs. An error that it raises ends
            the training, which can be resumed.

    Raises:
        DivergedError: a loss, a vector or a state is not finite.
        RunError: the records cannot be read or written.
    """
    resume_point = records.resume(trainer)
    loop = _TrainingLoop(trainer, goal, records, _stopping(goal, trainer))
    loop.replay(resume_point, watch)
    with records.log(resume_point.epochs) as log, _progress(resume_point, trainer, goal) as progress:
        meter = resume_point.meter
        while not loop.is_over:
            epoch = loop.run(meter, log, progress)
            meter = None
            if watch is not None:
                watch(epoch, not loop.is_over)
    return TrainingOutcome(loop.stopping.best_epoch, len(loop.epochs))


def measure(validation: Validation, trainer: Trainer, epoch: int) -> Mapping[str, float]:
    """Evaluate the current model on validation queries.

    Raises:
        DivergedError: a vector or a state is not finite; the message says what to do.
    """
    try:
        return validation.measure(trainer.model, "cuda" if trainer.device.type == "cuda" else "cpu")
    except RunError as error:
        raise DivergedError(
            f"epoch {epoch}: {error}; nothing was published; try a lower --learning-rate "
            f"(now {trainer.config.learning_rate:g})"
        ) from None


@dataclass
class _TrainingLoop:
    """The finished epochs of a training, and how the next one is run.

    Attributes:
        trainer: trains the model.
        goal: the queries that select the best epoch, or the number of epochs to train.
        records: where progress is saved.
        stopping: the epoch to keep so far, and when to stop.
        epochs: the finished epochs.
    """

    trainer: Trainer
    goal: Validation | int
    records: Records
    stopping: EarlyStopping | FixedEpochs
    epochs: list[Epoch] = dataclasses.field(default_factory=list)

    @property
    def is_over(self) -> bool:
        """Whether epochs or patience have run out."""
        return len(self.epochs) >= self.trainer.config.epochs or self.stopping.should_stop

    def replay(self, resume_point: ResumePoint, watch: Watch | None) -> None:
        """Replay the epochs that an earlier attempt finished."""
        for epoch in resume_point.epochs:
            self.epochs.append(epoch)
            self._update(epoch)
            if watch is not None:
                watch(epoch, len(self.epochs) == len(resume_point.epochs) and not self.is_over)
        best = self.stopping.best_epoch
        if self.epochs and resume_point.meter is None and best == len(self.epochs):
            # The attempt may have ended after saving this state and before keeping its model.
            self.records.keep_best(self.trainer, best)
        elif best:
            self.records.check_best(best)

    def run(self, meter: LossMeter | None, log: Log, progress: TrainingProgress) -> Epoch:
        """Run one epoch, or the rest of an interrupted one."""
        number = len(self.epochs) + 1
        done = self.trainer.run_epoch(number, meter, partial(self._after_step, progress))
        metrics = {} if isinstance(self.goal, int) else measure(self.goal, self.trainer, number)
        epoch = Epoch(number, done.loss, metrics, done.measured / done.seconds)
        self.epochs.append(epoch)
        is_best = self._update(epoch)
        # The state comes first: the model can be kept from it, and the log written.
        self.records.save(self.trainer, ResumePoint(tuple(self.epochs)))
        if is_best:
            self.records.keep_best(self.trainer, number)
        log.write(epoch)
        best = self.stopping.best if isinstance(self.stopping, EarlyStopping) else None
        progress.end_epoch(epoch, best, self.stopping.best_epoch)
        return epoch

    def _update(self, epoch: Epoch) -> bool:
        """Record an epoch; returns whether its model is to be kept."""
        match self.stopping:
            case EarlyStopping():
                return self.stopping.update(epoch.number, epoch.metrics[self.trainer.config.monitor])
            case FixedEpochs():
                return self.stopping.update(epoch.number)

    def _after_step(self, progress: TrainingProgress, meter: LossMeter) -> None:
        progress.step()
        self.records.save_if_due(self.trainer, ResumePoint(tuple(self.epochs), meter))


def _stopping(goal: Validation | int, trainer: Trainer) -> EarlyStopping | FixedEpochs:
    return FixedEpochs(goal) if isinstance(goal, int) else EarlyStopping(trainer.config.resolved_patience)


def _progress(resume_point: ResumePoint, trainer: Trainer, goal: Validation | int) -> TrainingProgress:
    config, meter = trainer.config, resume_point.meter
    return TrainingProgress(
        goal if isinstance(goal, int) else config.epochs,
        trainer.feed.steps,
        None if isinstance(goal, int) else config.monitor,
        epochs_done=len(resume_point.epochs),
        steps_done=0 if meter is None else meter.steps,
    )
