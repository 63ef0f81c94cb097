"""Text files read in blocks of whole lines."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from tcf.common.errors import DataError
from tcf.common.files import FileStamp
from tcf.data.tables.source_file import changed, unreadable

__all__ = ["BLOCK", "LineBlock", "blocks_of"]

BLOCK = 1 << 22
"""Bytes to read at once."""

_BLANKS = b" \r\n"
_BOM = b"\xef\xbb\xbf"
_UTF16_BOMS = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True)
class LineBlock:
    """A block of whole lines.

    Attributes:
        data: (n_bytes,); every line ends with a newline.
        start: position of the first byte in the file.
        line: number of the first line.
    """

    data: npt.NDArray[np.uint8]
    start: int
    line: int


def blocks_of(path: Path, digest: Callable[[bytes], object]) -> Iterator[LineBlock]:
    """Yield a file in blocks of whole lines, without blank lines at its end; `digest` is called with all bytes read."""
    try:
        with path.open("rb") as stream:
            yield from _cut(path, stream, digest)
    except OSError as error:
        raise unreadable(path, error) from None


def _cut(path: Path, stream: BinaryIO, digest: Callable[[bytes], object]) -> Iterator[LineBlock]:
    before = FileStamp.of(stream.fileno())
    position, line, kept = 0, 1, b""
    while read := stream.read(BLOCK):
        digest(read)
        if not kept and line == 1:
            _refuse_utf16(path, read)
            position = len(_BOM) if read.startswith(_BOM) else 0
            read = read[position:]
        kept += read
        # Keep the last non-blank line for the next block: if nothing follows, it is the last line of the file.
        cut = kept.rfind(b"\n", 0, len(kept.rstrip(_BLANKS))) + 1
        if cut:
            yield LineBlock(np.frombuffer(kept, np.uint8, cut), position, line)
            line += kept.count(b"\n", 0, cut)
            position, kept = position + cut, kept[cut:]
    if not FileStamp.of(stream.fileno()).same_content(before):
        raise changed(path)
    if not kept.strip(_BLANKS):
        raise DataError(f"{path}: expected rows, found an empty file; check its source")
    yield LineBlock(np.frombuffer(kept.rstrip(_BLANKS) + b"\n", np.uint8), position, line)


def _refuse_utf16(path: Path, read: bytes) -> None:
    if read[:2] in _UTF16_BOMS:
        raise DataError(f"{path}: expected UTF-8, found UTF-16; convert it, for example with iconv")
