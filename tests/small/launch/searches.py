"""Search files over small datasets, and workers that only pretend to train."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from small.train.runs import make_cache, make_dataset, walks
from tcf.launch.search.search_file import SearchFile, read_search
from tcf.launch.search.trial_workers import TrialWorker
from tcf.launch.workers.jobs import TrainingJob
from tcf.launch.workers.worker import Outcome

__all__ = ["PretendedWorker", "change", "told", "trained", "workplace"]

FILE = """
out = "OUT"
data = "PLACE/data"

[search]
trials = 7
random_trials = 3
pruning_trials = 2
pruning_epochs = 1

[train]
items = "id"
epochs = 4
devices = "cpu"

[space]
learning_rate = {low = 1e-4, high = 1e-1, log = true}
width = [8, 16]
"""


def workplace(folder: Path, out: str = "search") -> Path:
    """A dataset, a cache and a search file; returns the file."""
    if not (folder / "data").exists():
        dataset = make_dataset(folder, walks(), [f"t{item}" for item in range(30)])
        make_cache(folder, dataset, np.random.default_rng(0).normal(size=(30, 12)).astype(np.float32))
    file = folder / f"{out}.toml"
    file.write_text(FILE.replace("OUT", str(folder / out)).replace("PLACE", str(folder)))
    return file


def change(file: Path, *pairs: tuple[str, str]) -> SearchFile:
    """Replace words in a search file, and read it."""
    text = file.read_text()
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new, 1)
    file.write_text(text)
    return read_search(file)


def trained(hr: float, epochs: int = 1, ndcg: float = 0.0) -> list[dict[str, Any]]:
    """What a worker says that trains a run of so many epochs, each as good as the last by hr@10, its monitor."""
    facts = {"hr@10": hr, "ndcg@10": ndcg, "best_epoch": 1, "epochs": epochs, "parameters": 1}
    said = [told(epoch, hr, goes_on=epoch < epochs) for epoch in range(1, epochs + 1)]
    return [*said, {"ended": "trained", "facts": facts}]


def told(epoch: int, value: float, *, goes_on: bool = True) -> dict[str, Any]:
    """What a worker says after an epoch."""
    return {"epoch": epoch, "value": value, "goes_on": goes_on}


@dataclass(eq=False)
class PretendedWorker(TrialWorker):
    """A worker without a process, which says what it was given to say.

    Attributes:
        script: its messages; a number is the exit status of a process that ends instead.
        jobs: what it was told to train.
        decisions: whether to go on, as it was told.
    """

    script: Sequence[dict[str, Any] | int] = ()
    jobs: list[TrainingJob] = field(default_factory=list)
    decisions: list[bool] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._left = list(self.script)
        self._pipe = os.pipe()
        os.write(self._pipe[1], b".")  # there is always something to hear

    def fileno(self) -> int:
        return self._pipe[0]

    def train(self, job: TrainingJob) -> None:
        self.jobs.append(job)

    def decide(self, go_on: bool) -> None:
        self.decisions.append(go_on)

    def receive(self) -> dict[str, Any] | None:
        match self._left[0]:
            case dict(message):
                del self._left[0]
                return message
            case _:
                return None

    def wait(self) -> Outcome:
        status = self._left.pop(0)
        assert isinstance(status, int)
        return Outcome(status)

    def failure(self, outcome: Outcome) -> str:
        return "something went wrong"
