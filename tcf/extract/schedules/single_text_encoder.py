"""A sweep or pipeline as an encoder for a few texts at a time, used to find the text that causes an error.

Shapes: B texts, T tokens, D width.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tcf.encoders.folder.model_folder import ModelFolder
from tcf.encoders.prefix_sharing.tree_attention import TreeAttention
from tcf.encoders.tokenize import TokenSequences
from tcf.extract.micro_batches import TextGroup
from tcf.extract.sinks import Sink

__all__ = ["SingleTextEncoder"]


class _CollectedStates:
    """A sink that keeps the states of its only texts unchanged."""

    def __init__(self) -> None:
        self.rows = torch.empty(0)

    def put(self, group: TextGroup, states_BTD: Tensor) -> None:
        """Keep the states."""
        self.rows = states_BTD.clone()

    def mark_restored(self) -> None:
        """Do nothing: this work is never resumed."""

    def unstorable(self, order: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Nothing: these states are not stored."""
        return order[:0]


@dataclass(frozen=True)
class SingleTextEncoder:
    """An encoder for which every call is a pass over all weights.

    Attributes:
        folder: the model folder.
        device: where texts are expected.
        layers: the layers whose states it returns.
        encode: computes token sequences of equal length, all at once, and passes their states to sinks.
    """

    folder: ModelFolder
    device: torch.device
    layers: tuple[int, ...]
    encode: Callable[[TokenSequences, Mapping[int, Sequence[Sink]]], None]

    def states(self, tokens_BT: Tensor, tree: TreeAttention | None = None) -> tuple[Tensor, ...]:
        """States of every layer, in the order of `layers`, each (B, T, D), of texts of equal length; see `Encoder`."""
        n, length = tokens_BT.shape
        tokens = tokens_BT.flatten().cpu().numpy().astype(np.int32)
        sinks = {layer: _CollectedStates() for layer in self.layers}
        self.encode(
            TokenSequences(tokens, np.arange(n + 1) * length, 0), {layer: [sink] for layer, sink in sinks.items()}
        )
        return tuple(sinks[layer].rows for layer in self.layers)
