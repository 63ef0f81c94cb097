"""How fast each training of a study goes: a few steps of some of them are timed, and remembered by this machine.

Seeds, learning rates and the like do not matter. Of trainings that differ in the width of cached vectors alone, such as
those of all encoders of a study, the narrowest and the widest are timed; a step's work rises with the width in a line.
"""

import dataclasses
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch

from tcf.common.devices import resolve_devices
from tcf.common.files import home
from tcf.common.manifest import digest
from tcf.config.fields import to_mapping
from tcf.config.train import TrainConfig
from tcf.extract.plan.calibration_memo import conditions, remembered_number
from tcf.launch.study.predictions.inputs import StudyInputs
from tcf.launch.study.predictions.prediction import Unknown
from tcf.launch.units.tasks import TrainTask
from tcf.train.estimate import Estimate, estimate_sizes
from tcf.train.trial import Pace, StandInVectors, lacks_memory, run_trial

__all__ = ["TrainingPaces"]

logger = logging.getLogger(__name__)

_SECONDS = 30.0  # after which no further training is tried
# Settings that no step's time depends on, or that do by the width of vectors alone.
_INDIFFERENT = (
    *(
        "seed",
        "epochs",
        "patience",
        "monitor",
        "validation_users",
        "untrained_users",
        "refit",
        "save_minutes",
        "verify",
    ),
    *("learning_rate", "item_learning_rate", "weight_decay", "item_weight_decay", "schedule", "warmup_steps"),
    *("step_epochs", "step_factor", "gbce_t", "normalise", "whiten", "whiten_epsilon", "whiten_form"),
    *("pca", "table", "compile", "id_init", "id_learning_rate", "id_weight_decay"),
)


@dataclass
class TrainingPaces:
    """The paces and sizes of a study's trainings, each found once.

    Attributes:
        inputs: the study's inputs.
        trainings: all trainings of the study.
    """

    inputs: StudyInputs
    trainings: Iterable[TrainTask]
    _spent: float = 0.0
    _paces: dict[tuple[str, int], Pace] = field(default_factory=dict)
    _sizes: dict[tuple[str, int], Estimate] = field(default_factory=dict)
    _widths: dict[str, set[int]] | None = None

    def sizes(self, task: TrainTask) -> Estimate:
        """What a training takes but for time.

        Raises:
            Unknown: an input is not there yet.
            TcfError: it cannot be trained like this.
        """
        config, width = task.config, self._width(task)
        key = digest({"data": str(task.data), **to_mapping(dataclasses.replace(config, seed=0))}), width
        if key not in self._sizes:
            self._sizes[key] = self._estimate(task.data, config, width)
        return self._sizes[key]

    def pace(self, task: TrainTask) -> Pace:
        """How fast a training goes.

        Raises:
            Unknown: an input is not there yet, there is no memory to try it, or others took all the time.
            TcfError: it cannot be trained like this.
        """
        width, widths = self._width(task), self._all_widths()[_kind(task)]
        narrow, wide = (self._timed(task, end) for end in (min(widths), max(widths)))
        share = (width - min(widths)) / max(1, max(widths) - min(widths))
        return Pace(
            step=narrow.step + share * (wide.step - narrow.step),
            item=narrow.item + share * (wide.item - narrow.item),
            user=max(narrow.user, wide.user),
            pair=max(narrow.pair, wide.pair),
        )

    def _all_widths(self) -> dict[str, set[int]]:
        """The widths of all trainings that differ in nothing else, as far as they are known, by what they share."""
        if self._widths is None:
            self._widths = {}
            for task in self.trainings:
                try:
                    self._widths.setdefault(_kind(task), set()).add(self._width(task))
                except Unknown:
                    continue
        return self._widths

    def _timed(self, task: TrainTask, width: int) -> Pace:
        key = _kind(task), width
        if key not in self._paces:
            self._paces[key] = self._remembered(task, width)
        return self._paces[key]

    def _remembered(self, task: TrainTask, width: int) -> Pace:
        """The pace that this machine remembers, or else that of a trial now."""
        dataset, device = self.inputs.dataset(task.data), resolve_devices(task.config.devices)[0]
        what = {
            "trial": "training",
            "settings": _deciding(task.config),
            "dataset": [dataset.n_items, dataset.n_users, len(dataset.histories.items)],
            "width": width,
            **conditions(device, torch.float32),
        }
        trial = cache(lambda: self._try(task, width, device))

        def number(part: str, of: Callable[[Pace], float]) -> float:
            return remembered_number(home() / "trials", {**what, "part": part}, lambda: of(trial()))

        return Pace(
            step=number("step", lambda pace: pace.step),
            item=number("item", lambda pace: pace.item),
            user=number("user", lambda pace: pace.user),
            pair=number("pair", lambda pace: pace.pair),
        )

    def _try(self, task: TrainTask, width: int, device: torch.device) -> Pace:
        if self._spent > _SECONDS:
            raise Unknown(f"not timed: others took {_SECONDS:.0f} s and are remembered; run it again to time more")
        sizes = self._estimate(task.data, task.config, width)
        if lacking := lacks_memory(sizes.memory, device):
            raise Unknown(lacking)
        logger.info(f"predict: timing a few steps of {task.out.parent.name}/{task.out.name}")
        began = time.monotonic()
        dataset, training = self.inputs.dataset(task.data), self.inputs.training(task.data, task.config)
        found = run_trial(dataset, training, _vectors(dataset.n_items, width, device), task.config, device)
        self._spent += time.monotonic() - began
        return found

    def _estimate(self, data: Path, config: TrainConfig, width: int) -> Estimate:
        dataset, device = self.inputs.dataset(data), resolve_devices(config.devices)[0]
        vectors = _vectors(dataset.n_items, width, device)
        return estimate_sizes(dataset, self.inputs.training(data, config), vectors, config, device)

    def _width(self, task: TrainTask) -> int:
        return self.inputs.width(task.caches, task.config)


def _vectors(n_items: int, width: int, device: torch.device) -> StandInVectors | None:
    return StandInVectors.build(n_items, width, device) if width else None


def _deciding(config: TrainConfig) -> dict[str, Any]:
    """The settings that a step's time depends on."""
    return {name: value for name, value in to_mapping(config).items() if name not in _INDIFFERENT}


def _kind(task: TrainTask) -> str:
    """What trainings share that go equally fast, but for the width of their vectors."""
    return digest({"data": str(task.data), **_deciding(task.config)})
