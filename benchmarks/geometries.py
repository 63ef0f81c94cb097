"""OPT models of the published sizes with random weights, saved with a real tokenizer, for benchmarks."""

from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import processors
from transformers import AutoTokenizer, OPTConfig, OPTModel, PreTrainedTokenizerFast

from tcf.encoders.folder.local_model import local_model
from tcf.encoders.folder.opt_sizes import OPT_SIZES, OptSize

__all__ = ["GEOMETRIES", "Geometry", "geometry_config", "geometry_tokenizer", "save_model"]


@dataclass(frozen=True)
class Geometry:
    """Size of an OPT model (OPT paper, table 1).

    Attributes:
        name: name of the size in OPT.
        blocks: number of transformer blocks.
        heads: number of attention heads in each block.
        width: width of a token state.
    """

    name: str
    blocks: int
    heads: int
    width: int

    @property
    def products(self) -> list[tuple[int, int, int]]:
        """Matrix products of a block per token: inputs, outputs, number of products."""
        return [(self.width, self.width, 4), (self.width, 4 * self.width, 1), (4 * self.width, self.width, 1)]

    @property
    def flops(self) -> int:
        """FLOPs of the matrix products per token."""
        return sum(2 * k * n * times for k, n, times in self.products) * self.blocks


# OPT-350M is left out, because its norms and widths differ from those of the other sizes.
GEOMETRIES = tuple(Geometry(size.name, size.blocks, size.heads, size.width) for size in OPT_SIZES if not size.post_norm)


def save_model(geometry: Geometry, folder: Path, dtype: torch.dtype, device: torch.device) -> None:
    """Save a model of a geometry with random weights; its tokenizer is SmolLM2's, with OPT's first token before it."""
    tokenizer = geometry_tokenizer()
    config = geometry_config(geometry, tokenizer)
    torch.manual_seed(0)
    torch.set_default_dtype(dtype)
    try:
        with device:
            model = OPTModel(config)
    finally:
        torch.set_default_dtype(torch.float32)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def geometry_config(geometry: Geometry, tokenizer: PreTrainedTokenizerFast) -> OPTConfig:
    """The configuration of a geometry with a tokenizer's special tokens."""
    size = OptSize(geometry.name, geometry.blocks, geometry.heads, geometry.width, geometry.width)
    own = {"bos_token_id": tokenizer.bos_token_id, "pad_token_id": tokenizer.pad_token_id}
    return OPTConfig(**{**size.settings, **own})


def geometry_tokenizer() -> PreTrainedTokenizerFast:
    """SmolLM2's tokenizer with OPT's first token before every text."""
    own = AutoTokenizer.from_pretrained(local_model("smollm2-135m"))
    backend = own.backend_tokenizer
    first = own.convert_ids_to_tokens(0)
    backend.post_processor = processors.TemplateProcessing(single=f"{first} $A", special_tokens=[(first, 0)])
    pad = own.convert_ids_to_tokens(1)
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token=first, pad_token=pad)  # type: ignore[no-untyped-call]
