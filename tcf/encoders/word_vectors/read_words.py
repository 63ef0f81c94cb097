"""Reading a text file of word vectors.

Shapes: N words, D width.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from tcf.common.errors import ModelError
from tcf.common.memory import host_memory
from tcf.common.progress import Progress
from tcf.encoders.word_vectors.words_layout import LONGEST_LINE, WordFileLayout, is_number, read_layout, reading

__all__ = ["WordFile", "read_words"]

_BLOCK = LONGEST_LINE  # bytes at once, which a line must not exceed


@dataclass(frozen=True)
class WordFile:
    """The words of a file, and their vectors if these were read.

    Attributes:
        words: (N,) distinct words, in the file's order.
        vectors_ND: (N, D) float32, finite; (N, 0) if only words were read.
        repeated: number of lines left out because their word occurs on an earlier line.
        nameless: number of lines left out because their word is empty.
    """

    words: pa.StringArray
    vectors_ND: npt.NDArray[np.float32]
    repeated: int
    nameless: int


@dataclass
class _Odd:
    """Lines that do not split into one word and D numbers: line number and text."""

    lines: list[tuple[int, str]] = field(default_factory=list)

    def keep(self, row: Any) -> str:
        """Keep such a line; called by pyarrow."""
        self.lines.append((row.number, row.text))
        return "skip"


def read_words(file: Path, *, vectors: bool) -> WordFile:
    """Read the words of a file and, if `vectors`, their vectors.

    The last D fields of a line are its vector, so a word may contain spaces. If a word has several lines, the first one
    is used. The numbers of repeated and empty words are shown.

    Raises:
        ModelError: a line is malformed, a number is not finite in float32, or lines are missing; names the line.
    """
    layout = read_layout(file)
    odd = _Odd()
    with Progress(f"read {file.name}", layout.words, "words") as progress:
        words, blocks = _read_blocks(file, layout, odd, progress, vectors)
        vectors_ND = _joined(blocks, layout.width if vectors else 0)
        if odd.lines:
            words, vectors_ND = _merged(words, vectors_ND, odd, layout, file)
        _check(vectors_ND, layout, file)
        kept, repeated, nameless = _distinct(words)
        progress.advance(0, f"{repeated} repeated and {nameless} empty words left out" if repeated or nameless else "")
    if repeated or nameless:
        words, vectors_ND = words.take(pa.array(kept)), vectors_ND[kept]
    return WordFile(words, vectors_ND, repeated, nameless)


def _read_blocks(
    file: Path, layout: WordFileLayout, odd: _Odd, progress: Progress, vectors: bool
) -> tuple[pa.StringArray, list[npt.NDArray[np.float32]]]:
    """Read the regular lines; the others are collected in `odd`."""
    names = ["word", *(str(column) for column in range(layout.width)), *(["end"] if layout.padded else [])]
    types = [pa.string(), *[pa.float32()] * layout.width, *([pa.null()] if layout.padded else [])]
    words, blocks = [], []
    held, room = 0, host_memory()[1]  # a compressed file may have any number of words
    with reading(file), pa.input_stream(str(file), compression="detect") as stream:
        reader = csv.open_csv(
            stream,
            # One thread: with several, pyarrow does not give line numbers.
            csv.ReadOptions(
                use_threads=False,
                block_size=_BLOCK,
                column_names=names,
                skip_rows=layout.lines_before,
                encoding="utf8",
            ),
            csv.ParseOptions(delimiter=" ", quote_char=False, ignore_empty_lines=False, invalid_row_handler=odd.keep),
            csv.ConvertOptions(
                column_types=dict(zip(names, types, strict=True)),
                include_columns=names if vectors else names[:1],
                null_values=[""],  # an empty field becomes NaN, which is refused like any other
            ),
        )
        for batch in reader:
            words.append(batch.column(0))
            blocks.append(_matrix(batch, layout.width if vectors else 0))
            held += len(batch) * 4 * layout.width if vectors else batch.nbytes
            if held > room:
                raise ModelError(
                    f"{file}: expected words and vectors that fit into memory, found more than {room >> 20} MiB of "
                    "them; free memory, or pass a file with fewer words"
                )
            progress.advance(len(batch))
    return pa.chunked_array(words, pa.string()).combine_chunks(), blocks


def _matrix(batch: pa.RecordBatch, width: int) -> npt.NDArray[np.float32]:
    """Return the numbers of a batch, (rows, width)."""
    block = np.empty((len(batch), width), np.float32)
    for column in range(width):
        block[:, column] = batch.column(column + 1).to_numpy(zero_copy_only=False)
    return block


def _joined(blocks: list[npt.NDArray[np.float32]], width: int) -> npt.NDArray[np.float32]:
    """Concatenate all blocks; each one is freed after it has been copied, so that memory is not needed twice."""
    joined = np.empty((sum(map(len, blocks)), width), np.float32)
    end = len(joined)
    while blocks:
        block = blocks.pop()
        joined[end - len(block) : end] = block
        end -= len(block)
    return joined


def _merged(
    words: pa.StringArray, vectors_ND: npt.NDArray[np.float32], odd: _Odd, layout: WordFileLayout, file: Path
) -> tuple[pa.StringArray, npt.NDArray[np.float32]]:
    """Insert the collected irregular lines, which are in the file's order, at their original places."""
    more = [_split(number, text, layout, file) for number, text in odd.lines]
    n, width = vectors_ND.shape
    is_odd = np.zeros(n + len(more), np.bool_)
    is_odd[[number - layout.lines_before - 1 for number, _ in odd.lines]] = True
    order = np.empty(len(is_odd), np.int64)
    order[~is_odd], order[is_odd] = np.arange(n), n + np.arange(len(more))
    merged = np.empty((len(is_odd), width), np.float32)
    merged[~is_odd] = vectors_ND
    merged[is_odd] = np.array([row for _, row in more], np.float64)[:, :width]
    return pa.concat_arrays([words, pa.array([word for word, _ in more], pa.string())]).take(pa.array(order)), merged


def _split(number: int, text: str, layout: WordFileLayout, file: Path) -> tuple[str, list[float]]:
    """Split a line whose word contains spaces, or that ends differently from the first line."""
    fields = text.rstrip("\r\n").rstrip(" ").rsplit(" ", layout.width)
    if len(fields) != layout.width + 1 or not all(map(is_number, fields[1:])):
        raise ModelError(
            f"{file}:{number}: expected a word and {layout.width} numbers, found {len(text.split(' '))} fields, "
            f"{text[:60]!r}; fix or remove the line"
        )
    return fields[0], [float(number) for number in fields[1:]]


def _check(vectors_ND: npt.NDArray[np.float32], layout: WordFileLayout, file: Path) -> None:
    if layout.words is not None and len(vectors_ND) != layout.words:
        raise ModelError(
            f"{file}:1: expected {layout.words} words, as it states, found {len(vectors_ND)}; download it again"
        )
    bad = np.flatnonzero(~np.isfinite(vectors_ND.sum(axis=1, dtype=np.float64)))
    if len(bad):
        raise ModelError(
            f"{file}:{bad[0] + layout.lines_before + 1}: expected numbers that are finite in float32, found others, on "
            f"{len(bad)} lines in total; fix or remove them"
        )


def _distinct(words: pa.StringArray) -> tuple[npt.NDArray[np.int64], int, int]:
    """Return the rows of each word's first occurrence, and the numbers of repeated and empty words."""
    codes = words.dictionary_encode().indices.to_numpy()
    first = np.sort(np.unique(codes, return_index=True)[1])
    empty = int(pc.sum(pc.equal(words, "")).as_py() or 0)
    kept = first[pc.not_equal(words.take(pa.array(first)), "").to_numpy(zero_copy_only=False)]
    return kept, len(words) - empty - len(kept), empty
