"""SASRec, a causal transformer over items: post-norm without a final norm, as in the study, or with other blocks.

Shapes: B users, P items of their histories (packed, see `PackedLayout`), M positions of the model, D width.
"""

from typing import Literal, cast

from torch import Tensor, nn
from torch.nn import functional as F

from tcf.train.batch.packed_layout import PackedLayout
from tcf.train.model.blocks import NORM_EPSILON, Block, make_block
from tcf.train.model.embedding import make_embedding
from tcf.train.model.rotary import Rotation

__all__ = ["SASRec"]


class SASRec(nn.Module):
    """The sequence model (Kang and McAuley 2018, arXiv 1808.09781, with the study's order of norms).

    Args:
        width: D, width of item vectors and states.
        positions: M, maximum number of items of a history that are read.
        blocks: number of transformer blocks, at least one.
        heads: attention heads per block; a divisor of the width.
        dropout: rate on the input, on attention probabilities, after attention and after the feed-forward.
        norm: position of the norms of SASRec's block; "pre" adds one more at the end.
        block: form of the blocks; LiGR's end without a norm, as in eSASRec.
        position: a learned vector for each position, added to the item's, or rotations of queries and keys, for which
            heads must have an even width.
    """

    def __init__(
        self,
        width: int,
        positions: int,
        blocks: int,
        heads: int,
        dropout: float,
        norm: Literal["post", "pre"] = "post",
        block: Literal["sasrec", "ligr"] = "sasrec",
        position: Literal["learned", "rotary"] = "learned",
    ) -> None:
        super().__init__()
        self.n_users: int | None = None
        self.positions, self.head_width = positions, width // heads
        self.position = make_embedding(positions, width) if position == "learned" else None
        self.input_norm = nn.LayerNorm(width, NORM_EPSILON)
        self.blocks = nn.ModuleList(make_block(block, norm, width, heads, dropout) for _ in range(blocks))
        ends_with_norm = block == "sasrec" and norm == "pre"
        self.output_norm = nn.LayerNorm(width, NORM_EPSILON) if ends_with_norm else nn.Identity()
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
        states_PD, rotation = self._enter(vectors_PD, layout), self._rotation(layout)
        for block in self.blocks:
            states_PD = block(states_PD, layout, rotation)
        normed_PD: Tensor = self.output_norm(states_PD)
        return normed_PD

    def last_states(self, vectors_PD: Tensor, layout: PackedLayout, users_B: Tensor) -> Tensor:
        """The user's state after the last item, (B, D): the rows `layout.last_B` of `forward`, computed faster."""
        states_PD, rotation = self._enter(vectors_PD, layout), self._rotation(layout)
        *earlier, last = (cast(Block, block) for block in self.blocks)
        for block in earlier:
            states_PD = block(states_PD, layout, rotation)
        last_BD: Tensor = self.output_norm(last.last(states_PD, layout, rotation))
        return last_BD

    def _enter(self, vectors_PD: Tensor, layout: PackedLayout) -> Tensor:
        if self.position is not None:
            vectors_PD = vectors_PD + self.position(layout.positions_P)
        return F.dropout(self.input_norm(vectors_PD), self.dropout, self.training)

    def _rotation(self, layout: PackedLayout) -> Rotation | None:
        return None if self.position is not None else Rotation.build(layout, self.head_width)
