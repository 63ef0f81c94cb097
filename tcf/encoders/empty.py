"""A model without its weights: parameters on the meta device, where they take no memory, and buffers on the CPU."""

import re
from collections.abc import Container
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tcf.common.errors import ModelError
from tcf.encoders.failures import failures, quiet, reason
from tcf.encoders.folder.model_config import may_run_code, read_configuration
from tcf.encoders.folder.model_folder import ModelFolder
from tcf.encoders.loader_lock import LOADER_LOCK
from tcf.encoders.loading import auto_class, body_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["bare_model", "build_buffers", "empty_model", "storage_of"]


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
    _set_types(model, dtype)
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
    from transformers.initialization import meta_device_safe_creation_ops

    quiet()
    own_code = may_run_code(folder.path, folder.settings, trust_remote_code=trust_remote_code)
    config = read_configuration(folder.path, folder.settings, trust_remote_code=trust_remote_code)
    try:
        with LOADER_LOCK, torch.device("meta"), meta_device_safe_creation_ops():
            model: PreTrainedModel = auto_class(folder).from_config(config, dtype=dtype, trust_remote_code=own_code)
    except failures() as error:
        raise _cannot_build(folder, error) from None
    return model


def build_buffers(model: "PreTrainedModel", folder: ModelFolder, stored: Container[int] = ()) -> None:
    """Build a model's buffers on the CPU, as transformers does after loading: by the model's own initialisation.

    Args:
        model: a model on the meta device.
        folder: where it comes from, for messages.
        stored: storages (`storage_of`) of those that come from the checkpoint; they stay on the meta device.

    Raises:
        ModelError: the model's own initialisation fails.
    """
    for module in model.modules():
        for name, buffer in module.named_buffers(recurse=False, remove_duplicate=False):
            if buffer.is_meta and storage_of(buffer) not in stored:
                setattr(module, name, torch.empty_like(buffer, device="cpu"))
                module._is_hf_initialized = False  # type: ignore[assignment]
    try:
        # Only modules that are marked so are initialised; of these, parameters on the meta device take no numbers.
        with LOADER_LOCK:
            model.initialize_weights()  # type: ignore[no-untyped-call]
    except failures() as error:
        raise _cannot_build(folder, error) from None


def storage_of(tensor: Tensor) -> int:
    """What tells a tensor's storage from others, also on the meta device, while that storage lives."""
    return int(tensor.untyped_storage()._cdata)


def _set_types(model: "PreTrainedModel", dtype: torch.dtype) -> None:
    """Give the parameters that transformers keeps in float32 that type."""
    for pattern, kept in model._get_dtype_plan(dtype).items():
        place = re.compile(pattern.replace("*", ".*"))
        for name, parameter in model.named_parameters():
            if place.search(name):
                parameter.data = parameter.data.to(kept)


def _cannot_build(folder: ModelFolder, error: Exception) -> ModelError:
    return ModelError(
        f"{folder.path / 'config.json'}: transformers cannot build this model without its weights ({reason(error)}); "
        "fetch the model anew, or pass --schedule resident"
    )
