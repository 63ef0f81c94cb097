"""Model folders that `tcf convert` made: their format, and whether they are as they were written."""

from pathlib import Path

from tcf.common.errors import ModelError
from tcf.common.integrity.verified_files import verify_files
from tcf.common.manifest import Format, read_manifest, stated_format

__all__ = ["CONVERTED", "verify_conversion"]

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
    if stated_format(folder) == CONVERTED.name:
        verify_files(folder, read_manifest(folder, CONVERTED), CONVERTED, verify="once")
