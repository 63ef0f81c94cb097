"""What all sources of files share: how one is refused, and how its files are checked."""

from pathlib import Path

from tcf.common.manifest import sha256_file

__all__ = ["SourceError", "check_sha256"]


class SourceError(Exception):
    """One source cannot be used, and why; the next one is tried."""


def check_sha256(file: Path, expected: str) -> None:
    """Compare a file's sha256 with the one that is expected.

    Raises:
        SourceError: it is another.
    """
    found = sha256_file(file)
    if found != expected:
        raise SourceError(
            f"{file.name}: expected sha256 {expected}, found {found}; it is not the file that was published"
        )
