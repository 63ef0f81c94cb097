"""The header of a safetensors file, and the limit that it is held to before anything else of the file is read."""

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from tcf.common.errors import ModelError, os_error_words, value_words
from tcf.common.parsing import parse_json
from tcf.encoders.torch_archive import LARGEST_HEADER

__all__ = ["check_headers", "damaged", "read_header"]

_LENGTH = 8  # bytes before a header: its length


def read_header(file: Path) -> tuple[dict[str, Any], int, int]:
    """Return the header of a safetensors file, the offset of its data, and the size of the file.

    Raises:
        ModelError: the file cannot be read, is damaged or truncated, or its header is too large.
    """
    try:
        with file.open("rb") as stream:
            start, size = _bounds(stream, file)
            header = parse_json(stream.read(start - _LENGTH))
    except OSError as error:
        raise ModelError(f"{file}: cannot be read ({os_error_words(error)}); check the disk and its mount") from None
    except ValueError as error:
        raise damaged(file, "a header in JSON", f"invalid JSON ({error})") from None
    if not isinstance(header, dict):
        raise damaged(file, "a JSON object as its header", value_words(header))
    return header, start, size


def check_headers(files: Iterable[Path]) -> None:
    """Check the length that each safetensors file states of its header, before its content is read to the end.

    Other files, and those that cannot be read, are left to their readers.

    Raises:
        ModelError: a file is shorter than its header, or its header is too large to be read in seconds.
    """
    for file in files:
        if file.suffix == ".safetensors":
            with suppress(OSError), file.open("rb") as stream:
                _bounds(stream, file)


def _bounds(stream: IO[bytes], file: Path) -> tuple[int, int]:
    """Read the length of the header; returns where the data begins, and the size of the file."""
    size = os.fstat(stream.fileno()).st_size
    start = _LENGTH + int.from_bytes(stream.read(_LENGTH), "little")
    if size < _LENGTH or start > size:
        raise damaged(file, f"at least the {start} bytes of its header", f"{size}")
    if start - _LENGTH > LARGEST_HEADER:
        raise damaged(file, f"a header of at most {LARGEST_HEADER} bytes", f"one of {start - _LENGTH}")
    return start, size


def damaged(file: Path, expected: str, found: str) -> ModelError:
    """The error about a file that is not what its header or its reader expects."""
    return ModelError(f"{file}: damaged or truncated: expected {expected}, found {found[:200]}; download it again")
