"""The quantisation method that a model's `config.json` names."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tcf.common.errors import ModelError, value_words

__all__ = ["Method", "Quantisation", "quantisation_of", "refused_quantisation"]

Method = Literal["fp8", "compressed-tensors", "gptq", "awq", "bitsandbytes"]

# Models whose linear layers store (inputs, outputs). Quantisers store (outputs, inputs), and for a square matrix
# nothing says which of them a file has.
_TRANSPOSED = ("gpt2", "openai-gpt", "decision_transformer", "imagegpt")


@dataclass(frozen=True)
class Quantisation:
    """How the weights of a checkpoint are quantised.

    Attributes:
        method: the method, whose weights can be dequantised.
        entries: the entries of `quantization_config`.
        file: the `config.json`, for messages.
    """

    method: Method
    entries: Mapping[str, Any]
    file: Path


def quantisation_of(path: Path, settings: Mapping[str, Any]) -> Quantisation | None:
    """Return how a model's weights are quantised; None if `config.json` names no quantisation.

    Args:
        path: the model folder.
        settings: its `config.json`.

    Raises:
        ModelError: the weights of this method cannot be dequantised.
    """
    file = path / "config.json"
    # llm-compressor's older versions named the entry after the compression.
    entries = settings.get("quantization_config") or settings.get("compression_config")
    if not entries:
        return None
    if not isinstance(entries, dict):
        raise ModelError(
            f"{file}: expected a JSON object 'quantization_config', found {value_words(entries)}; download it again"
        )
    method = _method(file, entries)
    if settings.get("model_type") in _TRANSPOSED:
        raise refused_quantisation(file, method, f"with model_type {settings['model_type']!r}")
    return Quantisation(method, entries, file)


def _method(file: Path, entries: Mapping[str, Any]) -> Method:
    named = entries.get("quant_method")
    match named:
        case "fp8" | "fbgemm_fp8":
            return "fp8"
        case "compressed-tensors":
            return "compressed-tensors"
        case "gptq" | "awq" | "bitsandbytes" as found:
            method: Method = found
            return method
        case None if entries.get("load_in_4bit") or entries.get("load_in_8bit"):
            return "bitsandbytes"  # as transformers reads files without a name
        case None if "config_groups" in entries:
            return "compressed-tensors"
        case None:
            raise refused_quantisation(file, "an unnamed method", "(no quant_method)")
        case _:
            raise refused_quantisation(file, str(named)[:40])


def refused_quantisation(file: Path, method: str, detail: str = "") -> ModelError:
    """Return the error for weights that cannot be dequantised.

    Args:
        file: the file that says how they are quantised.
        method: name of the method.
        detail: what of it is not supported.
    """
    found = f"{method} {detail}".strip()
    return ModelError(
        f"{file}: expected weights in full precision, or quantised by a method that tcf can undo, found {found}; use "
        "the model that was quantised, or save its dequantised weights without quantization_config"
    )
