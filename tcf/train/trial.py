"""Times a few real steps of a training, and a little of its validation, on a model that is thrown away.

Operations alone would not do: of a small model on a GPU, or of a large table of ids, most of a step is something else.

Shapes: n items of the trial, U users.
"""

import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import count

import numpy as np
import torch
from torch import Tensor

from tcf.common.memory import host_memory
from tcf.common.random_streams import RandomStream, torch_generator
from tcf.common.units import as_bytes
from tcf.config.train import TrainConfig
from tcf.data.dataset import Dataset
from tcf.data.histories import latest, one_each
from tcf.ranking.catalogue import Catalogue
from tcf.ranking.faiss_ranker import FaissRanker
from tcf.ranking.metrics import VALIDATION_DEPTH
from tcf.ranking.ranks import rank_targets
from tcf.ranking.scorers import InnerProduct
from tcf.train.assemble import batch_rows, feed_of
from tcf.train.batch.training_data import TrainingData
from tcf.train.loss.losses import build_loss
from tcf.train.model.build import build_model
from tcf.train.model.recommender import Recommender
from tcf.train.trainer import Trainer
from tcf.train.vectors.cache_rows import ItemSources
from tcf.train.vectors.item_vectors import ItemVectors

__all__ = ["Pace", "StandInVectors", "lacks_memory", "run_trial"]

_SECONDS = 1.0  # of steps that count
_STEPS = 20  # at most; the batches of fewer would all be there before the first
_ITEMS = 20_000  # at most, and of vectors that are long, fewer
_NUMBERS = 2**24
_USERS = 256
_SHARE_OF_MEMORY = 0.5  # of what is free; activations are not known before


@dataclass(frozen=True)
class Pace:
    """Seconds that parts of a training take.

    Attributes:
        step: a step: forward, backward and optimiser.
        item: an item's vector, without gradient.
        user: a user's state, without gradient.
        pair: scoring an item for a user, and ranking by it.
    """

    step: float
    item: float
    user: float
    pair: float

    def ranking(self, users: int, items: int) -> float:
        """Seconds in which users' targets are ranked among items."""
        return items * self.item + users * self.user + users * items * self.pair

    def epoch(self, steps: int, users: int, items: int) -> float:
        """Seconds of an epoch and its validation; no users for a refit."""
        return steps * self.step + (self.ranking(users, items) if users else 0.0)


@dataclass(frozen=True)
class StandInVectors(ItemVectors):
    """Vectors of a cache that does not exist yet; no work depends on their values.

    Attributes:
        numbers: W, the width of a vector.
    """

    numbers: int = 0

    @staticmethod
    def build(n_items: int, width: int, device: torch.device) -> "StandInVectors":
        """Vectors of so many items, all distinct."""
        rows_N = np.arange(n_items)
        return StandInVectors(
            ItemSources((), rows_N), (), torch.from_numpy(rows_N).to(device), None, device, numbers=width
        )

    @cached_property
    def width(self) -> int:
        """W."""
        return self.numbers

    @cached_property
    def dtype(self) -> torch.dtype:
        """That of most caches."""
        return torch.float16

    @property
    def on_device(self) -> bool:
        """Whether the cache's vectors will be kept on the device, as far as is known: those of most caches are."""
        return True

    @property
    def size(self) -> int:
        """Bytes that all vectors would take."""
        return len(self.rows_N) * self.numbers * self.dtype.itemsize

    def of(self, items_U: Tensor) -> Tensor:
        """See `ItemVectors`."""
        return torch.ones(len(items_U), self.numbers, dtype=self.dtype, device=self.device)


def lacks_memory(memory: Mapping[str, int], device: torch.device) -> str:
    """Say why a trial is not run, which needs the memory of the training; empty if it can be."""
    needed = sum(memory.values())
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else host_memory()[1]
    if needed <= _SHARE_OF_MEMORY * free:
        return ""
    return f"timing steps takes {as_bytes(needed)}, plus activations, of which {as_bytes(free)} are free"


def run_trial(
    dataset: Dataset, data: TrainingData, vectors: ItemVectors | None, config: TrainConfig, device: torch.device
) -> Pace:
    """Time a few steps of a training, on a new model, and parts of its validation.

    Args:
        dataset: the dataset as it is trained on.
        data: its training part.
        vectors: the items' vectors, or a stand-in for them; None for items as ids.
        config: settings.
        device: where to compute.

    Raises:
        TcfError: as for training.
    """
    model = build_model(config, dataset.n_items, dataset.n_users, vectors, device, counts_N=data.counts)
    rows = batch_rows(config, data)
    loss = build_loss(config, data, rows, device)
    feed = feed_of(config, rows, None if isinstance(vectors, StandInVectors) else vectors, loss, device)
    trainer = Trainer(model, loss, feed, config, device)
    step = _step_seconds(trainer)
    items = min(_ITEMS, dataset.n_items, _NUMBERS // max(config.width, 0 if vectors is None else vectors.width))
    return Pace(step, *_ranking_seconds(model, dataset, config, max(1, items)))


def _step_seconds(trainer: Trainer) -> float:
    """Seconds of a step: the mean of some after the first, which allocates and chooses kernels."""
    seconds: list[float] = []
    trainer.model.train()
    for epoch in count(1):
        with closing(trainer.feed.epoch(epoch)) as batches:
            for fed in batches:
                seconds.append(_seconds(partial(trainer.step, fed.batch, fed.read_UV), trainer.device))
                if len(seconds) > 1 and (len(seconds) > _STEPS or sum(seconds) > _SECONDS):
                    return sum(seconds[1:]) / (len(seconds) - 1)
    raise AssertionError("epochs end")


def _ranking_seconds(
    model: Recommender, dataset: Dataset, config: TrainConfig, n_items: int
) -> tuple[float, float, float]:
    """Seconds of an item's vector, of a user's state, and of a pair of both in a ranking."""
    device = next(model.parameters()).device
    items = torch.arange(n_items, device=device)
    users = np.arange(min(_USERS, dataset.n_users))
    histories = latest(dataset.histories.take(users), config.history)
    known = replace(histories, items=histories.items % len(items))
    drawn = torch_generator(RandomStream.CALIBRATION, 0)
    vectors_nD = torch.randn(len(items), config.width, generator=drawn).to(device)
    states_UD = torch.randn(len(users), config.width, generator=drawn).numpy()
    catalogue = Catalogue.build(vectors_nD.cpu().numpy())
    ranker = FaissRanker(InnerProduct(catalogue, states_UD), "cuda" if device.type == "cuda" else "cpu")
    targets, nothing = one_each(users % len(items)), one_each(users).where(users < 0)
    model.eval()
    with torch.inference_mode():
        of_items = _seconds(lambda: model.items(items), device)
        of_users = _seconds(lambda: model.user_states(users, known, vectors_nD), device)
    of_pairs = _seconds(lambda: rank_targets(ranker, nothing, targets, depth=VALIDATION_DEPTH), device)
    return of_items / len(items), of_users / len(users), of_pairs / (len(users) * len(items))


def _seconds(run: Callable[[], object], device: torch.device) -> float:
    began = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began
