"""Building a model from its folder: on the meta device without weights, or with all of them.

Loading checks that the checkpoint has every weight of the body and no other weights that belong to the body.
"""

import sys
from collections.abc import Container, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from tcf.assets.weight_index import INDEX
from tcf.common.errors import ModelError
from tcf.common.torch_internals import storage_id
from tcf.encoders.check_weights import POOLER, check_report
from tcf.encoders.failures import failures, quiet, reason
from tcf.encoders.folder.config_sizes import largest_product
from tcf.encoders.folder.model_config import may_run_code, read_configuration
from tcf.encoders.folder.model_folder import ModelFolder
from tcf.encoders.folder.weight_files import indexed_files, weight_files, weights_or_index
from tcf.encoders.quantised.dequantised import check_not_quantised, dequantised_weights
from tcf.encoders.quantised.method import quantisation_of
from tcf.encoders.quantised.weights import LazyWeight
from tcf.encoders.split.stored_tensors import stored_tensors
from tcf.encoders.transformers_internals import (
    LOADER_LOCK,
    cast_as_loaded,
    initialise_marked,
    mark_for_initialisation,
    on_meta_device,
)

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

__all__ = [
    "WRAPPERS",
    "Dispatch",
    "bare_model",
    "body_of",
    "build_buffers",
    "empty_model",
    "load_model",
]

_FEW_NUMBERS = 2**26  # as many as fit into any memory, 256 MiB in float32
_INSIDE = "_orig_mod|_checkpoint_wrapped_module|_fsdp_wrapped_module"
# A pattern replaces one place of a name, so that there is one for each level of wrapped modules within one another.
WRAPPERS = {rf"^(?:(?:module|{_INSIDE})\.)+": "", **{rf"\b(?:(?:{_INSIDE})\.){{1,{n}}}": "" for n in (7, 8, 9)}}
"""What torch.compile, activation checkpointing and FSDP add to names of weights, at any level, and DataParallel before
all of them, with what replaces it."""


def empty_model(
    folder: ModelFolder, dtype: torch.dtype, *, trust_remote_code: bool = False, buffers: bool = True
) -> "PreTrainedModel":
    """Build the part of a model that computes token states, without weights; only `config.json` is needed.

    Args:
        folder: the model folder.
        dtype: type of the weights; parameters have the types in which transformers would load them.
        trust_remote_code: run code of the folder if transformers has none for this model.
        buffers: compute the model's buffers, such as rotary frequencies; otherwise these are on the meta device too.

    Raises:
        ModelError: transformers cannot build the model, or the folder's own code is needed but not trusted.
    """
    model = bare_model(folder, dtype, trust_remote_code=trust_remote_code)
    cast_as_loaded(model, dtype)
    if buffers:
        build_buffers(model, folder)
    body = body_of(model)
    body.requires_grad_(False)
    body.eval()  # type: ignore[no-untyped-call]
    return body


def bare_model(folder: ModelFolder, dtype: torch.dtype, *, trust_remote_code: bool) -> "PreTrainedModel":
    """Build transformers' model without a head, on the meta device; an encoder-decoder includes its decoder.

    Raises:
        ModelError: transformers cannot build it, or the folder's own code is needed but not trusted.
    """
    quiet()
    own_code = may_run_code(folder.path, folder.settings, trust_remote_code=trust_remote_code)
    config = read_configuration(folder.path, folder.settings, trust_remote_code=trust_remote_code)
    try:
        with on_meta_device():
            model: PreTrainedModel = _auto_class(folder).from_config(config, dtype=dtype, trust_remote_code=own_code)
    except failures() as error:
        raise _cannot_build(folder, error) from None
    _check_size(model, folder)
    return model


def _check_size(model: "PreTrainedModel", folder: ModelFolder) -> None:
    """Refuse a model much larger than its checkpoint, if that is there: what it lacks would be made in memory.

    Raises:
        ModelError: it is.
    """
    most = _most_numbers(folder)
    numbers = sum(tensor.numel() for tensor in (*model.parameters(), *model.buffers()))
    if numbers > most:
        raise ModelError(
            f"{folder.path / 'config.json'}: expected a model of at most {most} numbers, for its checkpoint has no "
            f"more bytes, found one of {numbers}; use the config.json that the weights were saved with, or download "
            "the model again"
        )


def _most_numbers(folder: ModelFolder) -> int:
    """Numbers that a model can have for its checkpoint, which may lack some of them; a few are always allowed."""
    index = weights_or_index(folder.path)
    files = [] if index is None else indexed_files(index) if index.name.endswith(INDEX) else [index]
    if not files or not all(file.is_file() for file in files):
        return sys.maxsize  # as in the plan for a model that has not been downloaded
    stored = sum(file.stat().st_size for file in files)
    packed = quantisation_of(folder.path, folder.settings) is not None
    return max(_FEW_NUMBERS, stored * (16 if packed else 2))


def build_buffers(model: "PreTrainedModel", folder: ModelFolder, stored: Container[int] = ()) -> None:
    """Compute a model's buffers on the CPU, as transformers does after loading: by the model's own initialisation.

    Args:
        model: a model on the meta device.
        folder: the model folder, for messages.
        stored: storages (`storage_id`) of the buffers in the checkpoint; they stay on the meta device.

    Raises:
        ModelError: the model's own initialisation fails.
    """
    for module in model.modules():
        for name, buffer in module.named_buffers(recurse=False, remove_duplicate=False):
            if buffer.is_meta and storage_id(buffer) not in stored:
                setattr(module, name, torch.empty_like(buffer, device="cpu"))
                mark_for_initialisation(module)
    try:
        initialise_marked(model)
    except failures() as error:
        raise _cannot_build(folder, error) from None


def _cannot_build(folder: ModelFolder, error: Exception) -> ModelError:
    return ModelError(
        f"{folder.path / 'config.json'}: transformers cannot build this model without its weights ({reason(error)}); "
        "download the model again, or pass --schedule resident"
    )


@dataclass(frozen=True)
class Dispatch:
    """Placement of a model on devices, RAM and disk by accelerate.

    Attributes:
        places: a device, `cpu` or `disk` for each module name of the part that computes token states.
        folder: folder for offloaded weights that cannot be read from the checkpoint directly.
    """

    places: Mapping[str, str]
    folder: Path


def load_model(
    folder: ModelFolder, dtype: torch.dtype, *, trust_remote_code: bool = False, dispatch: Dispatch | None = None
) -> "PreTrainedModel":
    """Load the part of a model that computes token states; for an encoder-decoder this is the encoder.

    Args:
        folder: the model folder.
        dtype: type of the weights; a family may keep some in float32.
        trust_remote_code: run code of the folder if transformers has none for this model.
        dispatch: placement of its modules; None for the CPU.

    Raises:
        ModelError: weights are missing, unreadable, of the wrong shape, or more than `config.json` describes; or the
            folder's own code is needed but not trusted.
    """
    quiet()
    own_code = may_run_code(folder.path, folder.settings, trust_remote_code=trust_remote_code)
    source = _source(folder, dtype, trust_remote_code=trust_remote_code)
    try:
        with LOADER_LOCK:
            # Mismatched shapes are left to the report, because the error would not name them.
            model, report = source.kind.from_pretrained(
                None if source.weights else str(folder.path),
                config=source.config,
                state_dict=source.weights,
                dtype=dtype,
                local_files_only=True,
                trust_remote_code=own_code,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
                key_mapping=WRAPPERS,
                device_map=None if dispatch is None else _whole_map(folder, dtype, dispatch, own_code=own_code),
                offload_folder=None if dispatch is None else str(dispatch.folder),
            )
    except failures() as error:
        raise ModelError(
            f"{folder.path}: config.json and weights cannot be loaded ({reason(error)}); download the model again"
        ) from None
    check_report(report, model, folder.path)
    body = body_of(model)
    body.requires_grad_(False)
    body.eval()  # type: ignore[no-untyped-call]
    return body


@dataclass(frozen=True)
class _Source:
    """What transformers loads a model from.

    Attributes:
        kind: a model class, or an auto class that finds it.
        config: the configuration; None for that of the folder.
        weights: the weights, if they are dequantised; None for the files of the folder.
    """

    kind: Any
    config: "PreTrainedConfig | None" = None
    weights: Mapping[str, LazyWeight] | None = None


def _source(folder: ModelFolder, dtype: torch.dtype, *, trust_remote_code: bool) -> _Source:
    """Return what to load a model from: its files or, if these are quantised, its dequantised weights."""
    files = weight_files(folder.path)
    quantisation = quantisation_of(folder.path, folder.settings)
    if quantisation is None:
        if largest_product(folder.settings) > _most_numbers(folder):
            bare_model(folder, dtype, trust_remote_code=trust_remote_code)  # which checks its size
        if files[0].suffix == ".safetensors":
            check_not_quantised(stored_tensors(folder.path))
        return _Source(_auto_class(folder))
    bare = bare_model(folder, dtype, trust_remote_code=trust_remote_code)  # which checks its size
    return _Source(type(bare), bare.config, dequantised_weights(folder.path, quantisation))


def _whole_map(folder: ModelFolder, dtype: torch.dtype, dispatch: Dispatch, *, own_code: bool) -> dict[str, str]:
    """Return the placement of the whole model that transformers loads; modules that are not run stay on disk."""
    model = bare_model(folder, dtype, trust_remote_code=own_code)
    body = body_of(model)
    prefix = next(f"{name}." if name else "" for name, module in model.named_modules() if module is body)
    places = {f"{prefix}{name}" if name else prefix.rstrip("."): place for name, place in dispatch.places.items()}
    others = [
        name for name, module in model.named_modules() if module is not body and not prefix.startswith(f"{name}.")
    ]
    top = [name for name in others if prefix and "." not in name]
    # A pooler that the checkpoint lacks has no file to be loaded from.
    kept = {name: "cpu" for name in places if POOLER in name.split(".")}
    return {**places, **kept, **dict.fromkeys(top, "disk")}


def _auto_class(folder: ModelFolder) -> Any:
    """Return the auto class of transformers that builds the model without a head."""
    from transformers import AutoModel, AutoModelForTextEncoding

    match folder.settings.get("model_type"):
        case "t5" | "mt5" | "umt5":
            return AutoModelForTextEncoding
        case _:
            return AutoModel


def body_of(model: "PreTrainedModel") -> "PreTrainedModel":
    """Return the part of a model that computes token states; for an encoder-decoder this is the encoder."""
    body: PreTrainedModel = model.get_encoder() if model.config.is_encoder_decoder else model
    return body
