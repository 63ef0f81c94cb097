"""Lengths of a dataset's texts in a language model's tokens, without truncation."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from tcf.data.describe.text_lengths import TEXTS_AT_ONCE, TextLengths, tally
from tcf.data.item_table import ItemTable
from tcf.encoders.folder.load_tokenizer import load_tokenizer
from tcf.encoders.folder.open_model_folder import open_model_folder
from tcf.encoders.tokenize import TextTokenizer

__all__ = ["lengths_in_tokens"]


def lengths_in_tokens(items: ItemTable, model: Path, name: str) -> TextLengths:
    """Return the lengths of all texts in tokens, with special tokens and without words that word vectors lack.

    Args:
        items: the item table.
        model: the model's folder, or a file of word vectors; only its configuration and its tokenizer are read.
        name: name of the model for tables and plots.

    Raises:
        DataError: the item table is damaged.
        ModelError: the model has no tokenizer that can be read.
    """
    tokenizer = load_tokenizer(open_model_folder(model))
    parts = (_lengths(tokenizer, texts.to_pylist()) for texts in items.texts(TEXTS_AT_ONCE))
    return TextLengths(tally(parts), f"tokens of {name}")


def _lengths(tokenizer: TextTokenizer, texts: list[str]) -> npt.NDArray[np.int64]:
    encoded = tokenizer.backend.encode_batch_fast(texts, add_special_tokens=True)
    if tokenizer.unknown is None:
        return np.fromiter(map(len, encoded), np.int64, len(encoded))
    return np.fromiter((len(found.ids) - found.ids.count(tokenizer.unknown) for found in encoded), np.int64)
