"""Skeletons of models, filled, beside transformers' own models."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tcf.encoders.encoder import load_encoder
from tcf.encoders.folder.open_model_folder import open_model_folder
from tcf.encoders.split.read_pool import ReadPool
from tcf.encoders.split.skeleton import Skeleton, Weight, open_skeleton
from tcf.encoders.split.weight_buffers import StoredWeightBuffer, TypedWeightBuffer, attach, buffer_nbytes

__all__ = ["assert_equal", "assert_taken_apart_whole", "contents", "filled"]

CPU = torch.device("cpu")


def _put(module: nn.Module, weights: tuple[Weight, ...], pool: ReadPool, apart: nn.Module | None = None) -> None:
    """Read weights into memory of their own and put them where they belong."""
    stored = StoredWeightBuffer(buffer_nbytes(weights, stored=True)).read(weights, pool=pool)
    filled = TypedWeightBuffer(buffer_nbytes(weights, stored=False), CPU).fill(weights, stored)
    attach(module, filled, apart=apart)


def filled(skeleton: Skeleton) -> Any:
    """The skeleton's model with all its weights."""
    with ReadPool(2) as pool:
        _put(skeleton.model, skeleton.around, pool, skeleton.blocks)
        for block, weights in zip(skeleton.blocks, skeleton.within, strict=True):
            _put(block, weights, pool)
    return skeleton.model


def contents(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers, tied ones under all their names, buffers that are never stored among them."""
    return {
        **dict(model.named_parameters(remove_duplicate=False)),
        **dict(model.named_buffers(remove_duplicate=False)),
    }


def assert_equal(found: nn.Module, expected: nn.Module) -> None:
    left, right = contents(found), contents(expected)
    assert left.keys() == right.keys()
    for name, weight in right.items():
        assert left[name].dtype == weight.dtype, name
        assert torch.equal(left[name], weight), name


def assert_taken_apart_whole(
    path: Path, dtype: torch.dtype = torch.float32, *, own: Any = None, **options: Any
) -> Skeleton:
    """A skeleton that is filled is transformers' own model, to the bit."""
    folder = open_model_folder(path)
    skeleton = open_skeleton(folder, dtype, **options)
    own = own or load_encoder(folder, dtype, CPU, **options)
    model = filled(skeleton)
    if isinstance(getattr(model, "pooler", None), nn.Identity):
        own.model.pooler = nn.Identity()
    assert_equal(model, own.model)
    assert (skeleton.layers, skeleton.no_cache) == (own.layers, own.no_cache)
    assert len(skeleton.blocks) == len(own.blocks)
    return skeleton
