"""Options that commands share: those of the stages' dataclasses, so that a setting is written once, and `--json`."""

import dataclasses
import functools
import inspect
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from tcf.common.errors import ConfigError
from tcf.config.fields import from_mapping, option_name, read_toml

__all__ = ["JsonOption", "configured", "inputs_of", "read_settings"]

_INPUTS = "inputs"
_NONE = "none"
_KINDS = {int: "a whole number", float: "a number"}
_CONTEXT = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of plain lines.")]


def configured(kind: type[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Turn a command's parameter `config` into one option for every field of a configuration dataclass.

    A command with a parameter `file` takes its settings from that configuration file, if one is given; options given
    on the command line override it, and the word `none` takes back a number that is not given by default.

    Args:
        kind: one of the settings classes of `tcf.config`.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = [p for p in inspect.signature(command).parameters.values() if p.name != "config"]
        hints = typing.get_type_hints(kind)
        reads_file = any(parameter.name == "file" for parameter in own)
        fields = [_parameter(entry, hints, reads_file) for entry in dataclasses.fields(kind)]
        names = {field.name for field in fields}

        @functools.wraps(command)
        def with_options(context: typer.Context, **values: Any) -> None:
            file = values.get("file")
            base = kind() if file is None else from_mapping(kind, read_settings(file), str(file))
            typed = {k: v for k, v in values.items() if k in names and _is_typed(context, k)}
            settings = {k: _setting(v, hints[k], k) for k, v in typed.items()}
            rest = {k: v for k, v in values.items() if k not in names}
            command(config=dataclasses.replace(base, **settings), **rest)

        parameters = [_CONTEXT, *own, *fields]
        with_options.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        with_options.__annotations__ = {p.name: p.annotation for p in parameters}
        return with_options

    return decorate


def read_settings(file: Path) -> dict[str, Any]:
    """A stage's settings in a configuration file, such as a run's `config.toml`; what else it holds is left out.

    Raises:
        ConfigError: it is missing, unreadable or not TOML.
    """
    return {key: value for key, value in read_toml(file).items() if key != _INPUTS}


def inputs_of(file: Path) -> tuple[Path | None, list[Path]]:
    """Where a configuration file says that the dataset and the caches are; paths there start at its own folder.

    Raises:
        ConfigError: it is missing, unreadable or not TOML, or names something else.
    """
    inputs = read_toml(file).get(_INPUTS, {})
    if not isinstance(inputs, dict) or not all(_is_input(key) and isinstance(inputs[key], str) for key in inputs):
        raise ConfigError(f"{file}: [{_INPUTS}] expected data, cache, cache.2, ... as folders, found {inputs}")
    places = {key: file.parent / place for key, place in inputs.items()}
    data = places.pop("data", None)
    return data, [places[key] for key in sorted(places, key=lambda key: int(key.partition(".")[2] or 1))]


def _is_input(key: str) -> bool:
    name, dot, number = key.partition(".")
    return key in ("data", "cache") or (name == "cache" and bool(dot) and number.isdecimal())


def _is_typed(context: typer.Context, name: str) -> bool:
    """Whether an option was given on the command line."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _setting(value: Any, hint: Any, name: str) -> Any:
    """What was typed, as the field wants it."""
    if hint != tuple[int, ...]:
        return tuple(value) if isinstance(value, list) else value
    try:
        return tuple(int(number) for number in value.split(","))
    except ValueError:
        raise ConfigError(
            f"{option_name(name)}: expected whole numbers with commas between them, found {value!r}"
        ) from None


def _parameter(entry: "dataclasses.Field[Any]", hints: dict[str, Any], reads_file: bool) -> inspect.Parameter:
    hint, default = hints[entry.name], entry.default
    name = option_name(entry.name)
    # What a file has switched on can be switched off.
    names = f"{name}/--no-{name[2:]}" if hint is bool and reads_file else name
    if hint == tuple[int, ...]:
        hint, default = str | None, None
    elif typing.get_origin(hint) is tuple:
        hint, default = list[str], list(typing.cast(tuple[str, ...], default))
    optional = {int | None: int, float | None: float}.get(hint) if reads_file else None
    help, minimum = entry.metadata["help"], entry.metadata["minimum"]
    option = (
        typer.Option(names, help=help, min=minimum) if optional is None else _number(names, help, minimum, optional)
    )
    return inspect.Parameter(
        entry.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[hint, option]
    )


def _number(names: str, help: str, minimum: float | None, kind: type[int] | type[float]) -> Any:
    """An option for a number, or for the word `none` in place of what a file says."""

    def parse(typed: str) -> int | float | None:
        if typed == _NONE:
            return None
        try:
            return kind(typed)
        except ValueError:
            raise typer.BadParameter(f"{typed!r} is neither {_KINDS[kind]} nor {_NONE}") from None

    metavar = f"<{kind.__name__}|{_NONE}>" + ("" if minimum is None else f" [x>={minimum}]")
    return typer.Option(names, help=help, parser=parse, metavar=metavar)
