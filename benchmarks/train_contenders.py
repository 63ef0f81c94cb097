"""The contenders of `train.py`: each runs one training in a separate process."""

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
    """A way of training.

    Attributes:
        name: its name in the table.
        kind: its implementation.
        width: width of the items' cached vectors; None for items as ids.
        loss: loss of tcf.
    """

    name: str
    kind: Literal["tcf", "straightforward", "rectools"]
    width: int | None = None
    loss: Literal["in-batch", "full"] = "full"

    @property
    def is_idcf(self) -> bool:
        """Whether it is tcf with items as ids."""
        return self.kind == "tcf" and self.width is None


def contenders(widths: Sequence[int]) -> list[Contender]:
    """All contenders, for these widths of cached vectors."""
    found = [Contender("idcf", "tcf", None, "in-batch"), Contender("idcf-full", "tcf", None, "full")]
    for width in widths:
        found.append(Contender(f"tcf-{width}", "tcf", width, "in-batch"))
        found.append(Contender(f"tcf-{width}-full", "tcf", width, "full"))
        found.append(Contender(f"straightforward-{width}", "straightforward", width, "in-batch"))
    return [*found, Contender("rectools", "rectools")]


@dataclass(frozen=True)
class Outcome:
    """The result of one training.

    Attributes:
        targets: number of targets trained on.
        seconds: training time.
        epochs: number of epochs started.
        ndcg: NDCG@10 of the validation users.
        peak: peak of memory that no file backs, until the end of training, in bytes.
        device_peak: peak memory of the GPU in bytes; 0 without one.
        parameters: number of trained parameters.
        threads: number of threads of torch.
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
        """Targets per second."""
        return self.targets / self.seconds


@dataclass(frozen=True)
class Bench:
    """A dataset, and the settings that all contenders share.

    Attributes:
        dataset: users, items and histories.
        cache: cache with real vectors; None for random vectors.
        folder: folder for temporary files.
        common: settings of `tcf train` for all: width, blocks, heads, history, dropout, batch_size, learning_rate,
            weight_decay, devices.
        own: further settings of tcf's contenders.
        seconds: training time.
        threads: number of threads of torch.
        validation_users: maximum number of evaluated users.
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
        """The validation users and targets, the same for all contenders."""
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
        return _outcome(found, peak, ndcg_of_lists(np.load(lists), self.validation.targets.items.astype(np.int64)))

    def _run(self, script: str, python: str, job: Mapping[str, Any]) -> tuple[dict[str, Any], int]:
        """Run a script; returns its result and its peak memory."""
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
    """Mean NDCG of lists with one relevant item each: 1 / log2(rank + 1), or 0 if the item is not in the list.

    Args:
        lists: (n_users, depth), best item first.
        targets: (n_users,).
    """
    gains = 1 / np.log2(np.arange(lists.shape[1]) + 2)
    return float(((lists == targets[:, None]) * gains).sum(1).mean())


def _outcome(found: Mapping[str, Any], peak: int, ndcg: float) -> Outcome:
    names = ("targets", "seconds", "epochs", "device_peak", "parameters", "threads")
    return Outcome(**{name: found[name] for name in names}, ndcg=ndcg, peak=peak)
