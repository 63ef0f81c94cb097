"""A language model with its weights, ready to read token ids.

Legend: B texts, T tokens, D width.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from tcf.errors import ModelError
from tcf.models.folder import ModelFolder, weight_files

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["Encoder", "load_encoder", "resolve_dtype"]


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
    """Load a model's weights; every weight must come from the checkpoint.

    Raises:
        ModelError: weights are missing, unreadable or of the wrong shape.
    """
    from safetensors import SafetensorError
    from transformers import AutoModel
    from transformers.utils import logging

    # Its bar would go into log files, and what its report says is checked below.
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    weight_files(folder.path)
    try:
        model, report = AutoModel.from_pretrained(
            str(folder.path), dtype=dtype, local_files_only=True, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(f"{folder.path}: weights cannot be loaded ({reason}); fetch the model anew") from None
    missing = sorted(key for key in report["missing_keys"] if not key.startswith("pooler."))
    if missing:
        raise ModelError(
            f"{folder.path}: the checkpoint lacks {len(missing)} weights, among them {missing[0]}; fetch it anew"
        )
    _leave_out_unused(model, folder)
    return Encoder(folder, model.eval().requires_grad_(False).to(device), device)


def _leave_out_unused(model: Any, folder: ModelFolder) -> None:
    """Drop what comes after the states that we pool."""
    match folder.family:
        case "opt":
            model.decoder.project_out = None
        case "bert":
            model.pooler = None
