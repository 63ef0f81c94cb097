"""What the command line uses of typer beyond its documentation: its usage errors, and the choices of a parameter.

`tests/commands/test_typer_internals.py` names what broke when a new version has changed one of these.
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
    """The values that a parameter takes if it takes only some; else nothing."""
    descriptor = getattr(parameter, "type_descriptor", None)
    return tuple(map(str, getattr(descriptor, "choices", None) or ()))


def input_of(error: BadParameter) -> str | None:
    """What was typed where a parameter's type did not fit; None if the error comes from a check of our own."""
    errors: Any = getattr(error.__cause__, "errors", None)
    return None if errors is None else str(errors()[0]["input"])


def value_name(parameter: Parameter) -> str | None:
    """What the help calls an option's value, by its type: `INTEGER`, `PATH`, `[mean|last]`; None for a flag."""
    if getattr(parameter, "is_flag", False):
        return None
    if choices := choices_of(parameter):
        return f"[{'|'.join(choices)}]"
    annotation = parameter.type_descriptor.annotation  # type: ignore[attr-defined]
    kind = (*typing.get_args(annotation), annotation)[0]
    return next((name for base, name in _NAMES if isinstance(kind, type) and issubclass(kind, base)), "TEXT")
