"""Running a micro-batch through the blocks of a model, one by one.

Shapes: B texts, T tokens, D width.
"""

from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor, nn

from tcf.encoders.split.block_calls import BlockCall, BlockOutput

__all__ = ["BlockwiseForward"]


@dataclass(eq=False)
class BlockwiseForward:
    """The forward pass of a micro-batch through the blocks: everything that it needs besides the states.

    Attributes:
        calls: the call of each block.
        made: outputs of blocks for later ones, kept until their last use.
    """

    calls: tuple[BlockCall, ...]
    made: dict[BlockOutput, Tensor] = field(default_factory=dict)

    def run(self, block: nn.Module, number: int, states_BTD: Tensor) -> Tensor:
        """Run the next block, whose weights are loaded.

        Args:
            block: the block; the states and all values of this object are on its device.
            number: index of the block.
            states_BTD: output of the previous block.

        Returns:
            Output of this block, (B, T, D).
        """
        arguments, named = self.calls[number].filled(self.made)
        found = block(states_BTD, *arguments, **named)
        values = (found,) if isinstance(found, Tensor) else found
        self.made.update(
            {
                BlockOutput(number, place): value
                for place, value in enumerate(values)
                if place and isinstance(value, Tensor)
            }
        )
        if self.made:
            self.made = {key: value for key, value in self.made.items() if self._last_uses.get(key, -1) > number}
        leaving_BTD: Tensor = values[0]
        return leaving_BTD

    def move(self, device: torch.device) -> None:
        """Move all values to a device; calls that blocks share are moved once."""
        moved = {id(call): call.on(device) for call in self.calls}
        self.calls = tuple(moved[id(call)] for call in self.calls)
        self.made = {key: value.to(device, non_blocking=True) for key, value in self.made.items()}

    @cached_property
    def _last_uses(self) -> dict[BlockOutput, int]:
        """The last block that needs each output, the same on every device."""
        return {made: number for number, call in enumerate(self.calls) for made in call.needs()}
