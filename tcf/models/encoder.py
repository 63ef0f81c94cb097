"""A language model with its weights, ready to read token ids.

Legend: B texts, T tokens, D width.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from tcf.errors import ModelError
from tcf.models.failures import failures, reason
from tcf.models.folder import ModelFolder, weight_files

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["Encoder", "load_encoder", "resolve_dtype"]

# Names of weights in the part of a model that we read, with the prefix that a model with a head gives them. Whatever
# else a checkpoint holds belongs to a head: of language modelling, of classification or of a task of its own.
_BODY = re.compile(r"((model|bert)\.)?(decoder|embeddings|encoder)\.")
# What older versions saved within it although it is not learned, and the language-modelling head of OPT's first files.
_NO_WEIGHTS = (".position_ids", ".token_type_ids", "decoder.version", "decoder.output_projection.weight")


@dataclass(frozen=True)
class Encoder:
    """A loaded language model in evaluation mode.

    Attributes:
        folder: where it comes from.
        model: transformers' own model, without a language-modelling head.
        device: where its weights are.
    """

    folder: ModelFolder
    model: "PreTrainedModel"
    device: torch.device

    def token_states(self, tokens_BT: Tensor) -> Tensor:
        """Last hidden states, after the final norm where there is one, (B, T, D).

        All texts have the same length, so there is neither padding nor a mask; no key-value cache is built.
        OPT-350M gives its states before the projection to the embedding's width.

        Args:
            tokens_BT: token ids, (B, T) int64, on the encoder's device.
        """
        match self.folder.family:
            case "opt":
                output = self.model(input_ids=tokens_BT, use_cache=False)
            case "bert":
                output = self.model(input_ids=tokens_BT)
        states: Tensor = output.last_hidden_state
        return states


def resolve_dtype(
    name: Literal["auto", "float32", "bfloat16", "float16"], folder: ModelFolder, device: torch.device
) -> torch.dtype:
    """The type to compute in; `auto` is float32 on CPU, on CUDA the checkpoint's own 16-bit type, else bfloat16."""
    match name:
        case "float32":
            return torch.float32
        case "bfloat16":
            return torch.bfloat16
        case "float16":
            return torch.float16
        case "auto":
            if device.type == "cpu":
                return torch.float32
            stored = folder.settings.get("dtype", folder.settings.get("torch_dtype"))
            return torch.float16 if stored == "float16" else torch.bfloat16


def load_encoder(folder: ModelFolder, dtype: torch.dtype, device: torch.device) -> Encoder:
    """Load a model's weights; every weight must come from the checkpoint, and every one of its body must have a place.

    Raises:
        ModelError: weights are missing, unreadable, of the wrong shape, or more than `config.json` has a place for.
    """
    from transformers import AutoModel
    from transformers.utils import logging

    # Its bar would go into log files, and what its report says is checked below.
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    weight_files(folder.path)
    try:
        # Shapes that differ are let through to the report, because the error would not say which they are.
        model, report = AutoModel.from_pretrained(
            str(folder.path), dtype=dtype, local_files_only=True, output_loading_info=True, ignore_mismatched_sizes=True
        )
    except failures() as error:
        raise ModelError(
            f"{folder.path}: config.json and weights cannot be loaded ({reason(error)}); fetch the model anew"
        ) from None
    _check_report(report, folder.path)
    _leave_out_unused(model, folder)
    return Encoder(folder, model.eval().requires_grad_(False).to(device), device)


def _check_report(report: Mapping[str, Any], path: Path) -> None:
    """Refuse weights that differ in shape from the configuration's, are missing, or have no place in the model."""
    differing = sorted(report["mismatched_keys"])
    if differing:
        name, stored, expected = differing[0]
        raise ModelError(
            f"{path}: expected weights of the shapes that config.json asks for, found {len(differing)} others, among "
            f"them {name} of {tuple(stored)} instead of {tuple(expected)}; fetch the model anew"
        )
    missing = sorted(key for key in report["missing_keys"] if not key.startswith("pooler."))
    if missing:
        raise ModelError(f"{path}: the checkpoint lacks {len(missing)} weights, among them {missing[0]}; fetch it anew")
    homeless = sorted(key for key in report["unexpected_keys"] if _BODY.match(key) and not key.endswith(_NO_WEIGHTS))
    if homeless:
        raise ModelError(
            f"{path}: the checkpoint holds {len(homeless)} weights that config.json has no place for, among them "
            f"{homeless[0]}; fetch the model anew, or give it the config.json that it was saved with"
        )


def _leave_out_unused(model: Any, folder: ModelFolder) -> None:
    """Drop what comes after the states that we pool."""
    match folder.family:
        case "opt":
            model.decoder.project_out = None
        case "bert":
            model.pooler = None
