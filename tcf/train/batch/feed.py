"""The batches of an epoch, built by a separate thread ahead of the steps that use them."""

from collections.abc import Generator, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tcf.common.random_streams import RandomStream, generator
from tcf.common.threads import prefetch
from tcf.train.batch.batch import Batch, row_order, share
from tcf.train.batch.candidates import Candidates
from tcf.train.batch.rows import BatchRows
from tcf.train.vectors.item_vectors import ItemVectors

__all__ = ["FedBatch", "Feed"]

_AHEAD = 4


@dataclass(frozen=True)
class FedBatch:
    """A batch, with the cached vectors of this device's share of its items, (S, V), if they were prefetched."""

    batch: Batch
    read_UV: Tensor | None


@dataclass(frozen=True)
class Feed:
    """Builds the batches of any epoch; each is a function of seed, epoch and step alone.

    Attributes:
        rows: the rows of every epoch.
        candidates: chooses the items that the loss needs besides the targets.
        positions: maximum number of items of a history that the model reads.
        batch_size: rows per batch; the last batch of an epoch holds the remainder.
        seed: seed of row order and draws.
        vectors: the items' cached vectors, if they are to be prefetched.
        device: device of the batches.
        rank_and_size: i and n: build the share of the i-th of n devices.
    """

    rows: BatchRows
    candidates: Candidates
    positions: int
    batch_size: int
    seed: int
    vectors: ItemVectors | None
    device: torch.device
    rank_and_size: tuple[int, int] = (0, 1)

    @property
    def steps(self) -> int:
        """Number of batches of an epoch."""
        return -(-len(self.rows) // self.batch_size)

    def epoch(self, number: int, first: int = 0) -> Generator[FedBatch, None, None]:
        """The batches of an epoch.

        Args:
            number: the epoch, counted from 1.
            first: the first batch, counted from 0.
        """
        return prefetch(self._made(number, first), _AHEAD)

    def _made(self, number: int, first: int) -> Iterator[FedBatch]:
        order, rows = row_order(len(self.rows), self.seed, number), self.rows.in_epoch(self.seed, number)
        for step in range(first, self.steps):
            chosen = rows.choose(order[step * self.batch_size : (step + 1) * self.batch_size])
            stream = generator(RandomStream.LOSS_SAMPLES, self.seed, number, step)
            drawn = self.candidates.draw(chosen.sequences, chosen.owners_S[chosen.target_S], stream)
            batch = Batch.build(chosen, drawn, self.positions, self.device, self.rank_and_size)
            yield FedBatch(batch, self._read(batch.host_items_U))

    def _read(self, items_U: npt.NDArray[np.int64]) -> Tensor | None:
        if self.vectors is None:
            return None
        return self.vectors.read_items(items_U[share(len(items_U), self.rank_and_size)])
