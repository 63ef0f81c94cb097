"""The layout of several users' histories: packed one after another, without padding.

Shapes: B users, P items of all users (packed), L length of the longest history, M positions of a model.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["PackedLayout", "to_device"]


@dataclass(frozen=True)
class PackedLayout:
    """Where packed items are: in their user's history, in a padded grid, and among the positions of a model.

    Everything that treats items separately works on packed rows. Only attention needs a grid (B, L), in which a history
    starts at slot 0 and padding follows, so that causal attention never sees padding. Positions are nevertheless those
    of left padding: the last item of a history has position M - 1, whatever its length.

    Attributes:
        positions_P: position of each packed item, in 0..M-1.
        slots_P: index of each packed item in the flattened grid (B * L).
        rows_P: user of each packed item.
        last_B: packed index of each user's last item.
        lengths_B: number of items of each user.
        length: L.
    """

    positions_P: Tensor
    slots_P: Tensor
    rows_P: Tensor
    last_B: Tensor
    lengths_B: Tensor
    length: int

    @staticmethod
    def build(offsets: npt.NDArray[np.int64], positions: int, device: torch.device) -> "PackedLayout":
        """Lay out histories in CSR form.

        Args:
            offsets: (B + 1,) user b has the packed items offsets[b]:offsets[b + 1]; at least 1 and at most M.
            positions: M, number of positions of the model.
            device: device of the tensors.
        """
        lengths = np.diff(offsets)
        longest = int(lengths.max(initial=1))
        rows = np.repeat(np.arange(len(lengths)), lengths)
        within = np.arange(offsets[-1]) - offsets[rows]
        arrays = (within + positions - lengths[rows], within + rows * longest, rows, offsets[1:] - 1, lengths)
        positions_P, slots_P, rows_P, last_B, lengths_B = to_device(arrays, device)
        return PackedLayout(positions_P, slots_P, rows_P, last_B, lengths_B, longest)

    @property
    def users(self) -> int:
        """B, the number of users."""
        return len(self.last_B)

    @property
    def places_P(self) -> Tensor:
        """The place of each packed item in its user's history, counted from 0."""
        return self.slots_P - self.rows_P * self.length

    def pad(self, packed_PD: Tensor) -> Tensor:
        """Scatter packed rows into the grid, zeros elsewhere: (P, D) to (B, L, D)."""
        grid = packed_PD.new_zeros(self.users * self.length, packed_PD.shape[1])
        return grid.index_copy(0, self.slots_P, packed_PD).view(self.users, self.length, packed_PD.shape[1])

    def pack(self, grid_BLD: Tensor) -> Tensor:
        """Gather the packed rows from the grid: (B, L, D) to (P, D)."""
        # `embedding`, because its gradient is faster than that of indexing.
        return F.embedding(self.slots_P, grid_BLD.flatten(0, 1))

    def filled(self) -> Tensor:
        """Which slots of the grid hold an item, (B, L) bool."""
        return torch.arange(self.length, device=self.lengths_B.device) < self.lengths_B[:, None]


def to_device(arrays: tuple[npt.NDArray[np.int64], ...], device: torch.device) -> tuple[Tensor, ...]:
    """Index arrays as int64 tensors on the device, in one transfer."""
    joined = torch.from_numpy(np.concatenate(arrays))
    if device.type == "cuda":
        joined = joined.pin_memory().to(device, non_blocking=True)
    return torch.split(joined, [len(array) for array in arrays])
