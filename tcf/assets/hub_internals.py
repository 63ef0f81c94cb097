"""All code in tcf that relies on private or undocumented parts of huggingface_hub.

Checked with huggingface_hub 2.4. `tests/assets/test_hub_internals.py` has a test for each function, which says what
broke.
"""

from pathlib import Path

__all__ = ["stated_checksum", "transport_error"]


def transport_error() -> type[BaseException]:
    """Return the base class of transport errors, such as a refused connection.

    They come from the HTTP library that the installed version uses, which has changed between versions (requests,
    httpx, httpx2). Their common base is the first base of `HfHubHTTPError`.
    """
    from huggingface_hub.errors import HfHubHTTPError

    kind: type[BaseException] = HfHubHTTPError.__bases__[0]
    return kind


def stated_checksum(file: Path) -> str | None:
    """Return the checksum that the hub states for a file: sha256 for a large file, git's blob sha1 for a small one.

    There is no function for it. The cache stores a file under that checksum, and links to it from the snapshot.

    Args:
        file: in a folder returned by `snapshot_download`.

    Returns:
        Hexadecimal digits; None on a file system without links, where the client copies files and drops the checksum.
    """
    name = file.resolve().name
    return name if len(name) in (40, 64) else None
