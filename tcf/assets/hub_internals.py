"""Everything in tcf that leans on private or undocumented parts of huggingface_hub, gathered in one place.

Checked with huggingface_hub 2.4. `tests/assets/test_hub_internals.py` has a test for each function, which names what
broke.
"""

from pathlib import Path

__all__ = ["stated_checksum", "transport_error"]


def transport_error() -> type[BaseException]:
    """The class of errors of transport, such as a refused connection.

    They come from the HTTP library that the installed version uses, and that has changed between versions (requests,
    httpx, httpx2). What they have in common is the first base of `HfHubHTTPError`.
    """
    from huggingface_hub.errors import HfHubHTTPError

    kind: type[BaseException] = HfHubHTTPError.__bases__[0]
    return kind


def stated_checksum(file: Path) -> str | None:
    """The checksum that the hub states for a file: sha256 for a large one, git's sha1 of a blob for another.

    No function tells it. The cache stores a file under that checksum, and links to it from the snapshot.

    Args:
        file: in a folder that `snapshot_download` gave.

    Returns:
        Hexadecimal digits; None on a file system without links, where the client copies and the checksum is not kept.
    """
    name = file.resolve().name
    return name if len(name) in (40, 64) else None
