"""Static word vectors as an encoder: the tokens of a text are its known words, and their states are the vectors.

Shapes: B texts, T words, D width, N words of the vocabulary.
"""

from dataclasses import dataclass
from pathlib import Path

import pyarrow.compute as pc
import torch
from tokenizers import Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import WordLevel
from torch import Tensor

from tcf.encoders.folder.model_folder import ModelFolder
from tcf.encoders.prefix_sharing.tree_attention import TreeAttention
from tcf.encoders.tokenize import TextTokenizer
from tcf.encoders.word_vectors.read_words import read_words
from tcf.encoders.word_vectors.words_layout import read_layout

__all__ = ["WordEncoder", "load_word_vectors", "open_word_vectors", "word_tokenizer"]

# Token of all unknown words; no word of a file can be a line break.
_UNKNOWN = "\n"


@dataclass(frozen=True)
class WordEncoder:
    """A table of word vectors.

    Attributes:
        folder: the file.
        device: device of the table.
        layers: the requested layers; all are the table's rows.
        table_ND: the vectors, (N, D).
    """

    folder: ModelFolder
    device: torch.device
    layers: tuple[int, ...]
    table_ND: Tensor

    def states(self, tokens_BT: Tensor, tree: TreeAttention | None = None) -> tuple[Tensor, ...]:
        """Return the words' vectors, (B, T, D), once for every requested layer.

        Args:
            tokens_BT: ids of known words, (B, T) int64, on the encoder's device.
            tree: ignored, as a word's vector does not depend on other words.
        """
        states_BTD = self.table_ND[tokens_BT]
        return (states_BTD,) * len(self.layers)


def open_word_vectors(path: Path) -> ModelFolder:
    """Read the layout of a text file of word vectors from its first lines.

    Raises:
        ModelError: the file cannot be read or does not begin like a file of word vectors.
    """
    width = read_layout(path).width
    return ModelFolder(
        path=path,
        settings={"model_type": "words", "hidden_size": width},
        family="words",
        width=width,
        max_positions=None,
        n_blocks=0,
        poolings=("mean",),
    )


def word_tokenizer(folder: ModelFolder) -> TextTokenizer:
    """Return the tokenizer that splits texts into the words of a file.

    Runs of letters, digits and underscores are words, and so are runs of the other characters between them. Texts are
    lower-cased if no word of the file has an upper-case letter.

    Raises:
        ModelError: the file cannot be read, or a line is malformed.
    """
    words = read_words(folder.path, vectors=False).words
    vocabulary = {word: row for row, word in enumerate(words.to_pylist())}
    backend = Tokenizer(WordLevel({**vocabulary, _UNKNOWN: len(vocabulary)}, unk_token=_UNKNOWN))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    if pc.all(pc.equal(words, pc.utf8_lower(words))).as_py():
        backend.normalizer = normalizers.Lowercase()
    return TextTokenizer(backend, folder, unknown=len(vocabulary))


def load_word_vectors(
    folder: ModelFolder, dtype: torch.dtype, device: torch.device, *, layers: tuple[int, ...] = (-1,)
) -> WordEncoder:
    """Load the vectors of a file.

    Args:
        folder: the file, from `open_word_vectors`.
        dtype: type of the states.
        device: device of the table.
        layers: 0 (the input of the first block) and -1 (the last layer) are the same here.

    Raises:
        ModelError: the file cannot be read, a line is malformed, or a number is not finite.
    """
    table_ND = torch.from_numpy(read_words(folder.path, vectors=True).vectors_ND)
    return WordEncoder(folder, device, layers, table_ND.to(device=device, dtype=dtype))
