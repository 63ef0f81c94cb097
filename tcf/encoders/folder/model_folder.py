"""A language model's folder before its weights are loaded: geometry, family, and what identifies it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tcf.common.manifest import digest
from tcf.config.extract import Pooling

__all__ = ["OPT_BOS", "Family", "ModelFolder"]

Family = Literal[
    "opt", "gpt2", "gpt_neox", "llama", "qwen2", "mistral", "bert", "roberta", "t5", "words", "other"
]  # fmt: skip
OPT_BOS = 2  # of OPT, where config.json does not say

# Entries of config.json that say how a model was saved or is to be run, not what it computes.
_INCIDENTAL = ("_name_or_path", "transformers_version", "torch_dtype", "dtype", "use_cache", "architectures")


@dataclass(frozen=True)
class ModelFolder:
    """A local model folder in Hugging Face layout, or a file of word vectors.

    Attributes:
        path: the folder or file.
        settings: its `config.json`.
        family: which model family it is of; `other` for those that transformers knows beside the named ones.
        width: numbers a token state.
        max_positions: longest token sequence that the model can read; None where it sets no limit.
        n_blocks: transformer blocks, of an encoder-decoder those of the encoder; 0 where there are none.
        pooling: how this encoder's token states become one vector unless told otherwise; None for a sentence encoder
            that was trained with a pooling which is not supported.
        vocabulary: token ids are below it; None where that is not known.
        code: digest of the folder's own code where that is run, else empty.
    """

    path: Path
    settings: dict[str, Any]
    family: Family
    width: int
    max_positions: int | None
    n_blocks: int
    pooling: Pooling | None
    vocabulary: int | None = None
    code: str = ""

    @property
    def architecture(self) -> str:
        """Digest of the entries of `config.json` that decide what the model computes, and of code of its own."""
        entries = {key: value for key, value in self.settings.items() if key not in _INCIDENTAL}
        return digest([entries, self.code] if self.code else entries)

    @property
    def bos_token_id(self) -> int:
        """The token that OPT reads first (study, section on text encoders: `</s>`, id 2)."""
        return int(self.settings.get("bos_token_id", OPT_BOS))
