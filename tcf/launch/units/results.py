"""Results of units for the command that has asked for them: what it prints, where that is in no output."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tcf.common.errors import RunError
from tcf.common.files import publish_file, writing
from tcf.common.output.folders import make_folder
from tcf.common.parsing import LARGEST_JSON, read_json

__all__ = ["read_result", "write_result"]


def write_result(file: Path, values: Mapping[str, Any]) -> None:
    """Write a result.

    Args:
        file: where it goes; its folder is created.
        values: JSON values.

    Raises:
        RunError: it cannot be written.
    """
    with writing(file):
        make_folder(file.parent)
    publish_file(file, json.dumps(values).encode())


def read_result(file: Path) -> dict[str, Any]:
    """Read a result.

    Raises:
        RunError: it is missing or damaged.
    """
    try:
        values: dict[str, Any] = read_json(file, most=LARGEST_JSON)
    except (OSError, ValueError):
        raise RunError(
            f"{file}: expected what a job has found, found nothing that can be read; run the same command again"
        ) from None
    return values
