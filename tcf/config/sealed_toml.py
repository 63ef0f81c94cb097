"""TOML files that tcf writes and people may change: the first line tells whether they are as they were written."""

import hashlib
import logging
import re
from pathlib import Path

__all__ = ["sealed_toml", "warn_if_changed"]

logger = logging.getLogger(__name__)

_SEAL = re.compile(rb"# As written by tcf: sha256 ([0-9a-f]{64}) of the lines below\.\n")


def sealed_toml(content: bytes) -> bytes:
    """Return the content of a TOML file after a comment that holds its checksum."""
    checksum = hashlib.sha256(content).hexdigest()
    return b"# As written by tcf: sha256 %s of the lines below.\n%s" % (checksum.encode(), content)


def warn_if_changed(file: Path, content: bytes) -> None:
    """Log a warning about a file that begins with such a comment but has changed since; it may be meant.

    Args:
        file: the file, for the message.
        content: what it holds.
    """
    seal = _SEAL.match(content)
    if seal is not None and hashlib.sha256(content[seal.end() :]).hexdigest() != seal[1].decode():
        logger.warning(
            f"{file}: changed since tcf wrote it; if nobody edited it, it is damaged: restore it; otherwise remove its "
            "first line, the checksum"
        )
