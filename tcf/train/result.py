"""What a finished training is told to be."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tcf.common.manifest import Manifest
from tcf.train.assemble import Assembled
from tcf.train.fit import Outcome
from tcf.train.validation import Metrics

__all__ = ["TrainResult", "facts_of"]

# The order in which people read them; a manifest sorts them.
_FACTS = (
    "best_epoch",
    "hr@10",
    "ndcg@10",
    "epochs",
    "parameters",
    "users",
    "users_left_out",
    "targets",
    "device",
    "threads",
)


@dataclass(frozen=True)
class TrainResult:
    """What became of a training.

    Attributes:
        path: the run's directory.
        manifest: its manifest; `facts` holds the best epoch and its metrics.
        trained: False if the run was there already.
    """

    path: Path
    manifest: Manifest
    trained: bool

    @property
    def facts(self) -> dict[str, Any]:
        """The manifest's facts, for people: the best epoch and its metrics first."""
        facts = dict(self.manifest.facts)
        return {name: facts[name] for name in sorted(facts, key=_place)}


def facts_of(assembled: Assembled, outcome: Outcome, best: Metrics) -> dict[str, int | float | str]:
    """The facts of a run's manifest.

    Args:
        assembled: what was trained.
        outcome: its epochs.
        best: the best epoch's metrics over all users.
    """
    trainer = assembled.trainer
    return {
        "best_epoch": outcome.best_epoch,
        "hr@10": best.hr,
        "ndcg@10": best.ndcg,
        "epochs": outcome.epochs,
        "parameters": sum(parameter.numel() for parameter in trainer.model.parameters()),
        "targets": trainer.feed.rows.n_targets,
        "device": trainer.config.devices,
        "threads": torch.get_num_threads(),
        "users": len(assembled.data.sequences),
        "users_left_out": assembled.data.left_out,
    }


def _place(fact: str) -> int:
    return _FACTS.index(fact) if fact in _FACTS else len(_FACTS)
