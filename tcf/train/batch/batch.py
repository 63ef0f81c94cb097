"""Training batches: slices of a permutation of rows, built without a Python loop over rows.

Shapes: B rows, S items of their sequences (packed), P targets, I items read (packed), U distinct items, K masked items
of the longest row, E items drawn.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tcf.common.ragged import offsets_from
from tcf.common.random_streams import RandomStream, generator
from tcf.train.batch.candidates import Drawn
from tcf.train.batch.packed_layout import PackedLayout, to_device
from tcf.train.batch.rows import ChosenRows

__all__ = ["Batch", "row_order", "share"]

Places = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Batch:
    """A batch on the device. Items are given by their position among the distinct items of the batch.

    Attributes:
        users_B: each row's user, as an index among all users.
        items_U: item indices, ascending.
        host_items_U: the same on the host, to be read without synchronising.
        counts_U: how often each item is a candidate of the in-batch softmax; 0 if it is included for another reason.
        inputs_I: the items read.
        targets_P: the items to be predicted.
        rows_P: the row of each target.
        masked_BK: each row's items that are not candidates for it, except a target's own column; shorter rows repeat
            the row's last target.
        drawn: the items drawn by the loss, (E,) for all targets or (P, E) for each target.
        layout: layout of the items read.
        n_targets: targets of the whole batch, of which this may be one device's part.
    """

    users_B: Tensor
    items_U: Tensor
    host_items_U: Places
    counts_U: Tensor
    inputs_I: Tensor
    targets_P: Tensor
    rows_P: Tensor
    masked_BK: Tensor
    drawn: Tensor
    layout: PackedLayout
    n_targets: int

    @staticmethod
    def build(
        chosen: ChosenRows, drawn: Drawn, positions: int, device: torch.device, rank_and_size: tuple[int, int] = (0, 1)
    ) -> "Batch":
        """Build a batch.

        Args:
            chosen: its rows, those of all devices together.
            drawn: the items drawn for it by the loss.
            positions: maximum number of items of a history that the model reads.
            device: device of the tensors.
            rank_and_size: i and n: build the rows of the i-th of n devices. Items and counts are those of all rows.
        """
        found_U, places_S, drawn_places = _distinct(chosen, drawn)
        items_U = found_U.astype(np.int64, copy=False)
        counts_U = np.bincount(places_S[chosen.candidate_S], minlength=len(items_U))
        own = _DeviceRows.cut(chosen, places_S, drawn_places, rank_and_size)
        flat = (own.users_B, items_U, counts_U, own.inputs_I, own.targets_P, own.rows_P, own.masked_BK, own.drawn)
        users, items, counts, inputs, targets, rows, masked, extra = to_device(
            tuple(array.ravel() for array in flat), device
        )
        return Batch(
            users,
            items,
            items_U,
            counts,
            inputs,
            targets,
            rows,
            masked.view(own.masked_BK.shape),
            extra.view(own.drawn.shape),
            PackedLayout.build(offsets_from(own.lengths_B), positions, device),
            int(chosen.target_S.sum()),
        )


@dataclass(frozen=True)
class _DeviceRows:
    """One device's rows of a batch, as in `Batch`, but on the host.

    Attributes:
        users_B: each row's user, as an index among all users.
        inputs_I: the items read.
        targets_P: the items to be predicted.
        rows_P: the row of each target, counted from the device's first row.
        masked_BK: each row's items that are not candidates for it.
        drawn: the items drawn by the loss, for all targets or for each of these.
        lengths_B: number of items read in each row.
    """

    users_B: Places
    inputs_I: Places
    targets_P: Places
    rows_P: Places
    masked_BK: Places
    drawn: Places
    lengths_B: Places

    @staticmethod
    def cut(chosen: ChosenRows, places_S: Places, drawn: Places, rank_and_size: tuple[int, int]) -> "_DeviceRows":
        """The rows of the i-th of n devices, given the position of each item of all rows and of each drawn item."""
        offsets, n_rows = chosen.sequences.offsets, len(chosen.sequences)
        first, stop = (n_rows * (rank_and_size[0] + side) // rank_and_size[1] for side in (0, 1))
        inside = slice(offsets[first], offsets[stop])
        owners_S, places = chosen.owners_S[inside] - first, places_S[inside]
        target_S, read_S = chosen.target_S[inside], chosen.read_S[inside]
        targets_P, rows_P = places[target_S], owners_S[target_S]
        if drawn.ndim == 2:
            before = int(chosen.target_S[: offsets[first]].sum())
            drawn = drawn[before : before + len(targets_P)]
        masked_BK = _masked(places, owners_S, chosen.masked_S[inside], targets_P, rows_P)
        lengths_B = np.bincount(owners_S[read_S], minlength=stop - first)
        return _DeviceRows(chosen.users_B[first:stop], places[read_S], targets_P, rows_P, masked_BK, drawn, lengths_B)


def row_order(n_rows: int, seed: int, epoch: int) -> Places:
    """The order of rows in an epoch, (n_rows,): a function of seed and epoch alone."""
    return generator(RandomStream.ROW_ORDER, seed, epoch).permutation(n_rows)


def _distinct(chosen: ChosenRows, drawn: Drawn) -> tuple[npt.NDArray[np.integer], Places, Places]:
    """The items a batch needs, and the positions among them of its sequences' items (-1: not needed) and drawn ones."""
    items_S = chosen.sequences.items
    if drawn.constant:
        return drawn.items, np.searchsorted(drawn.items, items_S), np.zeros(0, np.int64)
    needed_S = chosen.read_S | chosen.candidate_S | chosen.target_S
    joined = np.concatenate([items_S[needed_S], drawn.items.ravel()])
    items_U, places = np.unique(joined, return_inverse=True)
    n_needed = len(joined) - drawn.items.size
    places_S = np.full(len(items_S), -1)
    places_S[needed_S] = places[:n_needed]
    if n_needed < len(items_S):
        # An item that is only masked in one row may be needed by another.
        others = np.minimum(np.searchsorted(items_U, items_S[~needed_S]), len(items_U) - 1)
        places_S[~needed_S] = np.where(items_U[others] == items_S[~needed_S], others, -1)
    return items_U, places_S, places[n_needed:].reshape(drawn.items.shape)


def _masked(
    places_S: Places, owners_S: Places, masked_S: npt.NDArray[np.bool_], targets_P: Places, rows_P: Places
) -> Places:
    """Each row's masked items that the batch contains, (B, K), padded with the row's last target."""
    masked_S = masked_S & (places_S >= 0)
    n_rows = int(owners_S[-1]) + 1 if len(owners_S) else 0
    last_B = np.zeros(n_rows, np.int64)
    last_B[rows_P] = targets_P  # for repeated rows, the last assignment wins
    lengths_B = np.bincount(owners_S[masked_S], minlength=n_rows)
    grid_BK = np.repeat(last_B[:, None], int(lengths_B.max(initial=0)), axis=1)
    owners = owners_S[masked_S]
    grid_BK[owners, np.arange(len(owners)) - offsets_from(lengths_B)[owners]] = places_S[masked_S]
    return grid_BK


def share(count: int, rank_and_size: tuple[int, int]) -> slice:
    """The items of the i-th of n processes: equal shares in order, the last ones shorter or empty.

    Args:
        count: number of items to share.
        rank_and_size: i and n.
    """
    index, parts = rank_and_size
    size = -(-count // parts)
    return slice(min(index * size, count), min((index + 1) * size, count))
