"""Command-line options from the stages' dataclasses, so that a setting, its default and its help are written once."""

import dataclasses
import functools
import inspect
import typing
from collections.abc import Callable
from typing import Annotated, Any

import typer

__all__ = ["configured"]


def configured(kind: type[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Turn a command's parameter `config` into one option for every field of a configuration dataclass.

    Args:
        kind: one of the dataclasses of `tcf.config`.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = [p for p in inspect.signature(command).parameters.values() if p.name != "config"]
        fields = [_parameter(entry, typing.get_type_hints(kind)) for entry in dataclasses.fields(kind)]
        names = {field.name for field in fields}

        @functools.wraps(command)
        def with_options(**values: Any) -> None:
            settings = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items() if k in names}
            command(config=kind(**settings), **{k: v for k, v in values.items() if k not in names})

        parameters = [*own, *fields]
        with_options.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        with_options.__annotations__ = {p.name: p.annotation for p in parameters}
        return with_options

    return decorate


def _parameter(entry: "dataclasses.Field[Any]", hints: dict[str, Any]) -> inspect.Parameter:
    hint = hints[entry.name]
    default = entry.default
    if typing.get_origin(hint) is tuple:
        hint, default = list[str], list(typing.cast(tuple[str, ...], default))
    option = typer.Option(
        "--" + entry.name.replace("_", "-"), help=entry.metadata["help"], min=entry.metadata["minimum"]
    )
    return inspect.Parameter(
        entry.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[hint, option]
    )
