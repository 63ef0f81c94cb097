"""The help text of `--verify`, which several stages offer."""

__all__ = ["VERIFY_HELP"]

VERIFY_HELP = (
    "Compare every file that is read with its checksum: large ones once, until they change (once), or each time "
    "(always), which also finds damage that left a file's times as they were."
)
