"""SASRec, a causal transformer over items: post-norm without a final norm, as in the study, or pre-norm with one.

Shapes: B users, P items of their histories (packed, see `PackedLayout`), L length of the longest history, M positions
of the model, D width, H heads, K width of a head, Q query positions.
"""

from typing import Literal, cast

from torch import Tensor, nn
from torch.nn import functional as F

from tcf.train.batch.packed_layout import PackedLayout
from tcf.train.model.embedding import make_embedding

__all__ = ["SASRec"]

_EPS = 1e-6
_WIDENING = 4


class _Attention(nn.Module):
    """Causal multi-head self-attention; query, key, value and output maps have no bias."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.heads, self.dropout = heads, dropout

    def forward(self, states_PD: Tensor, layout: PackedLayout) -> Tensor:
        """Let every item attend to itself and to the items before it, (P, D) to (P, D)."""
        maps = (self.query, self.key, self.value)
        q_BHLK, k_BHLK, v_BHLK = (self._heads(layout.pad(m(states_PD))) for m in maps)
        rate = self.dropout if self.training else 0.0
        mixed_BHLK = F.scaled_dot_product_attention(q_BHLK, k_BHLK, v_BHLK, dropout_p=rate, is_causal=True)
        return self._dropped(self.out(layout.pack(mixed_BHLK.transpose(1, 2).flatten(2))))

    def last(self, states_PD: Tensor, layout: PackedLayout) -> Tensor:
        """The same for each user's last item only, without dropout on attention, (P, D) to (B, D)."""
        q_BH1K = self._heads(self.query(states_PD[layout.last_B])[:, None])
        k_BHLK, v_BHLK = (self._heads(layout.pad(m(states_PD))) for m in (self.key, self.value))
        mask_B11L = layout.filled()[:, None, None]
        mixed_BH1K = F.scaled_dot_product_attention(q_BH1K, k_BHLK, v_BHLK, attn_mask=mask_B11L)
        return self._dropped(self.out(mixed_BH1K.flatten(1)))

    def _heads(self, states_BLD: Tensor) -> Tensor:
        width = states_BLD.shape[2] // self.heads  # not -1, which is ambiguous without users
        return states_BLD.view(*states_BLD.shape[:2], self.heads, width).transpose(1, 2)

    def _dropped(self, states: Tensor) -> Tensor:
        return F.dropout(states, self.dropout, self.training)


class _Block(nn.Module):
    """Attention, then a ReLU feed-forward four times as wide, each with a residual connection.

    The norms follow each sum, as in the study, or precede each part (`before`).
    """

    def __init__(self, width: int, heads: int, dropout: float, *, before: bool) -> None:
        super().__init__()
        self.before = before
        self.attention = _Attention(width, heads, dropout)
        self.attention_norm = nn.LayerNorm(width, _EPS)
        self.widen = nn.Linear(width, _WIDENING * width)
        self.narrow = nn.Linear(_WIDENING * width, width)
        self.feed_norm = nn.LayerNorm(width, _EPS)
        self.dropout = dropout

    def forward(self, states_PD: Tensor, layout: PackedLayout) -> Tensor:
        """(P, D) to (P, D)."""
        return self._feed(states_PD, self.attention(self._entering(states_PD), layout))

    def last(self, states_PD: Tensor, layout: PackedLayout) -> Tensor:
        """The same for each user's last item only, (P, D) to (B, D)."""
        return self._feed(states_PD[layout.last_B], self.attention.last(self._entering(states_PD), layout))

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


class SASRec(nn.Module):
    """The sequence model (Kang and McAuley 2018, arXiv 1808.09781, with the study's order of norms).

    Args:
        width: D, width of item vectors and states.
        positions: M, maximum number of items of a history that are read.
        blocks: number of transformer blocks, at least one.
        heads: attention heads per block; a divisor of the width.
        dropout: rate on the input, on attention probabilities, after attention and after the feed-forward.
        norm: position of the norms of a block; "pre" adds one more at the end.
    """

    def __init__(
        self,
        width: int,
        positions: int,
        blocks: int,
        heads: int,
        dropout: float,
        norm: Literal["post", "pre"] = "post",
    ) -> None:
        super().__init__()
        self.n_users: int | None = None
        self.positions = positions
        self.position = make_embedding(positions, width)
        self.input_norm = nn.LayerNorm(width, _EPS)
        self.blocks = nn.ModuleList(_Block(width, heads, dropout, before=norm == "pre") for _ in range(blocks))
        self.output_norm = nn.LayerNorm(width, _EPS) if norm == "pre" else nn.Identity()
        self.dropout = dropout

    def forward(self, vectors_PD: Tensor, layout: PackedLayout, users_B: Tensor) -> Tensor:
        """The user's state after each item.

        Args:
            vectors_PD: item vectors of the packed histories, (P, D).
            layout: their layout.
            users_B: not used.

        Returns:
            (P, D); the row of an item depends only on it and on its user's earlier items.
        """
        states_PD = self._enter(vectors_PD, layout)
        for block in self.blocks:
            states_PD = block(states_PD, layout)
        normed_PD: Tensor = self.output_norm(states_PD)
        return normed_PD

    def last_states(self, vectors_PD: Tensor, layout: PackedLayout, users_B: Tensor) -> Tensor:
        """The user's state after the last item, (B, D): the rows `layout.last_B` of `forward`, computed faster."""
        states_PD = self._enter(vectors_PD, layout)
        *earlier, last = (cast(_Block, block) for block in self.blocks)
        for block in earlier:
            states_PD = block(states_PD, layout)
        last_BD: Tensor = self.output_norm(last.last(states_PD, layout))
        return last_BD

    def _enter(self, vectors_PD: Tensor, layout: PackedLayout) -> Tensor:
        states_PD = self.input_norm(vectors_PD + self.position(layout.positions_P))
        return F.dropout(states_PD, self.dropout, self.training)
