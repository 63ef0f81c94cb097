"""Where in a model a value that is not finite comes from.

Legend: B texts, T tokens, D width.
"""

from dataclasses import replace

import torch
from torch import Tensor

from tcf.encoders.blocks import LAST
from tcf.encoders.encoder import Encoder, TransformersEncoder

__all__ = ["first_bad_layer"]


def first_bad_layer(encoder: Encoder, tokens_BT: Tensor) -> int | None:
    """The first layer whose states are not all finite, in the order of computing: 0, 1, ..., then -1.

    Where the model's blocks are known, all of them are looked at, up to the highest layer that the encoder gives; else
    its own layers alone.

    Args:
        encoder: the language model.
        tokens_BT: the text, or several of one length, (B, T) int64, on the encoder's device.

    Returns:
        The layer, or None if every state is finite.
    """
    looked_at = _with_every_layer(encoder)
    with torch.inference_mode():
        states = looked_at.states(tokens_BT)
    bad = [
        layer
        for layer, layer_BTD in zip(looked_at.layers, states, strict=True)
        if not bool(torch.isfinite(layer_BTD).all())
    ]
    return min(bad, key=_order, default=None)


def _order(layer: int) -> tuple[bool, int]:
    return (layer == LAST, layer)


def _with_every_layer(encoder: Encoder) -> Encoder:
    match encoder:
        case TransformersEncoder(blocks=blocks) if blocks is not None:
            if LAST in encoder.layers:
                return replace(encoder, layers=(*range(len(blocks) + 1), LAST))
            return replace(encoder, layers=tuple(range(max(encoder.layers) + 1)))
        case _:
            return encoder
