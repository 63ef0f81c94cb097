"""AdamW with separate parameter groups for item tower, ids beside texts and the rest; the learning-rate schedule."""

import math
from typing import Any

import torch
from torch import nn

from tcf.common.errors import ConfigError
from tcf.config.train import TrainConfig
from tcf.train.model.item_tower import SummedItems
from tcf.train.model.recommender import Recommender

__all__ = ["Optimizer", "rate_factor"]


class Optimizer:
    """The optimiser of a run; the learning rate is a function of the step alone, so the schedule needs no state.

    Weight decay applies to every parameter, including norms, biases and embeddings, as in the study.

    Args:
        model: the model to train, on its device.
        config: rates, decay, schedule, clipping.
        steps_per_epoch: steps per epoch.

    Raises:
        ConfigError: the warm-up takes longer than the training.
    """

    def __init__(self, model: Recommender, config: TrainConfig, steps_per_epoch: int) -> None:
        if config.warmup_steps >= config.epochs * steps_per_epoch:
            raise ConfigError(
                f"--warmup-steps: expected fewer than the {config.epochs * steps_per_epoch} steps of --epochs "
                f"{config.epochs}, found {config.warmup_steps}; pass fewer, or more --epochs: the learning rate would "
                "never be reached"
            )
        self.config, self.steps_per_epoch = config, steps_per_epoch
        groups = _groups(model, config)
        self._rates = [float(group["lr"]) for group in groups]
        self._parameters = list(model.parameters())
        self.adamw = torch.optim.AdamW(groups, fused=True)

    def step(self, number: int) -> None:
        """Update the parameters.

        Args:
            number: number of steps of this run before this one.
        """
        factor = rate_factor(self.config, number, self.steps_per_epoch)
        for group, rate in zip(self.adamw.param_groups, self._rates, strict=True):
            group["lr"] = rate * factor
        if self.config.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self._parameters, self.config.clip_norm)
        self.adamw.step()
        self.adamw.zero_grad(set_to_none=True)


def rate_factor(config: TrainConfig, step: int, steps_per_epoch: int) -> float:
    """The factor on the learning rates in a step, counted from 0.

    It rises linearly over `warmup_steps`. After that, the study's schedule multiplies it by `step_factor` every
    `step_epochs`; the cosine schedule lets it fall to 0 at the end of `epochs`.
    """
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    after = step - config.warmup_steps
    match config.schedule:
        case "step":
            return float(config.step_factor ** (after // (config.step_epochs * steps_per_epoch)))
        case "cosine":
            whole = max(1, config.epochs * steps_per_epoch - config.warmup_steps)
            return 0.5 * (1 + math.cos(math.pi * min(1.0, after / whole)))


def _groups(model: Recommender, config: TrainConfig) -> list[dict[str, Any]]:
    """Parameter groups of the item tower, of everything else, and of ids that have own settings; without empty ones."""
    ids = _own_ids(model, config)
    named = [(name, p) for name, p in model.named_parameters() if not any(p is own for own in ids)]
    item_rate = _first(config.item_learning_rate, config.learning_rate)
    item_decay = _first(config.item_weight_decay, config.weight_decay)
    groups = [
        ([p for name, p in named if name.startswith("items.")], item_rate, item_decay),
        ([p for name, p in named if not name.startswith("items.")], config.learning_rate, config.weight_decay),
        (ids, _first(config.id_learning_rate, item_rate), _first(config.id_weight_decay, item_decay)),
    ]
    return [
        {"params": parameters, "lr": rate, "weight_decay": decay} for parameters, rate, decay in groups if parameters
    ]


def _own_ids(model: Recommender, config: TrainConfig) -> list[nn.Parameter]:
    """The ids beside texts, if they have a rate or decay of their own."""
    if config.id_learning_rate is None and config.id_weight_decay is None:
        return []
    return [p for module in model.modules() if isinstance(module, SummedItems) for p in module.ids.parameters()]


def _first(own: float | None, general: float) -> float:
    return general if own is None else own
