"""Making a loaded encoder run faster, without changing what it computes beyond rounding.

Shapes: B texts, T tokens, D width.
"""

import torch
from torch import nn

from tcf.common.errors import ModelError
from tcf.encoders.encoder import Encoder, TransformersEncoder
from tcf.encoders.failures import failures
from tcf.encoders.onednn_packing import pack, restore

__all__ = ["make_fast"]


def make_fast(encoder: Encoder, *, compile: bool) -> None:
    """Compile the blocks of an encoder, or pack its weights where it computes on a CPU.

    Args:
        encoder: changed in place.
        compile: use torch.compile, which takes the place of packing.

    Raises:
        ModelError: there are no blocks to compile.
    """
    if compile:
        _compile(encoder)
    elif not isinstance(encoder, TransformersEncoder):
        return
    elif encoder.device.type == "cpu":
        _pack_if_equal(encoder)


def _compile(encoder: Encoder) -> None:
    blocks = encoder.blocks if isinstance(encoder, TransformersEncoder) else None
    if blocks is None:
        raise ModelError(f"{encoder.folder.path}: has no blocks that can be told and compiled; leave --compile out")
    for block in blocks:
        block.forward = torch.compile(block.forward, dynamic=True)


def _pack_if_equal(encoder: TransformersEncoder) -> None:
    """Pack, and take it back should the model not give what it gave before.

    A model whose code takes hold of the weights of its layers cannot be run with packed ones. One that gives values
    that are not finite is left as it is, because oneDNN's ReLU makes zeros of them, and nobody would notice.
    """
    # Blocks of a family that is known are alike: if one can be packed, all can, and none is held twice for long.
    alike = encoder.blocks is not None and encoder.folder.family != "other"
    checked: nn.Module = encoder.blocks[0] if alike and encoder.blocks is not None else encoder.model
    tokens_BT = torch.arange(6).view(2, 3) % (encoder.folder.vocabulary or 6)
    with torch.inference_mode():
        before = encoder.states(tokens_BT)
        replaced = pack(checked, keep=True)
        try:
            after = encoder.states(tokens_BT)
        except failures():
            restore(replaced)
            return
    if not all(_near(a, b) for a, b in zip(before, after, strict=True)):
        restore(replaced)
    elif checked is not encoder.model:
        replaced.clear()
        pack(encoder.model, keep=False)


def _near(a_BTD: torch.Tensor, b_BTD: torch.Tensor) -> bool:
    """Equal but for rounding, which adds up over blocks, and finite."""
    a, b = a_BTD.float(), b_BTD.float()
    scale = a.abs().max().clamp_min(1e-6)
    return bool(((a - b).abs().max() / scale) < torch.finfo(a_BTD.dtype).eps ** 0.5)
