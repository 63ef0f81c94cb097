"""Turns usage errors into one line: where, what was expected, what was found, what to do."""

import re
from collections.abc import Sequence

import typer.core

from tcf.commands.usage.typer_internals import (
    BadOptionUsage,
    BadParameter,
    MissingParameter,
    NoSuchOption,
    Parameter,
    UsageError,
    choices_of,
    input_of,
    value_name,
)
from tcf.common.errors import did_you_mean

__all__ = ["usage_error_line", "with_help"]

_KINDS = {
    "CHARACTER": "a character",
    "COLUMN": "a column",
    "DEVICE": "a device",
    "DEVICES": "devices",
    "FILE": "a file",
    "INTEGER": "a whole number",
    "LAYER": "a layer",
    "LAYERS": "layers",
    "LIMITS": "memory limits",
    "MODEL": "a model name, hub id or folder",
    "NUMBER": "a number",
    "PATH": "a path",
    "TEXT": "a value",
    "TIME": "a time",
}
"""What the placeholders of values stand for."""
# Messages of typer that carry the value found only in their text.
_EXTRA = re.compile(r"Got unexpected extra argument\(s\) \((?P<found>.*)\)", re.DOTALL)
_NO_COMMAND = re.compile(r"No such command '(?P<found>.*?)'\.", re.DOTALL)
_LONG = re.compile(r"(\S{200})\S{800,}")  # a value of which its beginning says enough
_NO_VALUE = re.compile(r"Option '.*?' requires an argument\.", re.DOTALL)


def usage_error_line(error: UsageError) -> str:
    """Describe a usage error in one line, which ends with what to do."""
    path = "tcf" if error.ctx is None else error.ctx.command_path
    line = with_help(_LONG.sub(r"\1...", _fault(error)), path)
    return line if path == "tcf" else f"{path}: {line}"  # the line is printed after "tcf: error: "


def with_help(fault: str, path: str) -> str:
    """Add to a fault which help page to see.

    Example:
        >>> with_help("--epochs: expected at least 1, found 0", "tcf train")
        '--epochs: expected at least 1, found 0; see tcf train --help'
    """
    return f"{fault} See {path} --help" if fault.endswith("?") else f"{fault}; see {path} --help"


def _fault(error: UsageError) -> str:
    match error:
        case NoSuchOption(option_name=name):
            return f"{name}: unknown option{did_you_mean(name, _options(error))}"
        case MissingParameter():
            return _missing(error)
        case BadParameter(param=parameter):
            return f"{_name(parameter)}: {_wrong_value(error)}"
        case BadOptionUsage(option_name=name):
            if _NO_VALUE.search(error.message):
                return f"{name}: expected {_expected_value(_parameter(error, name))}, found none"
            return f"{name}: expected no value, found one"
    return _other_fault(error)


def _missing(error: MissingParameter) -> str:
    """Name all required parameters that are missing; the error has only the first of them."""
    found = {} if error.ctx is None else error.ctx.params
    missing = [entry for entry in _parameters(error) if entry.required and entry.name not in found]
    if len(missing) > 1:
        *names, last = map(_name, missing)
        return f"expected {', '.join(names)} and {last}, found none of them"
    return f"{_name(error.param)}: expected {_expected(error.param)}, found none"


def _other_fault(error: UsageError) -> str:
    """Describe an error that typer distinguishes only by its message."""
    if extra := _EXTRA.match(error.message):
        return f"expected no further argument, found {extra['found']}"
    if unknown := _NO_COMMAND.match(error.message):
        known = _commands(error)
        return f"{unknown['found']}: unknown command{did_you_mean(unknown['found'], known) or _one_of(known)}"
    if error.message == "Missing command.":
        return f"expected a command, found none{_one_of(_commands(error))}"
    return error.message.rstrip(".")


def _one_of(names: Sequence[str]) -> str:
    return f"; name one of {', '.join(names)}"


def _commands(error: UsageError) -> list[str]:
    if error.ctx is None or not isinstance(error.ctx.command, typer.core.TyperGroup):
        return []
    return error.ctx.command.list_commands(error.ctx)


def _wrong_value(error: BadParameter) -> str:
    found = input_of(error)
    if found is None:
        return error.message.rstrip(".")
    hint = did_you_mean(found, choices_of(error.param))
    return f"expected {_expected(error.param)}, found {found!r}{hint}"


def _options(error: UsageError) -> list[str]:
    return [name for parameter in _parameters(error) for name in (*parameter.opts, *parameter.secondary_opts)]


def _parameter(error: UsageError, name: str) -> Parameter | None:
    return next((parameter for parameter in _parameters(error) if name in parameter.opts), None)


def _parameters(error: UsageError) -> list[Parameter]:
    return [] if error.ctx is None else error.ctx.command.get_params(error.ctx)


def _name(parameter: Parameter | None) -> str:
    """Return the name of a parameter as the help shows it: `--out`, `RUN`."""
    if parameter is None:
        return "command line"
    if parameter.param_type_name == "argument":
        return parameter.metavar or parameter.name
    return max(parameter.opts, key=len)


def _expected(parameter: Parameter | None) -> str:
    if parameter is None:
        return "a value"
    if choices := choices_of(parameter):
        return f"one of {', '.join(choices)}"
    kind = value_name(parameter) or "TEXT"
    own = parameter.metavar if parameter.param_type_name == "option" and kind == "TEXT" else None
    return _KINDS.get(own or kind, own or kind)


def _expected_value(parameter: Parameter | None) -> str:
    """Describe the value that an option lacks."""
    choices = choices_of(parameter)
    return f"a value ({', '.join(choices)})" if choices else _expected(parameter)
