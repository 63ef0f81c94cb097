"""Converting a GGUF file's model and tokenizer to a folder in Hugging Face layout with plain weights.

Transformers reads and dequantises the file. Added here are checks that the folder has the complete model, and the
choice of the smallest dtype that loses nothing.
"""

import contextlib
import importlib.metadata
import io
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from tcf.common.devices import dtype_name
from tcf.common.errors import ModelError, value_words
from tcf.common.progress import Progress
from tcf.encoders.convert.gguf_header import check_gguf_header
from tcf.encoders.convert.gguf_tokenizer import load_gguf_tokenizer
from tcf.encoders.failures import failures, quiet, reason
from tcf.encoders.transformers_internals import LOADER_LOCK, read_loading_report

if TYPE_CHECKING:
    from gguf import GGUFReader
    from transformers import PreTrainedModel

__all__ = ["smallest_type", "write_gguf_model"]

_PLAIN = {"F32", "F16", "BF16"}
# Relative error of rounding to float16 in its normal range. The numbers of a quantised file are a float16 scale times a
# small integer, and differ more than this from the original weights.
_FLOAT16_ROUNDING = 2.0**-11
_FETCH = "download it again, or use the model's own safetensors"


def write_gguf_model(file: Path, into: Path) -> dict[str, Any]:
    """Write config.json, weights and tokenizer of a GGUF file into an existing folder.

    This needs memory for twice the model in float32.

    Returns:
        Metadata for the manifest: dtype and number of the weights, and the number of tensors of each GGUF type.

    Raises:
        ModelError: the file is damaged, transformers cannot load its model, or a part of it would be left out.
        OSError: the folder cannot be written.
    """
    with Progress(f"convert {file.name}", 3, "steps") as progress, tempfile.TemporaryDirectory(prefix="tcf-") as folder:
        # Alone in a folder, so that no other file is mistaken for a part of the model.
        Path(folder, "model.gguf").symlink_to(file.absolute())
        with _reading(file):
            reader = _open(file)
            tokenizer = load_gguf_tokenizer(Path(folder), reader, file)
            progress.advance(1, "tokenizer")
            model, report = _load(Path(folder))
            progress.advance(1, "model")
        _check_whole(model, report, reader, file)
        types = Counter(tensor.tensor_type.name for tensor in reader.tensors)
        dtype = smallest_type(model.state_dict(), types)
        _save(model.to(dtype=dtype), into)
        tokenizer.save_pretrained(into)
        progress.advance(1, "written")
    return {
        "dtype": dtype_name(dtype),
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "tensor_types": dict(sorted(types.items())),
        "gguf": importlib.metadata.version("gguf"),
    }


def smallest_type(weights: Mapping[str, Tensor], types: Mapping[str, int]) -> torch.dtype:
    """Return the smallest dtype for the weights of a GGUF file.

    Plain weights are kept exactly: in 16 bits if all of them fit, otherwise in float32. Quantised weights are rounded
    to float16, which changes them far less than the quantisation did; if they exceed its range, they are kept in
    float32.

    Args:
        weights: the model's, in float32.
        types: how many tensors of the file are of which GGUF type.
    """
    candidates: tuple[torch.dtype, ...]
    match types:
        case _ if not types.keys() <= _PLAIN:
            candidates, tolerance = (torch.float16,), _FLOAT16_ROUNDING
        case {"BF16": _}:
            candidates, tolerance = (torch.bfloat16, torch.float16), 0.0
        case _:
            candidates, tolerance = (torch.float16, torch.bfloat16), 0.0
    for dtype in candidates:
        if all(_is_kept(weight, dtype, tolerance) for weight in weights.values()):
            return dtype
    return torch.float32


def _is_kept(weight: Tensor, dtype: torch.dtype, tolerance: float) -> bool:
    """Whether rounding changes a tensor by at most this relative error; an overflow exceeds any."""
    change = torch.linalg.vector_norm(weight.to(dtype).float() - weight, dtype=torch.float64)
    return bool(change <= tolerance * torch.linalg.vector_norm(weight, dtype=torch.float64))


@contextmanager
def _reading(file: Path) -> Iterator[None]:
    """Turn any failure inside the block into an error about the file."""
    try:
        yield
    except failures() as error:
        raise ModelError(
            f"{file}: expected a complete GGUF file of a model that transformers can load, found one that cannot be "
            f"read ({reason(error)}); {_FETCH}"
        ) from None


def _open(file: Path) -> "GGUFReader":
    """Open the file's entries and tensors, memory-mapped, and refuse what transformers would silently ignore."""
    from gguf import GGUFReader

    check_gguf_header(file)
    reader = GGUFReader(file)
    architecture = reader.fields["general.architecture"].contents()
    scaling = reader.fields.get(f"{architecture}.rope.scaling.type")
    if scaling is not None and scaling.contents() != "none":
        raise ModelError(
            f"{file}: expected plain rotary positions, found {value_words(scaling.contents())} scaling, which cannot "
            "be converted from GGUF; use the model's own safetensors"
        )
    return reader


def _load(folder: Path) -> tuple[Any, Mapping[str, Any]]:
    """Load the model in float32, with transformers' report of missing and unexpected weights."""
    from transformers import AutoModelForCausalLM, GgufConfig

    quiet()
    # The progress bar of the reader cannot be turned off, and would end up in log files.
    with LOADER_LOCK, contextlib.redirect_stderr(io.StringIO()):
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            str(folder),
            gguf_file="model.gguf",
            quantization_config=GgufConfig(dequantize=True),
            dtype=torch.float32,
            local_files_only=True,
            output_loading_info=True,
        )
    model, report = loaded
    return model.eval().requires_grad_(False), report


def _check_whole(model: "PreTrainedModel", report: Mapping[str, Any], reader: "GGUFReader", file: Path) -> None:
    """Refuse a model that lacks weights, or that does not have all numbers of the file."""
    lacking = sorted(read_loading_report(report).missing)
    if lacking:
        raise ModelError(f"{file}: lacks {len(lacking)} weights of its model, such as {lacking[0]}; {_FETCH}")
    placed = sum({weight.data_ptr(): weight.numel() for weight in model.state_dict().values()}.values())
    held = sum(int(tensor.n_elements) for tensor in reader.tensors)
    if placed != held:
        factors = any(tensor.name == "rope_freqs.weight" for tensor in reader.tensors)
        which = " (rope_freqs.weight, its scaling of rotary positions, cannot be converted)" if factors else ""
        raise ModelError(
            f"{file}: expected a model with all {held} numbers of the file, found one with {placed}{which}; use the "
            "model's own safetensors"
        )


def _save(model: "PreTrainedModel", into: Path) -> None:
    from safetensors import SafetensorError

    try:
        model.save_pretrained(into)
    except SafetensorError as error:
        raise OSError(" ".join(str(error).split())) from None
    for file in into.glob("*.safetensors"):
        file.chmod((into / "config.json").stat().st_mode)  # safetensors makes them readable by their owner only
