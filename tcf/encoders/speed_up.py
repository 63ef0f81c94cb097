"""Making a loaded encoder faster; its results change by rounding only.

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
    """Compile the blocks of an encoder, or pack its weights if it is on a CPU.

    Args:
        encoder: changed in place.
        compile: use torch.compile instead of packing.

    Raises:
        ModelError: the encoder has no blocks to compile, or they cannot be identified.
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
        raise ModelError(
            f"{encoder.folder.path}: --compile expected a model with identifiable blocks, found none; leave it out"
        )
    for block in blocks:
        block.forward = torch.compile(block.forward, dynamic=True)


def _pack_if_equal(encoder: TransformersEncoder) -> None:
    """Pack, and undo it if the model's results change beyond rounding.

    A model whose code accesses the weights of its layers cannot be run with packed ones. A model with non-finite values
    is left unchanged, because oneDNN's ReLU turns them into zeros and would hide them.
    """
    # The blocks of a known family are alike: if one can be packed, all can, and none is in memory twice for long.
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
    if not all(_nearly_equal(a, b) for a, b in zip(before, after, strict=True)):
        restore(replaced)
    elif checked is not encoder.model:
        replaced.clear()
        pack(encoder.model, keep=False)


def _nearly_equal(a_BTD: torch.Tensor, b_BTD: torch.Tensor) -> bool:
    """Whether both are finite and equal up to rounding, which accumulates over blocks."""
    a, b = a_BTD.float(), b_BTD.float()
    scale = a.abs().max().clamp_min(1e-6)
    return bool(((a - b).abs().max() / scale) < torch.finfo(a_BTD.dtype).eps ** 0.5)
