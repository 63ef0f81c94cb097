"""A lane: a device with its own copy of the weights around a model's blocks, and the blocks that stay on it.

Shapes: B texts, T tokens, D width.
"""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from tcf.encoders.blocks import last_states
from tcf.encoders.prefix_sharing.tree_attention import TreeAttention
from tcf.encoders.split.block_calls import RecordedCalls, finish_forward, record
from tcf.encoders.split.output_shapes import OutputShapes
from tcf.encoders.split.skeleton import Skeleton
from tcf.encoders.split.weight_buffers import attach, move_buffers

__all__ = ["Lane"]


@dataclass(frozen=True, eq=False)
class Lane:
    """A device that runs a model block by block.

    Attributes:
        skeleton: the model's structure, with the weights around its blocks.
        device: where it computes.
        shapes: shapes of what the blocks return.
    """

    skeleton: Skeleton
    device: torch.device
    shapes: OutputShapes

    @classmethod
    def of(cls, skeleton: Skeleton, device: torch.device, around: dict[str, Tensor]) -> Self:
        """Attach the weights around the blocks, and move buffers to the device.

        Args:
            skeleton: used by this lane alone.
            device: where it computes.
            around: the weights outside the blocks, on the device.
        """
        attach(skeleton.model, around, apart=skeleton.blocks)
        move_buffers(skeleton.model, device)
        return cls(skeleton, device, OutputShapes(skeleton.folder.path))

    @property
    def blocks(self) -> nn.ModuleList:
        """The model's blocks."""
        return self.skeleton.blocks

    def record(self, tokens_BT: Tensor, tree: TreeAttention | None = None) -> RecordedCalls:
        """Record the states that enter the first block, and the arguments of every block.

        Args:
            tokens_BT: token ids; see `Encoder.states`.
            tree: how the nodes of a tree attend.

        Raises:
            ModelError: the model cannot be run block by block.
        """
        return record(lambda: self._last(tokens_BT, tree), self.blocks, self.shapes)

    def finish(self, states_BTD: Tensor, tokens_BT: Tensor, tree: TreeAttention | None = None) -> Tensor:
        """The model's last states, (B, T, D), computed from those that leave its last block."""
        return finish_forward(lambda: self._last(tokens_BT, tree), self.blocks, states_BTD, self.shapes)

    def _last(self, tokens_BT: Tensor, tree: TreeAttention | None) -> Tensor:
        return last_states(self.skeleton.model, tokens_BT, self.skeleton.no_cache, tree)
