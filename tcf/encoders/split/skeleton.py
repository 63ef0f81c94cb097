"""A model to be run block by block: its structure, and the stored tensor of every weight."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from tcf.common.torch_internals import limit_onednn_caches
from tcf.encoders.blocks import LAST, cut_blocks, leave_out_unused, without_cache
from tcf.encoders.check_weights import POOLER, check_report
from tcf.encoders.encoder import check_layers, layer_width
from tcf.encoders.failures import not_separable_error
from tcf.encoders.folder.model_folder import ModelFolder
from tcf.encoders.loading import body_of
from tcf.encoders.quantised.dequantised import check_not_quantised
from tcf.encoders.quantised.method import quantisation_of
from tcf.encoders.split.place_weights import PlacedWeights, place_weights
from tcf.encoders.split.stored_tensors import StoredTensor, stored_tensors

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["Skeleton", "Weight", "check_separable_weights", "open_skeleton"]


@dataclass(frozen=True)
class Weight:
    """A parameter or stored buffer of a model.

    Attributes:
        name: name in the model; within a block, relative to the block.
        stored: its tensor in the checkpoint.
        dtype: type to compute in.
    """

    name: str
    stored: StoredTensor
    dtype: torch.dtype


@dataclass(frozen=True)
class Skeleton:
    """A model of transformers in evaluation mode, without its weights.

    Attributes:
        folder: the model folder.
        model: the model without a head and without blocks above the highest layer; its weights are on the meta device,
            buffers that are not stored are computed, on the CPU.
        blocks: its transformer blocks.
        layers: the requested layers.
        no_cache: arguments that keep its `forward` from building a key-value cache.
        around: the weights outside the blocks.
        within: the weights of every block.
    """

    folder: ModelFolder
    model: "PreTrainedModel"
    blocks: nn.ModuleList
    layers: tuple[int, ...]
    no_cache: Mapping[str, bool]
    around: tuple[Weight, ...]
    within: tuple[tuple[Weight, ...], ...]


def open_skeleton(
    folder: ModelFolder,
    dtype: torch.dtype,
    *,
    layers: tuple[int, ...] = (LAST,),
    project_out: bool = False,
    trust_remote_code: bool = False,
) -> Skeleton:
    """Open a model to be run block by block; only the headers of its checkpoint are read.

    The weights' names, types and ties are those of `load_encoder`, because they come from transformers' loader.

    Args:
        folder: the model folder.
        dtype: type to compute in.
        layers: the requested layers; blocks above the highest one are dropped.
        project_out: take the last layer after OPT's projection to the width of its embeddings.
        trust_remote_code: run code of the folder if transformers has none for this model.

    Raises:
        ConfigError: the model has no such layers or no such projection.
        ModelError: weights are missing, unreadable, of the wrong shape, or more than `config.json` describes; the model
            cannot be run block by block; or the folder's own code is needed but not trusted.
    """
    limit_onednn_caches()
    check_layers(folder, layers)
    for layer in layers:
        layer_width(folder, layer, project_out=project_out)
    check_separable_weights(folder)
    tensors = stored_tensors(folder.path)
    check_not_quantised(tensors)
    placed = place_weights(folder, dtype, tensors, trust_remote_code=trust_remote_code)
    check_report(placed.report, placed.model, folder.path)
    model = body_of(placed.model)
    model.requires_grad_(False)
    model.eval()  # type: ignore[no-untyped-call]
    leave_out_unused(model, folder, project_out=project_out)
    _replace_missing_pooler(model, placed)
    blocks = cut_blocks(model, folder, layers)
    if blocks is None:
        raise not_separable_error(folder.path, "its blocks cannot be identified")
    around, within = _weights(model, blocks, placed, folder)
    return Skeleton(folder, model, blocks, layers, without_cache(model), around, within)


def check_separable_weights(folder: ModelFolder) -> None:
    """Refuse models whose weights cannot be loaded block by block.

    Raises:
        NotSeparableError: they are word vectors, or quantised.
    """
    if folder.family == "words":
        raise not_separable_error(folder.path, "word vectors have no blocks")
    quantisation = quantisation_of(folder.path, folder.settings)
    if quantisation is not None:
        raise not_separable_error(folder.path, f"its weights are quantised by {quantisation.method}")


def _replace_missing_pooler(model: nn.Module, placed: PlacedWeights) -> None:
    """Replace a pooler that the checkpoint lacks: it is not used, but must not run without weights."""
    pooler = getattr(model, POOLER, None)
    if isinstance(pooler, nn.Module) and any(placed.stored(weight) is None for weight in pooler.parameters()):
        setattr(model, POOLER, nn.Identity())


def _weights(
    model: nn.Module, blocks: nn.ModuleList, placed: PlacedWeights, folder: ModelFolder
) -> tuple[tuple[Weight, ...], tuple[tuple[Weight, ...], ...]]:
    """Return the weights outside the blocks, and those of each block."""
    prefix = next(name for name, module in model.named_modules() if module is blocks)
    around, within = [], [list[Weight]() for _ in blocks]
    for name, tensor in _to_be_filled(model):
        stored = placed.stored(tensor)
        if stored is None:
            raise not_separable_error(
                folder.path, f"its weight {name} is not in the checkpoint in the form used for computation"
            )
        weight = Weight(name, stored, tensor.dtype)
        if name.startswith(f"{prefix}."):
            number, _, inside = name.removeprefix(f"{prefix}.").partition(".")
            within[int(number)].append(replace(weight, name=inside))
        else:
            around.append(weight)
    return tuple(around), tuple(map(tuple, within))


def _to_be_filled(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors on the meta device, those with several names under each of them."""
    yield from model.named_parameters(remove_duplicate=False)
    for name, buffer in model.named_buffers(remove_duplicate=False):
        if buffer.is_meta:
            yield name, buffer
