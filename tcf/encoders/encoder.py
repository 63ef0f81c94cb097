"""A loaded language model that computes token states.

Shapes: B texts, T tokens, D width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import torch
from torch import Tensor, nn

from tcf.common.errors import ConfigError, ModelError, shape_words
from tcf.common.torch_internals import limit_onednn_caches
from tcf.encoders.blocks import LAST, cut_blocks, last_states, leave_out_unused, recorded_states, without_cache
from tcf.encoders.failures import failures, reason
from tcf.encoders.folder.model_folder import ModelFolder
from tcf.encoders.loading import Dispatch, load_model
from tcf.encoders.prefix_sharing.tree_attention import TreeAttention

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = [
    "Encoder",
    "TransformersEncoder",
    "check_layers",
    "layer_width",
    "load_encoder",
    "resolve_dtype",
]


class Encoder(Protocol):
    """A model that computes the states of the layers that it was loaded for."""

    @property
    def folder(self) -> ModelFolder:
        """The model folder."""

    @property
    def device(self) -> torch.device:
        """Device of its weights."""

    @property
    def layers(self) -> tuple[int, ...]:
        """The requested layers: 0 is the input of the first block, i the output of block i, -1 of the last norm."""

    def states(self, tokens_BT: Tensor, tree: TreeAttention | None = None) -> tuple[Tensor, ...]:
        """Return the states of every requested layer, in the order of `layers`, each (B, T, D).

        Args:
            tokens_BT: token ids of texts of equal length, (B, T) int64, T at least 1, on the encoder's device.
            tree: how they attend if they are the nodes of a tree, (1, N); for models that share prefixes.
        """


@dataclass(frozen=True)
class TransformersEncoder:
    """A model of transformers in evaluation mode.

    All texts of a call have the same length, or are the nodes of a tree, so there is no padding; no key-value cache is
    built.

    Attributes:
        folder: the model folder.
        model: a model of transformers, without a head and without blocks above the highest layer.
        device: device of its weights.
        layers: the requested layers.
        blocks: its transformer blocks; None if they cannot be identified.
        no_cache: arguments that keep its `forward` from building a key-value cache.
    """

    folder: ModelFolder
    model: "PreTrainedModel"
    device: torch.device
    layers: tuple[int, ...]
    blocks: nn.ModuleList | None
    no_cache: Mapping[str, bool]

    def states(self, tokens_BT: Tensor, tree: TreeAttention | None = None) -> tuple[Tensor, ...]:
        """Return the states of every requested layer, in the order of `layers`, each (B, T, D); see `Encoder`."""
        blocks = [] if self.blocks is None else list(self.blocks)
        with recorded_states(blocks, self.layers) as found:
            found[LAST] = last_states(self.model, tokens_BT, self.no_cache, tree)
        return tuple(found[layer] for layer in self.layers)


def resolve_dtype(
    name: Literal["auto", "float32", "bfloat16", "float16"], folder: ModelFolder, device: torch.device
) -> torch.dtype:
    """Return the dtype to compute in; `auto` is float32 on CPU, on CUDA float16 for float16 checkpoints, else bfloat16.

    For word vectors `auto` is always float32, because there is nothing to compute.
    """
    match name:
        case "float32":
            return torch.float32
        case "bfloat16":
            return torch.bfloat16
        case "float16":
            return torch.float16
        case "auto":
            if device.type == "cpu" or folder.family == "words":
                return torch.float32
            stored = folder.settings.get("dtype", folder.settings.get("torch_dtype"))
            return torch.float16 if stored == "float16" else torch.bfloat16


def check_layers(folder: ModelFolder, layers: Sequence[int], *, option: str = "--layers") -> None:
    """Refuse layers that a model does not have; its weights are not needed.

    Args:
        folder: the model folder.
        layers: the requested layers.
        option: the option that they come from, for messages.

    Raises:
        ConfigError: no layer is requested, a layer does not exist, or a layer is requested twice.
    """
    n = folder.n_blocks
    match folder.family:
        case "words":
            there = f"-1 or 0, which are the same for the word vectors of {folder.path}"
        case _:
            there = f"-1 or 0 to {n}, the blocks of {folder.path}" if n else f"only -1 for {folder.path}"
    if not layers:
        raise ConfigError(f"{option}: expected {there}, found none")
    for layer in layers:
        if layer != LAST and not ((n or folder.family == "words") and 0 <= layer <= n):
            raise ConfigError(f"{option}: expected {there}, found {layer}")
        if list(layers).count(layer) > 1:
            raise ConfigError(f"{option}: expected each layer once, found {layer} more than once")


def layer_width(folder: ModelFolder, layer: int, *, project_out: bool) -> int:
    """Return the width of a layer's token states.

    Args:
        folder: the model folder.
        layer: a layer of the model.
        project_out: take the last layer after OPT's projection to the width of its embeddings.

    Raises:
        ConfigError: `project_out` is set for a model without such a projection.
    """
    if not project_out:
        return folder.width
    width = _projected_width(folder)
    if width is None:
        raise ConfigError(
            f"--project-out: expected a model with a projection after its last layer, such as OPT-350M, found "
            f"{folder.path} without one; leave --project-out out"
        )
    return width if layer == LAST else folder.width


def _projected_width(folder: ModelFolder) -> int | None:
    """Return the width after OPT's projection; None for models without one."""
    width = folder.settings.get("word_embed_proj_dim")
    if folder.family != "opt" or width is None or width == folder.width:
        return None
    return int(width)


def load_encoder(
    folder: ModelFolder,
    dtype: torch.dtype,
    device: torch.device,
    *,
    layers: tuple[int, ...] = (LAST,),
    project_out: bool = False,
    trust_remote_code: bool = False,
    dispatch: Dispatch | None = None,
) -> Encoder:
    """Load a model; the checkpoint must have every weight of its body, and no other weights that belong to the body.

    Args:
        folder: the model folder.
        dtype: type to compute in.
        device: device of the weights.
        layers: the requested layers; blocks above the highest one are dropped.
        project_out: take the last layer after OPT's projection to the width of its embeddings.
        trust_remote_code: run code of the folder if transformers has none for this model.
        dispatch: place the model on devices, RAM and disk with accelerate's hooks; `device` is then that of the tokens.

    Raises:
        ConfigError: the model has no such layers or no such projection.
        ModelError: weights are missing, unreadable, of the wrong shape, or more than `config.json` describes; the model
            does not read texts or its blocks cannot be identified; the device is too small; or the folder's own code
            is needed but not trusted.
    """
    limit_onednn_caches()
    check_layers(folder, layers)
    for layer in layers:
        layer_width(folder, layer, project_out=project_out)
    if folder.family == "words":
        from tcf.encoders.word_vectors.word_encoder import load_word_vectors

        return load_word_vectors(folder, dtype, device, layers=layers)
    model = load_model(folder, dtype, trust_remote_code=trust_remote_code, dispatch=dispatch)
    leave_out_unused(model, folder, project_out=project_out)
    blocks = cut_blocks(model, folder, layers)
    if dispatch is None:
        _move(model, device, folder)
    encoder = TransformersEncoder(folder, model, device, layers, blocks, without_cache(model))
    if folder.family == "other":
        _check_reads(encoder)
    return encoder


def _move(model: nn.Module, device: torch.device, folder: ModelFolder) -> None:
    try:
        model.to(device)
    except torch.OutOfMemoryError:
        raise ModelError(
            f"{folder.path}: the model does not fit on {device}; pass a smaller --dtype, or --devices cpu"
        ) from None


def _check_reads(encoder: TransformersEncoder) -> None:
    """Run a model of an unknown family on three tokens, to check that it returns states of the requested layers.

    Raises:
        ModelError: it fails, or the states have another shape.
    """
    tokens_BT = torch.zeros((1, 3), dtype=torch.int64, device=encoder.device)
    expected = (1, 3, encoder.folder.width)
    try:
        with torch.inference_mode():
            shapes = [tuple(states.shape) for states in encoder.states(tokens_BT)]
    except failures() as error:
        raise ModelError(
            f"{encoder.folder.path}: expected a model that reads token ids alone, found another ({reason(error)}); "
            "choose a language model"
        ) from None
    for layer, shape in zip(encoder.layers, shapes, strict=True):
        if shape != expected:
            raise ModelError(
                f"{encoder.folder.path}: expected states of shape {shape_words(expected)} for three tokens, found "
                f"{shape_words(shape)} at layer {layer}; choose another layer or model"
            )
