"""Small JSON files that are believed only if they are as they were written: they hold a checksum of themselves."""

import json
from collections.abc import Mapping
from typing import Any

from tcf.common.manifest import digest

__all__ = ["sealed_json", "unsealed_json"]

_CHECKSUM = "checksum"


def sealed_json(values: Mapping[str, Any]) -> str:
    """JSON values as a text that states its own checksum.

    Args:
        values: JSON values by name; none is called `checksum`.
    """
    return json.dumps({**values, _CHECKSUM: digest(dict(values))}, indent=2, allow_nan=False)


def unsealed_json(text: str | bytes) -> dict[str, Any]:
    """The values of `sealed_json`.

    Raises:
        ValueError: the text is damaged, or was written in another way.
    """
    values = json.loads(text)
    if not isinstance(values, dict) or values.pop(_CHECKSUM, None) != digest(values):
        raise ValueError("expected JSON values with their checksum, found others")
    return values
