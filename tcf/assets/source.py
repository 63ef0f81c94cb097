"""What all sources of files share: the error of a failed source, and the check of a file's checksum."""

from pathlib import Path

from tcf.common.manifest import sha256_file

__all__ = ["SourceError", "check_sha256"]


class SourceError(Exception):
    """A source failed; its message says why, and the next source is tried."""


def check_sha256(file: Path, expected: str) -> None:
    """Compare a file's sha256 with the expected one.

    Raises:
        SourceError: they differ.
    """
    found = sha256_file(file)
    if found != expected:
        raise SourceError(f"{file.name}: expected sha256 {expected}, found {found}; it is not the published file")
