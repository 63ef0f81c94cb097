"""The header of a GGUF file, walked once before a library reads it: what it promises has to be in the file.

The libraries create an object for each entry of an array and for each block, as many as the header says.
"""

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tcf.common.errors import ModelError, value_words
from tcf.encoders.folder.config_sizes import MOST_BLOCKS, MOST_EXPERTS

__all__ = ["check_gguf_header"]

# ggml-org/ggml at 9bb3a8d, docs/gguf.md: the types of metadata values, by number.
_FORMATS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_MOST_ENTRIES = 1 << 22  # values of all arrays together; those of a large vocabulary and its merges are 1.5 million
_MOST_DIMENSIONS = 8
_LEAST_TENSOR = 8 + 4 + 4 + 8  # bytes: the length of a name, number of dimensions, type, offset
_WIDTHS = ("embedding_length", "feed_forward_length", "vocab_size")
_POSITIONS = "position_embd.weight"


@dataclass
class _Cursor:
    """A place in the header.

    Attributes:
        data: the file.
        order: `<` or `>`, as `struct` names the order of bytes.
        at: offset of the next byte.
        entries: values of arrays that have been passed.
    """

    data: mmap.mmap
    order: str = "<"
    at: int = 4
    entries: int = 0

    def skip(self, size: int) -> int:
        """Pass bytes, which the file must have; return where they begin."""
        if size > len(self.data) - self.at:
            raise ValueError(f"{size} more bytes from byte {self.at} of {len(self.data)}")
        self.at += size
        return self.at - size

    def number(self, format: str) -> int | float:
        """Read a number."""
        layout = self.order + format
        found: int | float = struct.unpack_from(layout, self.data, self.skip(struct.calcsize(layout)))[0]
        return found

    def whole(self, format: str) -> int:
        """Read a whole number."""
        return int(self.number(format))

    def text(self) -> str:
        """Read a string."""
        size = self.whole("Q")
        begin = self.skip(size)
        return self.data[begin : begin + min(size, 200)].decode("utf-8", "replace")

    def pass_array(self) -> None:
        """Pass an array, whose values may be strings, but no arrays."""
        kind, count = self.whole("I"), self.whole("Q")
        self.entries += count
        if self.entries > _MOST_ENTRIES:
            raise ValueError(f"arrays of {self.entries} values, more than {_MOST_ENTRIES}")
        if kind == _STRING:
            for _ in range(count):
                self.skip(self.whole("Q"))
        elif kind in _FORMATS:
            self.skip(count * struct.calcsize(_FORMATS[kind]))
        else:
            raise ValueError(f"an array of type {kind}")


def check_gguf_header(file: Path) -> None:
    """Check that what the header of a GGUF file promises is in the file, and can be read in seconds.

    Raises:
        ModelError: an array, a string or a tensor is longer than the file, there are too many of them, or the sizes of
            the model are not those of its tensors.
        OSError: the file cannot be read.
    """
    with file.open("rb") as stream:
        try:
            with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
                _check(_Cursor(data))
        except (ValueError, OverflowError) as error:
            raise ModelError(
                f"{file}: expected a complete GGUF file of a language model, found one whose header states {error}; "
                "download it again, or use the model's own safetensors"
            ) from None


def _check(cursor: _Cursor) -> None:
    if not cursor.whole("I") & 0xFFFF:  # the version
        cursor.order = ">"
    n_tensors, n_entries = cursor.whole("Q"), cursor.whole("Q")
    if max(n_tensors, n_entries) * _LEAST_TENSOR // 2 > len(cursor.data):
        raise ValueError(f"{n_tensors} tensors and {n_entries} entries in {len(cursor.data)} bytes")
    entries = dict(_entry(cursor) for _ in range(n_entries))
    shapes = dict(_shape(cursor) for _ in range(n_tensors))
    _check_sizes(entries, shapes, len(cursor.data))


def _entry(cursor: _Cursor) -> tuple[str, int | float | None]:
    """Read an entry of the metadata; strings and arrays are passed."""
    key, kind = cursor.text(), cursor.whole("I")
    if kind in _FORMATS:
        return key, cursor.number(_FORMATS[kind])
    if kind == _ARRAY:
        cursor.pass_array()
    elif kind == _STRING:
        cursor.text()
    else:
        raise ValueError(f"an entry {value_words(key)} of type {kind}")
    return key, None


def _shape(cursor: _Cursor) -> tuple[str, tuple[int, ...]]:
    """Read the description of a tensor."""
    name, n_dimensions = cursor.text(), cursor.whole("I")
    if n_dimensions > _MOST_DIMENSIONS:
        raise ValueError(f"{n_dimensions} dimensions of {value_words(name)}")
    shape = tuple(cursor.whole("Q") for _ in range(n_dimensions))
    cursor.skip(4 + 8)  # type and offset, which the reader checks
    return name, shape


def _check_sizes(entries: dict[str, int | float | None], shapes: dict[str, tuple[int, ...]], size: int) -> None:
    """Refuse a model of other sizes than its tensors, whose weights would be made anew."""
    for name, shape in shapes.items():
        if any(length > 8 * size for length in shape):  # one bit for each number
            raise ValueError(f"shape {' x '.join(map(str, shape))} of {value_words(name)} in {size} bytes")
    longest = max((length for shape in shapes.values() for length in shape), default=0)
    limits = {"block_count": MOST_BLOCKS, "expert_count": MOST_EXPERTS, **dict.fromkeys(_WIDTHS, longest)}
    if _POSITIONS in shapes:
        limits["context_length"] = max(shapes[_POSITIONS], default=0)
    for key, value in _numbers(entries):
        most = limits.get(key.rpartition(".")[2])
        if most is not None and value > most:
            raise ValueError(f"{key} {value}, more than {most}")


def _numbers(entries: dict[str, int | float | None]) -> Iterator[tuple[str, int | float]]:
    return ((key, value) for key, value in entries.items() if value is not None)
