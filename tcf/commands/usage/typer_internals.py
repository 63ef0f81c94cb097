"""The undocumented parts of typer that the command line uses: usage errors, contexts, and types of parameters.

If a new version of typer changes one of them, `tests/commands/usage/test_typer_internals.py` names it.
"""

import typing
from pathlib import Path
from typing import Any

from typer._click import Command as AnyCommand
from typer._click import Context, HelpFormatter, Parameter
from typer._click.exceptions import (
    BadOptionUsage,
    BadParameter,
    MissingParameter,
    NoArgsIsHelpError,
    NoSuchOption,
    UsageError,
)

__all__ = [
    "AnyCommand",
    "BadOptionUsage",
    "BadParameter",
    "Context",
    "HelpFormatter",
    "MissingParameter",
    "NoArgsIsHelpError",
    "NoSuchOption",
    "Parameter",
    "UsageError",
    "choices_of",
    "input_of",
    "value_name",
]

_NAMES = ((int, "INTEGER"), (float, "NUMBER"), (Path, "PATH"))


def choices_of(parameter: Parameter | None) -> tuple[str, ...]:
    """Return the values that a parameter accepts, or an empty tuple if they are not listed."""
    descriptor = getattr(parameter, "type_descriptor", None)
    return tuple(map(str, getattr(descriptor, "choices", None) or ()))


def input_of(error: BadParameter) -> str | None:
    """Return the value that could not be converted, or None if the error comes from one of our own checks."""
    errors: Any = getattr(error.__cause__, "errors", None)
    return None if errors is None else str(errors()[0]["input"])


def value_name(parameter: Parameter) -> str | None:
    """Return the placeholder for an option's value by its type: `INTEGER`, `[mean|last]`; None for a flag."""
    if getattr(parameter, "is_flag", False):
        return None
    if choices := choices_of(parameter):
        return f"[{'|'.join(choices)}]"
    annotation = parameter.type_descriptor.annotation  # type: ignore[attr-defined]
    kind = (*typing.get_args(annotation), annotation)[0]
    return next((name for base, name in _NAMES if isinstance(kind, type) and issubclass(kind, base)), "TEXT")
