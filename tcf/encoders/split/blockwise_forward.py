"""A micro-batch's way through the blocks of a model, one by one.

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
    """What a micro-batch carries along beside its states.

    Attributes:
        calls: what each block is called with.
        made: what blocks made for later ones; what no later one needs is let go.
    """

    calls: tuple[BlockCall, ...]
    made: dict[BlockOutput, Tensor] = field(default_factory=dict)

    def run(self, block: nn.Module, number: int, states_BTD: Tensor) -> Tensor:
        """Run the next block, whose weights are in place.

        Args:
            block: the block; on its device are the states and all that this carries.
            number: which one.
            states_BTD: what leaves the block before.

        Returns:
            What leaves this one, (B, T, D).
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
        """Bring all that is carried to a device; calls that blocks share are moved once."""
        moved = {id(call): call.on(device) for call in self.calls}
        self.calls = tuple(moved[id(call)] for call in self.calls)
        self.made = {key: value.to(device, non_blocking=True) for key, value in self.made.items()}

    @cached_property
    def _last_uses(self) -> dict[BlockOutput, int]:
        """For all that blocks make for later ones, the last block that needs it; on every device the same."""
        return {made: number for number, call in enumerate(self.calls) for made in call.needs()}
