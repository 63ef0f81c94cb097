"""Where the items of several users' histories lie: packed one after another, without padding.

Shapes: B users, P items of all of them (packed), L the longest history among them, M the positions that a model knows.
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
    """The places of packed items: in their user's history, in a padded grid, and among the positions of a model.

    Everything that treats items one by one works on packed rows. Attention alone needs a grid (B, L); there a history
    begins at slot 0 and its padding follows, so that causal attention never looks at padding. Positions are those of
    left padding all the same: the last item of a history has position M - 1, whatever its length.

    Attributes:
        positions_P: position of each packed item, in 0..M-1.
        slots_P: place of each packed item in the flattened grid (B * L).
        rows_P: user of each packed item.
        last_B: packed place of each user's last item.
        lengths_B: items a user.
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
            offsets: (B + 1,) user b has the packed items offsets[b]:offsets[b + 1]; from 1 to M of them.
            positions: M, positions that the model knows.
            device: where the tensors are wanted.
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

    def pad(self, packed_PD: Tensor) -> Tensor:
        """Spread packed rows over the grid, zeros elsewhere: (P, D) to (B, L, D)."""
        grid = packed_PD.new_zeros(self.users * self.length, packed_PD.shape[1])
        return grid.index_copy(0, self.slots_P, packed_PD).view(self.users, self.length, packed_PD.shape[1])

    def pack(self, grid_BLD: Tensor) -> Tensor:
        """Collect the packed rows from the grid: (B, L, D) to (P, D)."""
        # As an embedding, because its gradient is faster than that of indexing.
        return F.embedding(self.slots_P, grid_BLD.flatten(0, 1))

    def filled(self) -> Tensor:
        """Which places of the grid hold an item, (B, L) bool."""
        return torch.arange(self.length, device=self.lengths_B.device) < self.lengths_B[:, None]


def to_device(arrays: tuple[npt.NDArray[np.int64], ...], device: torch.device) -> tuple[Tensor, ...]:
    """Index arrays as int64 tensors on the device, in one transfer."""
    joined = torch.from_numpy(np.concatenate(arrays))
    if device.type == "cuda":
        joined = joined.pin_memory().to(device, non_blocking=True)
    return torch.split(joined, [len(array) for array in arrays])
