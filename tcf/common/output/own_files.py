"""How a file that a tcf command wrote for other programs is recognised, wherever it has been moved or copied to.

Each format is marked where other programs ignore it: Parquet in the metadata of the schema, PNG in the name of the
program, NumPy in the length of the padding of its header, JSON in its first key. CSV has no such place: its header line
is the mark.
"""

import re
from pathlib import Path

__all__ = ["NPY_PADDING", "PARQUET_PREFIX", "PNG_PROGRAM", "is_own_file"]

NPY_PADDING = 256
"""Spaces that the header of a `.npy` file ends in at least; NumPy itself writes fewer than 128."""

PARQUET_PREFIX = "tcf."
"""Beginning of the names of our metadata in a Parquet file."""

PNG_PROGRAM = "tcf"
"""Name of the program in a PNG file."""

_BEGINNING = 65_536
_CSV = re.compile(
    rb'"user_id","place","item_id","score"\n|"item_id","v0"[,\n]|"by","group","metric","first","second","difference",'
    rb'|"dataset","setting","seed","seeds","encoder","layer",'
)
_JSON = re.compile(rb'\{\s*"format": "tcf-comparison"')


def is_own_file(file: Path) -> bool:
    """Whether a tcf command wrote a regular file, which another one may then replace.

    Raises:
        OSError: it cannot be read.
    """
    with file.open("rb") as stream:
        begin = stream.read(_BEGINNING)
    if begin.startswith(b"PAR1"):
        return _is_own_parquet(file)
    if begin.startswith(b"\x93NUMPY\x01"):
        header = begin[10 : 10 + int.from_bytes(begin[8:10], "little")]
        return header.endswith(b" " * NPY_PADDING + b"\n")
    if begin.startswith(b"\x89PNG"):
        return b"tEXtSoftware\x00%s" % PNG_PROGRAM.encode() in begin
    return _CSV.match(begin) is not None or _JSON.match(begin) is not None


def _is_own_parquet(file: Path) -> bool:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        metadata = pq.read_schema(file).metadata or {}
    except (pa.ArrowException, OSError, ValueError):
        return False  # damaged, so nobody knows whose it was
    return any(key.startswith(PARQUET_PREFIX.encode()) for key in metadata)
