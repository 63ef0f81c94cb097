"""What to say when a computed number cannot be stored: which item, text and layer, and what to pass instead.

Shapes: B texts, T tokens, D width.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from tcf.common.errors import ModelError
from tcf.data.item_table import ItemTable
from tcf.encoders.blocks import LAST
from tcf.encoders.encoder import Encoder, TransformersEncoder
from tcf.extract.micro_batches import Indices
from tcf.extract.outputs import Output
from tcf.extract.shards import Shard

__all__ = ["fault", "first_bad_layer", "not_finite"]


def fault(encoder: Encoder, items: ItemTable, shard: Shard, outputs: Sequence[Output], suspects: Indices) -> ModelError:
    """Find the first text of a shard that gives a number which cannot be stored, by reading the suspects one by one.

    Args:
        encoder: the language model.
        items: the item table.
        shard: where the texts are.
        outputs: what is stored.
        suspects: rows of the shard with some number that was not finite after it was rounded to its storage type.
    """
    for row in suspects.tolist():
        found = _first_bad(encoder, shard, np.array([row]), outputs)
        if found is not None:
            return ModelError(f"{_named(items, shard, row)}: {_what(encoder, *found)}")
    return ModelError(
        f"{items.path}: a number that is not finite came of a micro-batch, but of none of its texts alone; "
        "run the same command again with a lower --tokens-per-batch, and --dtype float32 if it stays"
    )


def not_finite(items: ItemTable, shard: Shard, row: int, layer: int) -> ModelError:
    """What to say of a text whose states are not finite.

    Args:
        items: the item table.
        shard: where the text is.
        row: which of the shard's.
        layer: the first layer with such states.
    """
    return ModelError(f"{_named(items, shard, row)}: {_not_finite(layer)}")


def _named(items: ItemTable, shard: Shard, row: int) -> str:
    item_id, text = items.item(int(shard.items[row]))
    return f"{items.path}: item {item_id} ({text[:60]!r})"


def _first_bad(
    encoder: Encoder, shard: Shard, rows: Indices, outputs: Sequence[Output]
) -> tuple[Output, Tensor, Tensor] | None:
    """The first output that cannot store what texts of one length give, their tokens, and the numbers."""
    tokens_BT = torch.from_numpy(shard.sequences.block(rows)).to(encoder.device)
    with torch.inference_mode():
        states = dict(zip(encoder.layers, encoder.states(tokens_BT), strict=True))
    for output in outputs:
        numbers = output.numbers(states[output.layer])
        if not bool(torch.isfinite(numbers.to(output.storage)).all()):
            return output, tokens_BT, numbers
    return None


def _what(encoder: Encoder, output: Output, tokens_BT: Tensor, numbers: Tensor) -> str:
    if bool(torch.isfinite(numbers).all()):
        limit = torch.finfo(output.storage).max
        return (
            f"layer {output.layer} gives {float(numbers.abs().max()):.3g}, which does not fit "
            f"{str(output.storage).removeprefix('torch.')} (at most {limit:.3g}); {output.remedy} and a new --out"
        )
    first = first_bad_layer(encoder, tokens_BT)
    return _not_finite(output.layer if first is None else first)


def _not_finite(layer: int) -> str:
    return (
        f"the states of layer {layer} are not finite; "
        "pass --dtype float32 or bfloat16 and a new --out, or, with these already, fetch the model anew"
    )


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
