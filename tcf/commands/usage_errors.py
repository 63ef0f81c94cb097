"""Mistakes on the command line as errors of one line: where, what was expected, what was found, what to do."""

import re

from tcf.commands.typer_internals import (
    BadOptionUsage,
    BadParameter,
    MissingParameter,
    NoSuchOption,
    Parameter,
    UsageError,
    choices_of,
    input_of,
)
from tcf.common.errors import did_you_mean

__all__ = ["usage_error_line"]

_KINDS = {"INTEGER": "a whole number", "NUMBER": "a number", "PATH": "a path", "FILE": "a file", "TEXT": "some text"}
# Messages of the parser that name what was found but not in the form of ours.
_EXTRA = re.compile(r"Got unexpected extra argument\(s\) \((?P<found>.*)\)", re.DOTALL)
_NO_COMMAND = re.compile(r"No such command '(?P<found>.*?)'\.", re.DOTALL)
_NO_VALUE = re.compile(r"Option '.*?' requires an argument\.", re.DOTALL)


def usage_error_line(error: UsageError) -> str:
    """What is wrong with a command line, in one line that ends with what to do."""
    path = "tcf" if error.ctx is None else error.ctx.command_path
    fault = _fault(error)
    return f"{path}: {fault} See {path} --help" if fault.endswith("?") else f"{path}: {fault}; see {path} --help"


def _fault(error: UsageError) -> str:
    match error:
        case NoSuchOption(option_name=name):
            return f"{name}: unknown option{did_you_mean(name, _options(error))}"
        case MissingParameter(param=parameter):
            return f"{_name(parameter)}: expected {_expected(parameter)}, found nothing"
        case BadParameter(param=parameter):
            return f"{_name(parameter)}: {_wrong_value(error)}"
        case BadOptionUsage(option_name=name):
            parameter = _parameter(error, name)
            if _NO_VALUE.search(error.message):
                return f"{name}: expected {_expected(parameter)} after it, found nothing"
            return f"{name}: expected no value after it, found one"
    return _other_fault(error)


def _other_fault(error: UsageError) -> str:
    """Faults that the parser tells apart by their words alone."""
    if extra := _EXTRA.match(error.message):
        return f"expected no further argument, found {extra['found']}"
    if unknown := _NO_COMMAND.match(error.message):
        known = getattr(error.ctx and error.ctx.command, "commands", {})
        hint = did_you_mean(unknown["found"], list(known)) or f"; expected one of {', '.join(known)}"
        return f"{unknown['found']}: unknown command{hint}"
    if error.message == "Missing command.":
        known = getattr(error.ctx and error.ctx.command, "commands", {})
        return f"expected a command ({', '.join(known)}), found none"
    return error.message.rstrip(".")


def _wrong_value(error: BadParameter) -> str:
    found = input_of(error)
    if found is None:
        return error.message.rstrip(".")
    hint = did_you_mean(found, choices_of(error.param))
    return f"expected {_expected(error.param)}, found {found!r}{hint}"


def _options(error: UsageError) -> list[str]:
    parameters = [] if error.ctx is None else error.ctx.command.get_params(error.ctx)
    return [name for parameter in parameters for name in (*parameter.opts, *parameter.secondary_opts) if name[0] == "-"]


def _parameter(error: UsageError, name: str) -> Parameter | None:
    parameters = [] if error.ctx is None else error.ctx.command.get_params(error.ctx)
    return next((parameter for parameter in parameters if name in parameter.opts), None)


def _name(parameter: Parameter | None) -> str:
    """How the help calls a parameter: `--out`, `RUN`."""
    if parameter is None:
        return "command line"
    if parameter.param_type_name == "argument":
        return parameter.metavar or parameter.name or ""
    return max(parameter.opts, key=len)


def _expected(parameter: Parameter | None) -> str:
    choices = choices_of(parameter)
    if choices:
        return f"one of {', '.join(choices)}"
    metavar = (parameter and parameter.metavar) or "a value"
    return _KINDS.get(metavar, metavar if parameter and parameter.param_type_name == "option" else "a value")
