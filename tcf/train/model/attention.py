"""Causal attention over packed histories.

Shapes: B users, P items of their histories (packed, see `PackedLayout`), L length of the longest history, D width,
H heads, K width of a head.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from tcf.train.batch.packed_layout import PackedLayout
from tcf.train.model.rotary import Rotation

__all__ = ["Attention"]


class Attention(nn.Module):
    """Causal multi-head self-attention.

    Args:
        width: D.
        heads: H, a divisor of D.
        dropout: rate on attention probabilities and on the result.
        bias: whether the maps of queries, keys, values and results add a bias.
    """

    def __init__(self, width: int, heads: int, dropout: float, *, bias: bool = False) -> None:
        super().__init__()
        self.query = nn.Linear(width, width, bias=bias)
        self.key = nn.Linear(width, width, bias=bias)
        self.value = nn.Linear(width, width, bias=bias)
        self.out = nn.Linear(width, width, bias=bias)
        self.heads, self.dropout = heads, dropout

    def forward(self, states_PD: Tensor, layout: PackedLayout, rotation: Rotation | None) -> Tensor:
        """Let every item attend to itself and to the items before it, (P, D) to (P, D).

        Args:
            states_PD: what attends, packed.
            layout: the layout of the histories.
            rotation: turns queries and keys; None where positions are part of the states.
        """
        q_PD, k_PD = (_turned(m(states_PD), rotation, self.heads) for m in (self.query, self.key))
        q_BHLK, k_BHLK, v_BHLK = (self._heads(layout.pad(rows)) for rows in (q_PD, k_PD, self.value(states_PD)))
        rate = self.dropout if self.training else 0.0
        mixed_BHLK = F.scaled_dot_product_attention(q_BHLK, k_BHLK, v_BHLK, dropout_p=rate, is_causal=True)
        return self._dropped(self.out(layout.pack(mixed_BHLK.transpose(1, 2).flatten(2))))

    def last(self, states_PD: Tensor, layout: PackedLayout, rotation: Rotation | None) -> Tensor:
        """The same for each user's last item only, without dropout on attention, (P, D) to (B, D)."""
        at_last = None if rotation is None else rotation.at(layout.last_B)
        q_BH1K = self._heads(_turned(self.query(states_PD[layout.last_B]), at_last, self.heads)[:, None])
        k_PD = _turned(self.key(states_PD), rotation, self.heads)
        k_BHLK, v_BHLK = (self._heads(layout.pad(rows)) for rows in (k_PD, self.value(states_PD)))
        mask_B11L = layout.filled()[:, None, None]
        mixed_BH1K = F.scaled_dot_product_attention(q_BH1K, k_BHLK, v_BHLK, attn_mask=mask_B11L)
        return self._dropped(self.out(mixed_BH1K.flatten(1)))

    def _heads(self, states_BLD: Tensor) -> Tensor:
        width = states_BLD.shape[2] // self.heads  # not -1, which is ambiguous without users
        return states_BLD.view(*states_BLD.shape[:2], self.heads, width).transpose(1, 2)

    def _dropped(self, states: Tensor) -> Tensor:
        return F.dropout(states, self.dropout, self.training)


def _turned(rows_PD: Tensor, rotation: Rotation | None, heads: int) -> Tensor:
    return rows_PD if rotation is None else rotation.turn(rows_PD, heads)
