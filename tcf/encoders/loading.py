"""A model from its folder: on the meta device without its weights, or with all of them.

Every weight of the body is there, and everything there has a place.
"""

import re
from collections.abc import Container, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from tcf.common.errors import ModelError
from tcf.common.torch_internals import storage_id
from tcf.encoders.failures import failures, quiet, reason
from tcf.encoders.folder.model_config import may_run_code, read_configuration
from tcf.encoders.folder.model_folder import ModelFolder
from tcf.encoders.folder.weight_files import weight_files
from tcf.encoders.transformers_internals import (
    LOADER_LOCK,
    cast_as_loaded,
    initialise_marked,
    mark_for_initialisation,
    on_meta_device,
    read_loading_report,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = [
    "POOLER",
    "Dispatch",
    "bare_model",
    "body_of",
    "build_buffers",
    "check_report",
    "empty_model",
    "load_model",
]

# Part of transformers' models, but of no use for token states: it may be missing.
POOLER = "pooler"

# What older versions saved within a body although it is not learned, beside what transformers itself knows of that, and
# the head of OPT's first files.
_NO_WEIGHTS = re.compile(
    r".*\.(position_ids|token_type_ids|masked_bias)|(.*\.)?decoder\.(version|output_projection\.weight)"
)


def empty_model(
    folder: ModelFolder, dtype: torch.dtype, *, trust_remote_code: bool = False, buffers: bool = True
) -> "PreTrainedModel":
    """The part of a model that makes token states, without weights; `config.json` alone is needed.

    Args:
        folder: the model folder.
        dtype: type of the weights; parameters have the types that transformers would load them in.
        trust_remote_code: run code of the folder where transformers has none for this model.
        buffers: build what the model computes when it is made, such as rotary frequencies; otherwise these too are on
            the meta device.

    Raises:
        ModelError: transformers cannot build the model, or code of the folder would have to be run without being
            trusted.
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
    """Transformers' model without a head, wholly on the meta device; of an encoder-decoder with its decoder.

    Raises:
        ModelError: transformers cannot build it, or code of the folder would have to be run without being trusted.
    """
    quiet()
    own_code = may_run_code(folder.path, folder.settings, trust_remote_code=trust_remote_code)
    config = read_configuration(folder.path, folder.settings, trust_remote_code=trust_remote_code)
    try:
        with on_meta_device():
            model: PreTrainedModel = _auto_class(folder).from_config(config, dtype=dtype, trust_remote_code=own_code)
    except failures() as error:
        raise _cannot_build(folder, error) from None
    return model


def build_buffers(model: "PreTrainedModel", folder: ModelFolder, stored: Container[int] = ()) -> None:
    """Build a model's buffers on the CPU, as transformers does after loading: by the model's own initialisation.

    Args:
        model: a model on the meta device.
        folder: where it comes from, for messages.
        stored: storages (`storage_id`) of those that come from the checkpoint; they stay on the meta device.

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
        "fetch the model anew, or pass --schedule resident"
    )


@dataclass(frozen=True)
class Dispatch:
    """How accelerate is to lay a model over devices, RAM and disk.

    Attributes:
        places: from names of modules of the part that makes token states to a device, `cpu` or `disk`.
        folder: for weights that cannot be left where they are.
    """

    places: Mapping[str, str]
    folder: Path


def load_model(
    folder: ModelFolder, dtype: torch.dtype, *, trust_remote_code: bool = False, dispatch: Dispatch | None = None
) -> "PreTrainedModel":
    """The part of a model that makes token states; of an encoder-decoder that is the encoder.

    Args:
        folder: the model folder.
        dtype: type of the weights; a family may keep some in float32.
        trust_remote_code: run code of the folder where transformers has none for this model.
        dispatch: where its modules are to lie; None for all of it on the CPU.

    Raises:
        ModelError: weights are missing, unreadable, of the wrong shape, or more than `config.json` has a place for; or
            code of the folder would have to be run without being trusted.
    """
    quiet()
    own_code = may_run_code(folder.path, folder.settings, trust_remote_code=trust_remote_code)
    weight_files(folder.path)
    try:
        with LOADER_LOCK:
            # Shapes that differ are let through to the report, because the error would not say which they are.
            model, report = _auto_class(folder).from_pretrained(
                str(folder.path),
                dtype=dtype,
                local_files_only=True,
                trust_remote_code=own_code,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
                device_map=None if dispatch is None else _whole_map(folder, dtype, dispatch, own_code=own_code),
                offload_folder=None if dispatch is None else str(dispatch.folder),
            )
    except failures() as error:
        raise ModelError(
            f"{folder.path}: config.json and weights cannot be loaded ({reason(error)}); fetch the model anew"
        ) from None
    check_report(report, model, folder.path)
    body = body_of(model)
    body.requires_grad_(False)
    body.eval()  # type: ignore[no-untyped-call]
    return body


def _whole_map(folder: ModelFolder, dtype: torch.dtype, dispatch: Dispatch, *, own_code: bool) -> dict[str, str]:
    """Places for the whole model that transformers loads: what is no part of the one that is run is left on disk."""
    model = bare_model(folder, dtype, trust_remote_code=own_code)
    body = body_of(model)
    prefix = next(f"{name}." if name else "" for name, module in model.named_modules() if module is body)
    places = {f"{prefix}{name}" if name else prefix.rstrip("."): place for name, place in dispatch.places.items()}
    others = [
        name for name, module in model.named_modules() if module is not body and not prefix.startswith(f"{name}.")
    ]
    top = [name for name in others if prefix and "." not in name]
    # A pooler that the checkpoint lacks has no file to be fetched from.
    kept = {name: "cpu" for name in places if POOLER in name.split(".")}
    return {**places, **kept, **dict.fromkeys(top, "disk")}


def _auto_class(folder: ModelFolder) -> Any:
    """Which of transformers' classes picks the model without a head."""
    from transformers import AutoModel, AutoModelForTextEncoding

    match folder.settings.get("model_type"):
        case "t5" | "mt5" | "umt5":
            return AutoModelForTextEncoding
        case _:
            return AutoModel


def body_of(model: "PreTrainedModel") -> "PreTrainedModel":
    """The part of a model without a head that makes token states: of an encoder-decoder the encoder."""
    body: PreTrainedModel = model.get_encoder() if model.config.is_encoder_decoder else model
    return body


def _body_names(model: "PreTrainedModel") -> re.Pattern[str]:
    """Names of weights in the part of a model that we read, with or without the prefix that models with a head add.

    Whatever else a checkpoint holds belongs to a head, be it of language modelling, of classification or another.
    """
    children = {name for name, _ in model.named_children()} - {POOLER}
    own = {name for name, _ in model.named_parameters(recurse=False)}
    prefix = f"({re.escape(model.base_model_prefix)}\\.)?" if model.base_model_prefix else ""
    return re.compile(rf"{prefix}({'|'.join(map(re.escape, sorted(children | own)))})(\..*)?")


def check_report(report: Mapping[str, Any], model: "PreTrainedModel", path: Path) -> None:
    """Refuse weights that differ in shape from the configuration's, are missing, or have no place in the model.

    Args:
        report: transformers' own, of loading them.
        model: what they were loaded into.
        path: the model folder, for messages.

    Raises:
        ModelError: there are such weights.
    """
    body, told = _body_names(model), read_loading_report(report)
    differing = sorted(entry for entry in told.mismatched if not entry[0].startswith(f"{POOLER}."))
    if differing:
        name, stored, expected = differing[0]
        raise ModelError(
            f"{path}: expected weights of the shapes that config.json asks for, found {len(differing)} others, among "
            f"them {name} of {stored} instead of {expected}; fetch the model anew"
        )
    missing = sorted(key for key in told.missing if not key.startswith(f"{POOLER}."))
    if missing:
        raise ModelError(f"{path}: the checkpoint lacks {len(missing)} weights, among them {missing[0]}; fetch it anew")
    homeless = sorted(key for key in told.unexpected if body.fullmatch(key) and not _NO_WEIGHTS.fullmatch(key))
    if homeless:
        raise ModelError(
            f"{path}: the checkpoint holds {len(homeless)} weights that config.json has no place for, among them "
            f"{homeless[0]}; fetch the model anew, or give it the config.json that it was saved with"
        )
