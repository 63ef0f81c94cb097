"""Texts to token ids, without padding: one array of tokens and one of offsets."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tcf.errors import ConfigError, ModelError
from tcf.manifest import digest
from tcf.models.failures import failures, reason
from tcf.models.folder import ModelFolder

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

__all__ = ["TokenSequences", "check_max_tokens", "load_tokenizer", "tokenize", "tokenizer_digest"]

_CHUNK = 16_384
# The files that a vocabulary is read from; without one, transformers makes a tokenizer that knows no word.
_VOCABULARIES = (("tokenizer.json",), ("vocab.txt",), ("vocab.json", "merges.txt"))


@dataclass(frozen=True)
class TokenSequences:
    """Token ids of n texts: text i has tokens[offsets[i]:offsets[i + 1]].

    Attributes:
        tokens: (nnz,) int32.
        offsets: (n + 1,) int64.
        cut: how many texts were longer than the limit.
    """

    tokens: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]
    cut: int

    def __len__(self) -> int:
        """Number of texts."""
        return len(self.offsets) - 1

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Tokens a text, (n,)."""
        return np.diff(self.offsets)

    def block(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Texts of one and the same length as a matrix of token ids, (len(rows), length)."""
        length = int(self.offsets[rows[0] + 1] - self.offsets[rows[0]])
        positions = self.offsets[rows][:, None] + np.arange(length)
        return np.asarray(self.tokens[positions], dtype=np.int64)


def load_tokenizer(folder: ModelFolder) -> "PreTrainedTokenizerFast":
    """Load a model folder's tokenizer.

    Raises:
        ModelError: the folder has none, or for OPT one that does not put `</s>` first.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    if not any(all((folder.path / name).is_file() for name in names) for names in _VOCABULARIES):
        expected = ", ".join(" + ".join(names) for names in _VOCABULARIES)
        raise ModelError(f"{folder.path}: expected a tokenizer ({expected}), found none; add the tokenizer's files")
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder.path), local_files_only=True)
    except failures() as error:
        raise ModelError(f"{folder.path}: no usable tokenizer ({reason(error)}); add the tokenizer's files") from None
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise ModelError(f"{folder.path}: expected a fast tokenizer (tokenizer.json), found a slow one; convert it")
    if folder.family == "opt" and tokenizer("")["input_ids"] != [folder.bos_token_id]:
        raise ModelError(
            f"{folder.path}: OPT reads token {folder.bos_token_id} first, but this tokenizer does not add it; "
            'set "add_bos_token": true in tokenizer_config.json'
        )
    return tokenizer


def tokenizer_digest(tokenizer: "PreTrainedTokenizerFast") -> str:
    """Digest of all that decides which token ids a text becomes, however the tokenizer was saved."""
    backend = tokenizer.backend_tokenizer
    backend.no_padding()
    backend.no_truncation()
    return digest(backend.to_str())


def check_max_tokens(folder: ModelFolder, max_tokens: int) -> None:
    """Refuse a limit beyond what a model can read.

    Raises:
        ConfigError: `max_tokens` is more than the model's positions.
    """
    if max_tokens > folder.max_positions:
        raise ConfigError(
            f"--max-tokens: expected at most {folder.max_positions}, which {folder.path} can read, found {max_tokens}"
        )


def tokenize(
    tokenizer: "PreTrainedTokenizerFast", texts: Sequence[str], *, folder: ModelFolder, max_tokens: int
) -> TokenSequences:
    """Token ids of every text, special tokens included; a text that is too long keeps its front.

    Args:
        tokenizer: the model's.
        texts: n texts, as written.
        folder: the model's folder, which knows the longest sequence it can read.
        max_tokens: longest sequence, special tokens included.

    Raises:
        ConfigError: `max_tokens` is more than the model can read.
        ModelError: the tokenizer knows tokens that the model does not.
    """
    check_max_tokens(folder, max_tokens)
    backend = tokenizer.backend_tokenizer
    backend.no_padding()
    backend.enable_truncation(max_tokens)
    parts: list[npt.NDArray[np.int32]] = []
    lengths: list[int] = []
    cut = 0
    for start in range(0, len(texts), _CHUNK):
        encoded = backend.encode_batch_fast(list(texts[start : start + _CHUNK]), add_special_tokens=True)
        lengths += [len(entry) for entry in encoded]
        cut += sum(bool(entry.overflowing) for entry in encoded)
        parts += [np.concatenate([np.asarray(entry.ids, np.int32) for entry in encoded])]
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    tokens = np.concatenate([np.zeros(0, np.int32), *parts])
    known = int(folder.settings.get("vocab_size", np.iinfo(np.int32).max))
    if tokens.max(initial=0) >= known:
        raise ModelError(
            f"{folder.path}: expected tokens below {known}, the model's vocabulary, found {tokens.max()}; "
            "add the tokenizer that belongs to the model"
        )
    return TokenSequences(tokens, offsets, cut)
