"""Tokenizing texts without padding: one array of token ids and one of offsets."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from operator import attrgetter, itemgetter
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from tcf.common.errors import ConfigError, ModelError, TcfError, value_words
from tcf.common.manifest import digest
from tcf.common.ragged import offsets_from, spans
from tcf.encoders.folder.model_folder import ModelFolder

__all__ = ["TextTokenizer", "TokenSequences", "check_max_tokens", "count_prompt_tokens", "tokenize"]

_CHUNK = 16_384
_PROBE = "a 1."  # a text for which every tokenizer returns at least one token
Tokens = npt.NDArray[np.int32]
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class TokenSequences:
    """Token ids of n texts: text i has tokens[offsets[i]:offsets[i + 1]].

    Attributes:
        tokens: (nnz,) int32.
        offsets: (n + 1,) int64.
        cut: number of texts that were truncated.
        unknown: number of tokens left out because the model has no vector for them.
    """

    tokens: Tokens
    offsets: Counts
    cut: int
    unknown: int = 0

    def __len__(self) -> int:
        """Number of texts."""
        return len(self.offsets) - 1

    @property
    def lengths(self) -> Counts:
        """Tokens per text, (n,)."""
        return np.diff(self.offsets)

    def block(self, rows: Counts) -> npt.NDArray[np.int64]:
        """Return texts of equal length as a matrix of token ids, (len(rows), length)."""
        length = int(self.offsets[rows[0] + 1] - self.offsets[rows[0]])
        positions = self.offsets[rows][:, None] + np.arange(length)
        return np.asarray(self.tokens[positions], dtype=np.int64)

    def take(self, rows: Counts) -> "TokenSequences":
        """Return these sequences in the given order; `cut` and `unknown` are 0."""
        lengths = self.lengths[rows]
        return TokenSequences(self.tokens[spans(self.offsets[rows], lengths)], offsets_from(lengths), 0)

    @staticmethod
    def concatenate(parts: Sequence["TokenSequences"]) -> "TokenSequences":
        """Return all sequences of the parts, in order."""
        tokens = np.concatenate([np.zeros(0, np.int32), *(part.tokens for part in parts)])
        offsets = offsets_from(np.concatenate([np.zeros(0, np.int64), *(part.lengths for part in parts)]))
        return TokenSequences(tokens, offsets, sum(part.cut for part in parts), sum(part.unknown for part in parts))


@dataclass(frozen=True)
class TextTokenizer:
    """A model's tokenizer; it is immutable, so threads may share it.

    Attributes:
        backend: the tokenizer, without truncation or padding.
        folder: the model that it belongs to.
        unknown: id of words without a vector, which are dropped from sequences and counted; None if every id has one.
        keeps_end: whether a text that is too long loses its start instead of its end.
        special: ids of special tokens; only sentence encoders need them.
    """

    backend: Tokenizer
    folder: ModelFolder
    unknown: int | None = None
    keeps_end: bool = False
    special: frozenset[int] = frozenset()

    @property
    def digest(self) -> str:
        """Digest of everything that determines the token ids of a text, independent of how the tokenizer was saved."""
        return digest(self.backend.to_str())


def check_max_tokens(folder: ModelFolder, max_tokens: int) -> None:
    """Refuse a limit that exceeds the model's maximum sequence length.

    Raises:
        ConfigError: `max_tokens` exceeds the number of the model's positions.
        ModelError: so does the limit of a sentence encoder's folder.
    """
    if folder.max_positions is not None and max_tokens > folder.max_positions:
        expected = f"at most {folder.max_positions}, the positions of {folder.path}"
        raise _limit_error(folder, max_tokens, expected, f"pass --max-tokens {folder.max_positions} or less")


def _limit_error(folder: ModelFolder, max_tokens: int, expected: str, remedy: str) -> TcfError:
    """Return the error for a limit that does not suit the model, naming the folder's own if it is the one that holds.

    Args:
        folder: the model.
        max_tokens: the limit that holds.
        expected: what was expected, in words.
        remedy: what to do about the folder's own limit.
    """
    if folder.sentence is not None and folder.sentence.max_tokens == max_tokens:
        return ModelError(f"{folder.sentence.limited_by}: expected {expected}, found {max_tokens}; {remedy}")
    return ConfigError(f"--max-tokens: expected {expected}, found {max_tokens}")


def tokenize(tokenizer: TextTokenizer, texts: Sequence[str], *, max_tokens: int) -> TokenSequences:
    """Return the token ids of every text, special tokens included; of a text that is too long one end is cut off.

    Args:
        tokenizer: the model's tokenizer.
        texts: n raw texts.
        max_tokens: maximum length, special tokens included; unknown words do not count.

    Raises:
        ConfigError: `max_tokens` exceeds the model's positions, or is too small for the special tokens.
        ModelError: the folder's own limit is the one that does not fit, or the tokenizer has token ids beyond the
            model's vocabulary.
    """
    check_max_tokens(tokenizer.folder, max_tokens)
    outer = _outer_tokens(tokenizer, max_tokens)
    parts = [
        _tokenized(tokenizer, list(texts[start : start + _CHUNK]), max_tokens, outer)
        for start in range(0, len(texts), _CHUNK)
    ]
    sequences = TokenSequences.concatenate(parts)
    _check_known(sequences.tokens, tokenizer.folder)
    return sequences


def count_prompt_tokens(tokenizer: TextTokenizer, prompt: str, max_tokens: int) -> int:
    """Return how many tokens of a text belong to the prompt before it, counted as sentence-transformers does.

    These are the tokens of the prompt alone, with the special tokens before it and without the one after it.

    Args:
        tokenizer: the model's tokenizer.
        prompt: the prompt; an empty one has no tokens.
        max_tokens: maximum length of a text.

    Raises:
        ConfigError: a text of `max_tokens` has no token besides these.
        ModelError: so has a text of the folder's own limit.
    """
    if not prompt:
        return 0
    encoded = tokenizer.backend.encode(prompt)
    if len(encoded) >= max_tokens:
        expected = f"more than {len(encoded)}, the tokens of the prompt {value_words(prompt)}, which are not pooled"
        raise _limit_error(tokenizer.folder, max_tokens, expected, "pass a shorter --prefix, or choose another model")
    # Also a special token that the prompt itself ends with, as sentence-transformers cannot tell them apart.
    return len(encoded) - (not tokenizer.special.isdisjoint(encoded.ids[-1:]))


def _outer_tokens(tokenizer: TextTokenizer, max_tokens: int) -> Tokens:
    """Return the special tokens at the end of every text that is cut, which a truncated text also has.

    Raises:
        ConfigError: there are more special tokens than `max_tokens`.
        ModelError: so there are than the folder's own limit.
    """
    encoded = tokenizer.backend.encode(_PROBE)
    special = np.asarray(encoded.special_tokens_mask, bool)
    if np.count_nonzero(special) > max_tokens:
        folder = tokenizer.folder
        expected = (
            f"at least {np.count_nonzero(special)}, the number of special tokens that {folder.path} adds to a text"
        )
        raise _limit_error(folder, max_tokens, expected, "correct it, or choose another model")
    if tokenizer.keeps_end:
        return np.asarray(encoded.ids[: int(np.argmin(special))], np.int32)
    end = len(special) - int(np.argmin(special[::-1])) if len(special) else 0
    return np.asarray(encoded.ids[end:], np.int32)


def _tokenized(tokenizer: TextTokenizer, texts: list[str], max_tokens: int, outer: Tokens) -> TokenSequences:
    """Tokenize a chunk of texts, without a Python loop over the texts."""
    encoded = tokenizer.backend.encode_batch_fast(texts, add_special_tokens=True)
    lengths = np.fromiter(map(len, encoded), np.int64, len(encoded))
    ids: Any = map(attrgetter("ids"), encoded)
    if tokenizer.unknown is None:
        # Tokens that will be cut off are not copied.
        kept = slice(-max_tokens, None) if tokenizer.keeps_end else slice(max_tokens)
        tokens = _flat(map(itemgetter(kept), ids), np.minimum(lengths, max_tokens))
        unknown = 0
    else:
        tokens = _flat(ids, lengths)
        known = tokens != tokenizer.unknown
        unknown = int(np.count_nonzero(~known))
        lengths = _sums(known, lengths)
        tokens = tokens[known]
        tokens = tokens[spans(np.zeros(len(lengths), np.int64), lengths) < max_tokens]
    offsets = offsets_from(np.minimum(lengths, max_tokens))
    cut = lengths > max_tokens
    starts = offsets[:-1][cut] if tokenizer.keeps_end else offsets[1:][cut] - len(outer)
    tokens[starts[:, None] + np.arange(len(outer))] = outer
    return TokenSequences(tokens, offsets, len(starts), unknown)


def _flat(rows: Any, lengths: Counts) -> Tokens:
    return np.fromiter(chain.from_iterable(rows), np.int32, int(lengths.sum()))


def _sums(flags: npt.NDArray[np.bool_], lengths: Counts) -> Counts:
    """Return the number of flags of each text that are set, (n,)."""
    return np.diff(offsets_from(flags.astype(np.int64))[offsets_from(lengths)])


def _check_known(tokens: Tokens, folder: ModelFolder) -> None:
    if folder.vocabulary is not None and tokens.max(initial=0) >= folder.vocabulary:
        raise ModelError(
            f"{folder.path}: expected token ids below {folder.vocabulary}, the size of the model's vocabulary, found "
            f"{tokens.max()}; add the tokenizer that belongs to the model"
        )
