"""Errors for computed numbers that cannot be stored: which item, text and layer, and what to pass instead.

Shapes: B texts, T tokens, D width.
"""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tcf.common.errors import ModelError
from tcf.data.item_table import ItemTable
from tcf.encoders.blocks import LAST
from tcf.encoders.encoder import Encoder, TransformersEncoder
from tcf.extract.micro_batches import Indices, in_order, micro_batches
from tcf.extract.outputs import Output
from tcf.extract.schedules.engine import Engine, NotFinite, ignore_progress
from tcf.extract.shards import Shard

__all__ = ["bad_by_themselves", "fault", "first_bad_layer", "not_finite"]


def fault(encoder: Encoder, items: ItemTable, shard: Shard, outputs: Sequence[Output], suspects: Indices) -> ModelError:
    """The error for the first text of a shard with a number that cannot be stored, found one by one.

    Args:
        encoder: the language model.
        items: the item table.
        shard: the shard with the texts.
        outputs: the caches.
        suspects: rows of the shard with a number that was not finite after rounding to its storage type.
    """
    for row in suspects.tolist():
        found = _first_unstorable(encoder, shard, np.array([row]), outputs)
        if found is not None:
            return ModelError(f"{_named(items, shard, row)}: {_unstorable(encoder, *found)}")
    return ModelError(
        f"{items.path}: a micro-batch gives a number that is not finite, but none of its texts does alone; run the "
        "same command again with --no-share-prefixes or a lower --tokens-per-batch, and if that does not help with "
        "--dtype float32"
    )


def bad_by_themselves(engine: Engine, shard: Shard, outputs: Sequence[Output], rows: Indices, scratch: Path) -> Indices:
    """Compute texts again, without sharing states; returns those with a number that cannot be stored, as rows.

    Attention along a tree multiplies such numbers by 0 for the texts that do not go through them, which spreads them to
    these texts. Texts of equal length do not affect one another.

    Args:
        engine: the language model.
        shard: the shard with the texts.
        outputs: the caches.
        rows: the texts, as rows of the shard.
        scratch: directory for unfinished work.

    Raises:
        NotFinite: a text gives states that are not finite.
    """
    sequences = shard.sequences.take(rows)
    sinks = [(output.layer, output.sink(sequences.lengths, engine.encoder.device)) for output in outputs]
    by_layer = {layer: [sink for of, sink in sinks if of == layer] for layer in engine.encoder.layers}
    batches = micro_batches(sequences.lengths, engine.tokens_per_batch)
    try:
        engine.encode(batches, sequences, by_layer, scratch=scratch, advance=ignore_progress)
    except NotFinite as error:
        raise NotFinite(error.layer, int(rows[error.row])) from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    order = in_order(batches)
    found: Indices = rows[np.unique(np.concatenate([sink.unstorable(order) for _, sink in sinks]))]
    return found


def not_finite(items: ItemTable, shard: Shard, row: int, layer: int) -> ModelError:
    """The error for a text whose hidden states are not finite.

    Args:
        items: the item table.
        shard: the shard with the text.
        row: the text's row in the shard.
        layer: the first layer with such states.
    """
    return ModelError(f"{_named(items, shard, row)}: {_not_finite(layer)}")


def _named(items: ItemTable, shard: Shard, row: int) -> str:
    item_id, text = items.item(int(shard.items[row]))
    return f"{items.path}: item {item_id} ({text[:60]!r})"


def _first_unstorable(
    encoder: Encoder, shard: Shard, rows: Indices, outputs: Sequence[Output]
) -> tuple[Output, Tensor, Tensor] | None:
    """The first cache that cannot store the numbers of texts of one length, with their tokens and the numbers."""
    tokens_BT = torch.from_numpy(shard.sequences.block(rows)).to(encoder.device)
    with torch.inference_mode():
        states = dict(zip(encoder.layers, encoder.states(tokens_BT), strict=True))
    for output in outputs:
        numbers = output.numbers(states[output.layer])
        if not bool(torch.isfinite(numbers.to(output.storage)).all()):
            return output, tokens_BT, numbers
    return None


def _unstorable(encoder: Encoder, output: Output, tokens_BT: Tensor, numbers: Tensor) -> str:
    if bool(torch.isfinite(numbers).all()):
        limit = torch.finfo(output.storage).max
        return (
            f"layer {output.layer} gives {float(numbers.abs().max()):.3g}, too large for "
            f"{str(output.storage).removeprefix('torch.')} (at most {limit:.3g}); {output.remedy} and a new --out"
        )
    first = first_bad_layer(encoder, tokens_BT)
    return _not_finite(output.layer if first is None else first)


def _not_finite(layer: int) -> str:
    return (
        f"the states of layer {layer} are not finite; "
        "pass --dtype float32 or bfloat16 and a new --out; if that is set already, download the model again"
    )


def first_bad_layer(encoder: Encoder, tokens_BT: Tensor) -> int | None:
    """The first layer whose states are not all finite, in the order of computation: 0, 1, ..., then -1.

    If the model's blocks are recognised, all layers up to the highest one of the encoder are checked; otherwise only
    the encoder's own layers.

    Args:
        encoder: the language model.
        tokens_BT: one text, or several of one length, (B, T) int64, on the encoder's device.

    Returns:
        The layer, or None if every state is finite.
    """
    checked = _with_every_layer(encoder)
    with torch.inference_mode():
        states = checked.states(tokens_BT)
    bad = [
        layer
        for layer, layer_BTD in zip(checked.layers, states, strict=True)
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
