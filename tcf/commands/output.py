"""The output of commands: one JSON document, or lines of text.

In JSON, numbers are not rounded, paths are strings, and a number that is not finite is null. In text, labels have
spaces instead of underscores, and the name of a value decides its format: metrics and shares in percent, sizes in units
of bytes. Characters that a terminal would obey are escaped in both.
"""

import json
import math
import sys
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from pathlib import PurePath
from typing import Any

from tcf.common.units import as_bytes, as_percent, as_time
from tcf.common.untrusted.printable import printable, printable_json, printable_lines

__all__ = ["as_lines", "print_result"]

_SPLITS = ("validation_", "test_", "selection_validation_")  # what metrics are of
_SHARES = ("share", "jaccard", "known_in_a", "known_in_b")  # how names of shares of a whole end


def print_result(result: Any, *, as_json: bool, text: str | None = None, aside: bool = False) -> None:
    """Print the result of a command.

    Args:
        result: mappings, sequences, dataclasses, paths, texts and numbers.
        as_json: whether to print JSON.
        text: text to print without `as_json`; None to print the result, a mapping, as lines.
        aside: whether to print on standard error, because standard output holds the file that was asked for.
    """
    if as_json:
        printed = printable_json(json.dumps(_json_value(result), indent=2, ensure_ascii=False, allow_nan=False))
    else:
        printed = printable_lines(as_lines(result) if text is None else text)
    print(printed, file=sys.stderr if aside else sys.stdout)


def as_lines(values: Mapping[str, Any], indent: str = "") -> str:
    """Format a mapping as indented lines, `label: value`."""
    lines = []
    for key, value in values.items():
        label = f"{indent}{printable(key.replace('_', ' '))}:"
        match value:
            case Mapping() if value:
                lines += [label, as_lines(value, indent + "  ")]
            case [Mapping(), *_]:
                for entry in value:
                    lines += [label, as_lines(entry, indent + "  ")]
            case _:
                lines.append(f"{label} {_shown(key, value)}")
    return "\n".join(lines)


def _shown(key: str, value: Any) -> str:
    """Format a value that is not a mapping."""
    match value:
        case bool():
            return "yes" if value else "no"
        case int() | float() if key.endswith("bytes"):
            return as_bytes(value)
        case int() | float() if key.endswith("seconds"):
            return as_time(value)
        case int():
            return f"{value:,}"
        case float():
            return _shown_float(key, value)
        case list() | tuple() if value:
            return ", ".join(_shown(key, entry) for entry in value)
        case None | [] | {} | "":
            return "none"
    return printable(str(value))


def _shown_float(key: str, value: float) -> str:
    from tcf.ranking.metrics import Metric

    metric = Metric.named(next((key.removeprefix(split) for split in _SPLITS if key.startswith(split)), key))
    if metric is not None:
        return metric.shown(value)
    return as_percent(value) if key.endswith(_SHARES) else f"{value:.4g}"


def _json_value(value: Any) -> Any:
    """Convert a value to JSON types."""
    match value:
        case Mapping():
            return {str(key): _json_value(entry) for key, entry in value.items()}
        case list() | tuple():
            return [_json_value(entry) for entry in value]
        case PurePath():
            return str(value)
        case float() if not math.isfinite(value):
            return None
    return _json_value(asdict(value)) if is_dataclass(value) and not isinstance(value, type) else value
