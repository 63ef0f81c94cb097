"""A language model's folder before its weights are loaded: geometry, family and identity."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tcf.common.manifest import digest
from tcf.config.extract import Pooling
from tcf.encoders.folder.sentence_encoder import SentenceEncoder

__all__ = ["OPT_BOS", "Family", "ModelFolder"]

Family = Literal[
    "opt", "gpt2", "gpt_neox", "llama", "qwen2", "mistral", "bert", "roberta", "t5", "words", "other"
]  # fmt: skip
OPT_BOS = 2  # default of OPT if config.json has none

# Entries of config.json about how a model was saved or is run, not about what it computes.
_INCIDENTAL = ("_name_or_path", "transformers_version", "torch_dtype", "dtype", "use_cache", "architectures")


@dataclass(frozen=True)
class ModelFolder:
    """A local model folder in Hugging Face layout, or a file of word vectors.

    Attributes:
        path: the folder or file.
        settings: its `config.json`.
        family: the model family; `other` for all other models that transformers knows.
        width: width of token states.
        max_positions: maximum length of a token sequence; None if unlimited.
        n_blocks: number of transformer blocks, for an encoder-decoder of the encoder; 0 if it has none.
        poolings: default poolings, whose vectors are concatenated; nearly always one.
        vocabulary: size of the vocabulary; None if unknown.
        code: digest of the folder's own code if that is run, otherwise empty.
        sentence: what a sentence encoder's folder says beside the language model; None for other models.
    """

    path: Path
    settings: dict[str, Any]
    family: Family
    width: int
    max_positions: int | None
    n_blocks: int
    poolings: tuple[Pooling, ...]
    vocabulary: int | None = None
    code: str = ""
    sentence: SentenceEncoder | None = None

    @property
    def architecture(self) -> str:
        """Digest of the entries of `config.json` that determine what the model computes, and of its own code."""
        entries = {key: value for key, value in self.settings.items() if key not in _INCIDENTAL}
        return digest([entries, self.code] if self.code else entries)

    @property
    def bos_token_id(self) -> int:
        """The first token of every OPT sequence (study, section on text encoders: `</s>`, id 2)."""
        return int(self.settings.get("bos_token_id", OPT_BOS))
