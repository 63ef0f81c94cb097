"""The layout of a text file of word vectors: GloVe's, or word2vec's, which begins with a line `words width`."""

import gzip
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import Any

import pyarrow as pa

from tcf.common.errors import ModelError, os_error_words
from tcf.common.untrusted.lfs_pointer import refuse_pointers

__all__ = ["LONGEST_LINE", "WordFileLayout", "is_number", "read_layout", "reading"]

LONGEST_LINE = 1 << 24
"""Bytes of a line at most."""
_LINES_TO_JUDGE = 10
_WIDEST = 1 << 16  # numbers of a vector; published ones have at most 1,000
_DIGITS = 18  # of a number of words or its width


@dataclass(frozen=True)
class WordFileLayout:
    """Layout of a file of word vectors.

    Attributes:
        width: numbers per word.
        words: number of words stated on the first line; None if there is no such line.
        padded: whether lines end with a space.
    """

    width: int
    words: int | None
    padded: bool

    @property
    def lines_before(self) -> int:
        """Lines before the first word."""
        return 0 if self.words is None else 1


def read_layout(file: Path) -> WordFileLayout:
    """Determine a file's layout from its first lines.

    Raises:
        ModelError: the file cannot be read, is not UTF-8, or does not begin like a file of word vectors.
    """
    refuse_pointers([file])
    with reading(file), _opened(file) as stream:
        read = islice(iter(lambda: stream.readline(LONGEST_LINE + 1), b""), _LINES_TO_JUDGE)
        lines = [line.decode(errors="replace").rstrip("\r\n") for line in _short_ones(read, file)]
    match lines[0].split() if lines else []:
        case [words, stated] if _is_count(words) and _is_count(stated) and int(stated) > 0:
            _check_width(int(stated), file)
            return WordFileLayout(int(stated), int(words), len(lines) > 1 and lines[1].endswith(" "))
    width = _common_width(lines)
    _check_width(width, file)
    if width == 0:
        raise ModelError(
            f"{file}:1: expected word vectors as text (a word and its numbers, separated by spaces), found "
            f"{lines[0][:60]!r}; pass a text file in the format of GloVe or word2vec"
            if lines
            else f"{file}: expected word vectors as text, found an empty file; download it again"
        )
    return WordFileLayout(width, None, lines[0].endswith(" "))


def _short_ones(lines: Iterable[bytes], file: Path) -> Iterator[bytes]:
    """Yield lines, and refuse one that is too long."""
    for number, line in enumerate(lines, 1):
        if len(line) > LONGEST_LINE:
            raise ModelError(
                f"{file}:{number}: expected lines of at most {LONGEST_LINE >> 20} MiB, found a longer one; pass a text "
                "file in the format of GloVe or word2vec"
            )
        yield line


def _is_count(text: str) -> bool:
    return text.isdecimal() and len(text) <= _DIGITS


def _check_width(width: int, file: Path) -> None:
    if width > _WIDEST:
        raise ModelError(
            f"{file}:1: expected word vectors of at most {_WIDEST} numbers, found {width}; pass a text file in the "
            "format of GloVe or word2vec"
        )


def _common_width(lines: list[str]) -> int:
    """Return how many numbers most lines end with; 0 if none does."""
    widths = []
    for line in lines:
        fields = line.rstrip(" ").split(" ")[1:]  # the first field belongs to the word, even if it is a number
        widths.append(next((n for n, text in enumerate(reversed(fields)) if not is_number(text)), len(fields)))
    return max(Counter(filter(None, widths)).items(), key=itemgetter(1), default=(0, 0))[0]


def is_number(text: str) -> bool:
    """Whether a text is a single number in Python's notation."""
    try:
        float(text)
    except ValueError:
        return False
    return True


@contextmanager
def _opened(file: Path) -> Iterator[Any]:
    with gzip.open(file) if file.suffix.lower() == ".gz" else file.open("rb") as stream:
        yield stream


@contextmanager
def reading(file: Path) -> Iterator[None]:
    """Turn any failure inside the block into an error about the file and, if pyarrow gives it, the line."""
    try:
        yield
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, pa.ArrowInvalid) as error:
        text = os_error_words(error) if isinstance(error, OSError) else " ".join(str(error).split())
        row = re.search(r"Row #(\d+)", text)
        place = f"{file}:{row[1]}" if row else str(file)
        raise ModelError(
            f"{place}: cannot be read as word vectors ({text[:300]}); fix it or download it again"
        ) from None
