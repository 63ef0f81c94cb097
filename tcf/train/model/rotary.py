"""Rotary positions: queries and keys are turned by angles in proportion to their items' places in the history.

Shapes: B users, P items of their histories (packed), D width, H heads, K width of a head, F pairs of a head (K / 2).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from tcf.train.batch.packed_layout import PackedLayout

__all__ = ["Rotation"]

_BASE = 10_000.0


@dataclass(frozen=True)
class Rotation:
    """The angle of every pair of numbers of every item (Su et al. 2021, RoFormer, arXiv 2104.09864, section 3.2.2).

    The numbers f and f + F of a head are the coordinates of a point that is turned by place * 10000^(-f / F). (The
    paper pairs neighbours; that is the same model with its numbers in another order, and slower.) The inner product of
    two turned heads depends on the difference of their places alone, so that it makes no difference where places are
    counted from; here, from the first item that is read. There is nothing to learn, so a model can read longer
    histories than it was trained on.

    Attributes:
        cosines_P1F: of each item's angles, alike for all heads.
        sines_P1F: of the same angles.
    """

    cosines_P1F: Tensor
    sines_P1F: Tensor

    @staticmethod
    def build(layout: PackedLayout, head_width: int) -> "Rotation":
        """The angles of packed histories.

        Args:
            layout: their layout.
            head_width: K, an even number.
        """
        device = layout.slots_P.device
        rates_F = _BASE ** (-torch.arange(0, head_width, 2, dtype=torch.float32, device=device) / head_width)
        angles_P1F = layout.places_P[:, None, None] * rates_F
        return Rotation(angles_P1F.cos(), angles_P1F.sin())

    def at(self, rows_B: Tensor) -> "Rotation":
        """The angles of some of the packed items."""
        return Rotation(self.cosines_P1F[rows_B], self.sines_P1F[rows_B])

    def turn(self, rows_PD: Tensor, heads: int) -> Tensor:
        """Turn the queries or keys of all heads, (P, D) to (P, D)."""
        width = rows_PD.shape[1]
        first_PHF, second_PHF = rows_PD.view(len(rows_PD), heads, 2, width // heads // 2).unbind(2)
        turned_PH2F = torch.stack(
            (
                first_PHF * self.cosines_P1F - second_PHF * self.sines_P1F,
                first_PHF * self.sines_P1F + second_PHF * self.cosines_P1F,
            ),
            2,
        )
        # Angles are in float32 even where products are in 16 bits.
        return turned_PH2F.view(len(rows_PD), width).to(rows_PD.dtype)
