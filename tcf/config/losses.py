"""Names of the training losses, and the settings that each reads.

Their code is in `tcf.train.loss.losses`, because it needs torch.
"""

from dataclasses import dataclass
from itertools import groupby
from typing import Literal

__all__ = ["LOSSES", "LossInfo", "LossName", "loss_info", "losses_help", "losses_reading", "negatives_help"]

LossName = Literal["in-batch", "full", "sampled", "bce", "gbce"]


@dataclass(frozen=True)
class LossInfo:
    """Name and description of a loss.

    Attributes:
        name: name on the command line.
        help: description, a sentence without its full stop.
        negatives: default number of sampled items (the study's for bce, gSASRec's for gbce); None for a loss that
            samples none.
        drawn_for: what they are sampled for: the whole batch or each target.
        options: fields of `TrainConfig`, besides `negatives`, that only this loss or some losses read.
        reads_catalogue: whether each step reads the vectors of all items.
        instead: for such a loss, alternatives for catalogues too large to be read in each step.
    """

    name: LossName
    help: str
    negatives: int | None = None
    drawn_for: Literal["batch", "target"] = "target"
    options: tuple[str, ...] = ()
    reads_catalogue: bool = False
    instead: tuple[LossName, ...] = ()


_BINARY = "binary cross-entropy with uniform negatives from the whole catalogue"
LOSSES: tuple[LossInfo, ...] = (
    LossInfo("in-batch", "softmax over the items of the batch, corrected for popularity"),
    LossInfo("full", "softmax over all training items", reads_catalogue=True, instead=("in-batch", "sampled")),
    LossInfo(
        "sampled",
        "softmax over sampled negatives, corrected for their probability",
        negatives=8192,
        drawn_for="batch",
        options=("sampling",),
    ),
    LossInfo("bce", _BINARY, negatives=1),
    LossInfo("gbce", _BINARY, negatives=256, options=("gbce_t",)),
)


def loss_info(name: LossName) -> LossInfo:
    """Return the loss with this name."""
    return {loss.name: loss for loss in LOSSES}[name]


def losses_reading(option: str) -> tuple[LossName, ...]:
    """Return the losses that read a setting which not all losses read.

    >>> losses_reading("sampling"), losses_reading("negatives")
    (('sampled',), ('sampled', 'bce', 'gbce'))
    """
    if option == "negatives":
        return tuple(loss.name for loss in LOSSES if loss.negatives is not None)
    return tuple(loss.name for loss in LOSSES if option in loss.options)


def losses_help() -> str:
    """Describe each loss, for the help text."""
    alike = [(text, [loss.name for loss in group]) for text, group in groupby(LOSSES, lambda loss: loss.help)]
    return "; ".join(f"{', '.join(names)}: {text}" for text, names in alike) + "."


def negatives_help() -> str:
    """Describe what each loss samples items for and how many by default, for the help text."""
    drawn = [loss for loss in LOSSES if loss.negatives is not None]
    for_batch, for_target = (
        " or ".join(f"{loss.name} (default {loss.negatives})" for loss in drawn if loss.drawn_for == unit)
        for unit in ("batch", "target")
    )
    return f"Number of negatives: for each batch with {for_batch}, for each target with {for_target}."
