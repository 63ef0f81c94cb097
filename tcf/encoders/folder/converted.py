"""Model folders that `tcf convert` made: their format, and whether they are as they were written."""

from pathlib import Path

from tcf.common.errors import ModelError
from tcf.common.files import MANIFEST
from tcf.common.integrity.verified_files import verify_files
from tcf.common.manifest import Format, read_manifest

__all__ = ["CONVERTED", "verify_conversion"]

_DOWNLOADED = b'"tcf-asset"'  # format of a download, which is verified where it is found
CONVERTED = Format(
    name="tcf-model",
    version=1,
    error=ModelError,
    made_by="tcf convert",
    required={"inputs.source": str, "config.kind": str, "facts.dtype": str, "facts.parameters": int},
)


def verify_conversion(folder: Path) -> None:
    """Compare a converted model with its manifest; large files once, until they change. Other folders have none.

    Raises:
        ModelError: a file is missing or has changed.
    """
    if _is_ours(folder):
        verify_files(folder, read_manifest(folder, CONVERTED), CONVERTED, verify="once")


def _is_ours(folder: Path) -> bool:
    """Whether `tcf convert` wrote the folder's manifest, which may be damaged since: two of its words tell."""
    try:
        content = (folder / MANIFEST).read_bytes()
    except OSError:
        return False
    return _DOWNLOADED not in content and (CONVERTED.name.encode() in content or b'"fingerprint"' in content)
