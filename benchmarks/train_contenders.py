"""What `train.py` compares: one training each, in a process of its own."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from processes import watch
from train_vectors import cache_of_width

from tcf.data.dataset import Dataset
from tcf.data.split import training_histories
from tcf.train.validation import Validation

__all__ = ["Bench", "Contender", "Outcome", "contenders", "ndcg_of_lists"]

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Contender:
    """Something that trains.

    Attributes:
        name: what it is called in the table.
        kind: whose step it is.
        width: of the items' cached vectors; None for items as ids.
        loss: of tcf's.
    """

    name: str
    kind: Literal["tcf", "straightforward", "rectools"]
    width: int | None = None
    loss: Literal["in-batch", "full"] = "full"

    @property
    def is_idcf(self) -> bool:
        """Whether it is tcf's with items as ids."""
        return self.kind == "tcf" and self.width is None


def contenders(widths: Sequence[int]) -> list[Contender]:
    """All of them, for these widths of cached vectors."""
    found = [Contender("idcf", "tcf", None, "in-batch"), Contender("idcf-full", "tcf", None, "full")]
    for width in widths:
        found.append(Contender(f"tcf-{width}", "tcf", width, "in-batch"))
        found.append(Contender(f"tcf-{width}-full", "tcf", width, "full"))
        found.append(Contender(f"straightforward-{width}", "straightforward", width, "in-batch"))
    return [*found, Contender("rectools", "rectools")]


@dataclass(frozen=True)
class Outcome:
    """What one training came to.

    Attributes:
        targets: that it trained on.
        seconds: that this took.
        epochs: begun.
        ndcg: NDCG@10 of the validation users.
        peak: most bytes of memory that no file backs, to the end of training.
        device_peak: most bytes of a GPU's; 0 without one.
        parameters: that were trained.
        threads: of torch.
    """

    targets: int
    seconds: float
    epochs: int
    ndcg: float
    peak: int
    device_peak: int
    parameters: int
    threads: int

    @property
    def rate(self) -> float:
        """Targets a second."""
        return self.targets / self.seconds


@dataclass(frozen=True)
class Bench:
    """A dataset, and what is equal for all contenders.

    Attributes:
        dataset: users, items and histories.
        cache: real vectors; None for made-up ones.
        folder: for files that are made.
        common: settings of `tcf train` for all: width, blocks, heads, history, dropout, batch_size, learning_rate,
            weight_decay, devices.
        own: settings of tcf's contenders beside these.
        seconds: of training.
        threads: of torch.
        validation_users: at most so many are asked about.
        rectools: the interpreter of RecTools' environment; None without one.
    """

    dataset: Dataset
    cache: Path | None
    folder: Path
    common: Mapping[str, Any]
    own: Mapping[str, Any]
    seconds: float
    threads: int
    validation_users: int
    rectools: Path | None

    @cached_property
    def validation(self) -> Validation:
        """The questions, the same for all."""
        whole = Validation.build(self.dataset.split, self.common["history"])
        return whole.sample(self.validation_users, 0)

    def train(self, contender: Contender, seed: int) -> Outcome:
        """Train from a seed, and measure."""
        match contender.kind:
            case "tcf":
                settings = {**self.common, **self.own, "loss": contender.loss, "seed": seed}
            case "straightforward":
                settings = {**self.common, "seed": seed}
            case "rectools":
                return self._train_by_rectools(seed)
        found, peak = self._run("train_one.py", sys.executable, self._job(contender.kind, contender.width, settings))
        return _outcome(found, peak, found["ndcg"])

    def check(self, width: int) -> dict[str, Any]:
        """The loss of one batch by tcf's step and by the straightforward one, without dropout."""
        found, _ = self._run("train_one.py", sys.executable, self._job("check", width, {**self.common, "dropout": 0.0}))
        return found

    def _job(self, kind: str, width: int | None, settings: Mapping[str, Any]) -> dict[str, Any]:
        cache = None if width is None else self._cache(width)
        return {
            "kind": kind,
            "data": str(self.dataset.path),
            "cache": cache and str(cache),
            "settings": {**settings, "items": "id" if cache is None else "text"},
            "seconds": self.seconds,
            "validation_users": self.validation_users,
        }

    def _cache(self, width: int) -> Path:
        made = self.folder / f"cache{width}"
        return made if made.exists() else cache_of_width(self.dataset, self.cache, width, self.folder)

    def _train_by_rectools(self, seed: int) -> Outcome:
        histories, lists, training = self._file("npz"), self._file("npy"), training_histories(self.dataset.split)
        np.savez(histories, offsets=training.offsets, items=training.items, users=self.validation.users)
        names = ("width", "blocks", "heads", "history", "dropout", "learning_rate")
        job = {name: self.common[name] for name in names}
        job |= {"batch": self.common["batch_size"], "device": self.common["devices"], "seed": seed}
        job |= {"histories": str(histories), "lists": str(lists), "seconds": self.seconds}
        found, peak = self._run("rectools_sasrec.py", str(self.rectools), job)
        return _outcome(found, peak, ndcg_of_lists(np.load(lists), self.validation.targets))

    def _run(self, script: str, python: str, job: Mapping[str, Any]) -> tuple[dict[str, Any], int]:
        """What a script has found, and its peak of memory."""
        task, result, trained = self._file("job"), self._file("json"), self._file("trained")
        trained.unlink(missing_ok=True)
        whole = {**job, "threads": self.threads, "result": str(result), "trained": str(trained)}
        task.write_text(json.dumps(whole), encoding="utf-8")
        ended = watch([python, str(_HERE / script), str(task)], log=self._file("log"), until=trained).expect()
        found: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
        result.unlink()
        return found, ended.peak

    def _file(self, kind: str) -> Path:
        return self.folder / f"contender.{kind}"


def ndcg_of_lists(lists: npt.NDArray[np.int64], targets: npt.NDArray[np.int64]) -> float:
    """Mean NDCG of lists of items with one right item each: 1 / log2(rank + 1), or 0 where it is not in the list.

    Args:
        lists: (n_users, depth), best item first.
        targets: (n_users,).
    """
    gains = 1 / np.log2(np.arange(lists.shape[1]) + 2)
    return float(((lists == targets[:, None]) * gains).sum(1).mean())


def _outcome(found: Mapping[str, Any], peak: int, ndcg: float) -> Outcome:
    names = ("targets", "seconds", "epochs", "device_peak", "parameters", "threads")
    return Outcome(**{name: found[name] for name in names}, ndcg=ndcg, peak=peak)
