"""Transformer blocks: attention and a feed-forward, each added to its input, in SASRec's form and in LiGR's.

Shapes: B users, P items of their histories (packed, see `PackedLayout`), D width, Q query positions.
"""

from typing import Literal, Protocol

from torch import Tensor, nn
from torch.nn import functional as F

from tcf.train.batch.packed_layout import PackedLayout
from tcf.train.model.attention import Attention
from tcf.train.model.rotary import Rotation

__all__ = ["NORM_EPSILON", "Block", "LiGRBlock", "SASRecBlock", "make_block"]

NORM_EPSILON = 1e-6
_WIDENING = 4


class Block(Protocol):
    """A transformer block over packed histories; the rows of an item depend on it and on its user's earlier items."""

    def __call__(self, states_PD: Tensor, layout: PackedLayout, rotation: Rotation | None) -> Tensor:
        """All items, (P, D) to (P, D).

        Args:
            states_PD: the states so far, packed.
            layout: the layout of the histories.
            rotation: turns queries and keys; None where positions are part of the states.
        """

    def last(self, states_PD: Tensor, layout: PackedLayout, rotation: Rotation | None) -> Tensor:
        """The same for each user's last item only, (P, D) to (B, D)."""


def make_block(
    form: Literal["sasrec", "ligr"], norm: Literal["post", "pre"], width: int, heads: int, dropout: float
) -> nn.Module:
    """Make a `Block`.

    Args:
        form: whose block it is.
        norm: where SASRec's norms are; LiGR's precede each part.
        width: D.
        heads: attention heads; a divisor of the width.
        dropout: rate on attention probabilities, after attention and in and after the feed-forward.
    """
    match form:
        case "sasrec":
            return SASRecBlock(width, heads, dropout, before=norm == "pre")
        case "ligr":
            return LiGRBlock(width, heads, dropout)


class SASRecBlock(nn.Module):
    """Attention, then a ReLU feed-forward four times as wide, each with a residual connection.

    The norms follow each sum, as in the study, or precede each part (`before`).
    """

    def __init__(self, width: int, heads: int, dropout: float, *, before: bool) -> None:
        super().__init__()
        self.before = before
        self.attention = Attention(width, heads, dropout)
        self.attention_norm = nn.LayerNorm(width, NORM_EPSILON)
        self.widen = nn.Linear(width, _WIDENING * width)
        self.narrow = nn.Linear(_WIDENING * width, width)
        self.feed_norm = nn.LayerNorm(width, NORM_EPSILON)
        self.dropout = dropout

    def forward(self, states_PD: Tensor, layout: PackedLayout, rotation: Rotation | None = None) -> Tensor:
        """See `Block`."""
        return self._feed(states_PD, self.attention(self._entering(states_PD), layout, rotation))

    def last(self, states_PD: Tensor, layout: PackedLayout, rotation: Rotation | None = None) -> Tensor:
        """See `Block`."""
        attended_BD = self.attention.last(self._entering(states_PD), layout, rotation)
        return self._feed(states_PD[layout.last_B], attended_BD)

    def _entering(self, states_PD: Tensor) -> Tensor:
        normed_PD: Tensor = self.attention_norm(states_PD) if self.before else states_PD
        return normed_PD

    def _feed(self, states_QD: Tensor, attended_QD: Tensor) -> Tensor:
        states_QD = states_QD + attended_QD
        if self.before:
            return states_QD + self._fed(self.feed_norm(states_QD))
        states_QD = self.attention_norm(states_QD)
        normed_QD: Tensor = self.feed_norm(states_QD + self._fed(states_QD))
        return normed_QD

    def _fed(self, states_QD: Tensor) -> Tensor:
        return F.dropout(self.narrow(F.relu(self.widen(states_QD))), self.dropout, self.training)


class LiGRBlock(nn.Module):
    """Attention, then a gated SiLU feed-forward four times as wide; how much of each is added is learned.

    The norms precede each part. What a part returns is multiplied by the sigmoid of a linear map of the residual stream
    before it is added (Borisyuk et al. 2025, LiGR, arXiv 2502.03417; in the form of
    eSASRec, arXiv 2508.06450, whose feed-forward without biases is the SwiGLU of Shazeer 2020, arXiv 2002.05202).
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width, NORM_EPSILON)
        self.attention = Attention(width, heads, dropout, bias=True)
        self.attention_gate = nn.Linear(width, width)
        self.feed_norm = nn.LayerNorm(width, NORM_EPSILON)
        self.widen = nn.Linear(width, _WIDENING * width, bias=False)
        self.scale = nn.Linear(width, _WIDENING * width, bias=False)
        self.narrow = nn.Linear(_WIDENING * width, width, bias=False)
        self.feed_gate = nn.Linear(width, width)
        self.dropout = dropout

    def forward(self, states_PD: Tensor, layout: PackedLayout, rotation: Rotation | None = None) -> Tensor:
        """See `Block`."""
        return self._feed(states_PD, self.attention(self.attention_norm(states_PD), layout, rotation))

    def last(self, states_PD: Tensor, layout: PackedLayout, rotation: Rotation | None = None) -> Tensor:
        """See `Block`."""
        attended_BD = self.attention.last(self.attention_norm(states_PD), layout, rotation)
        return self._feed(states_PD[layout.last_B], attended_BD)

    def _feed(self, states_QD: Tensor, attended_QD: Tensor) -> Tensor:
        added_QD: Tensor = self.attention_gate(states_QD).sigmoid() * attended_QD
        states_QD = states_QD + added_QD
        fed_QD: Tensor = self.feed_gate(states_QD).sigmoid() * self._fed(self.feed_norm(states_QD))
        return states_QD + fed_QD

    def _fed(self, states_QD: Tensor) -> Tensor:
        wide = F.silu(self.widen(states_QD)) * self.scale(states_QD)
        return self._dropped(self.narrow(self._dropped(wide)))

    def _dropped(self, states: Tensor) -> Tensor:
        return F.dropout(states, self.dropout, self.training)
