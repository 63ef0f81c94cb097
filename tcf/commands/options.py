"""Options that commands share: those of the settings dataclasses, which define each setting once, and `--json`."""

import dataclasses
import functools
import inspect
import shlex
import sys
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from tcf.commands.command import GENERAL
from tcf.commands.usage.usage_errors import with_help
from tcf.common.errors import ConfigError, value_words
from tcf.common.integrity.checksums import Verify
from tcf.config.fields import MAIN_OPTIONS, from_mapping, option_name, read_toml
from tcf.config.launch import JOBS, LaunchConfig
from tcf.config.toml_files import TRAINING_FILE, check_kind, user_path
from tcf.config.typed_values import number_and_words
from tcf.config.verify import VERIFY_HELP

__all__ = [
    "ByOption",
    "FileInputs",
    "JsonOption",
    "Launchable",
    "VerifyOption",
    "at_least",
    "configured",
    "inputs_of",
    "is_launched",
    "overriding",
    "read_settings",
    "this_command",
]

_INPUTS = "inputs"
_NONE = "none"
_KINDS = {int: "a whole number", float: "a number"}
_METAVARS = {int: "INTEGER", float: "NUMBER"}
_NUMBERS: dict[Any, tuple[type[int] | type[float], str]] = {
    tuple[int, ...]: (int, "whole numbers"),
    tuple[float, ...]: (float, "numbers"),
}
"""Settings of several numbers, typed with commas between them."""
_OF_JOBS = {
    "gpus_per_worker": "GPUs of each job, or of each of its nodes. Default: none.",
    "cpus_per_worker": "CPU cores of each job, and so threads. Default: what Slurm gives.",
    "tries": "How often a job is tried that fails or is killed, before it is given up.",
}  # what the help says where these settings have no effect on this machine
_CONTEXT = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
VerifyOption = Annotated[Verify, typer.Option("--verify", help=VERIFY_HELP)]
ByOption = Annotated[
    list[str] | None,
    typer.Option(
        "--by",
        help="Groups to measure as well, from the saved ranks; repeat for several: cold (held-out items without a "
        "training interaction, and the others), warm:20,50,200 (with at least so many), popularity:10 (as many groups "
        "of about equal numbers of held-out items, by training interactions), history:5,10,20 (users, by items before "
        "the held-out one), or FILE:COLUMN (the values of a column of a table with item_id or user_id).",
        metavar="GROUPS",
        rich_help_panel=MAIN_OPTIONS,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print results as JSON.", rich_help_panel=GENERAL)]


@dataclass(frozen=True)
class Launchable:
    """Which settings of `LaunchConfig` a command has.

    Attributes:
        here: those that mean something on this machine as well; the others need `--launcher slurm`.
        without: those that the command does not offer.
        workers: what its help says of `workers`, if that is something else.
    """

    here: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    workers: str | None = None

    @property
    def parameters(self) -> list[inspect.Parameter]:
        """The options of the settings that it offers."""
        hints = typing.get_type_hints(LaunchConfig)
        offered = [entry for entry in dataclasses.fields(LaunchConfig) if entry.name not in self.without]
        return [_parameter(entry, hints, reads_file=False, **self._shown(entry.name)) for entry in offered]

    def _shown(self, name: str) -> dict[str, str | None]:
        """The words and the heading of an option, if they are not those of the setting."""
        if name == "workers":
            return {"words": self.workers}
        if name in _OF_JOBS and name not in self.here:
            return {"words": _OF_JOBS[name], "group": JOBS}
        return {}

    def check(self, launch: LaunchConfig) -> None:
        """Refuse what has no effect.

        Raises:
            ConfigError: a setting needs Slurm.
        """
        if launch.launcher == "slurm":
            return
        for entry in dataclasses.fields(launch):
            value = getattr(launch, entry.name)
            if value != entry.default and entry.name not in self.here:
                raise ConfigError(
                    f"{option_name(entry.name)}: expected --launcher slurm as well, because it has no effect on this "
                    "machine; add it, or leave this option out"
                )


def configured(
    kind: type[Any] | None, launch: Launchable | None = None
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Replace a command's parameter `config` by one option for each field of a settings dataclass.

    If the command has a parameter `file`, it takes its settings from that file; options override them, and the word
    `none` unsets a number that has no default.

    Args:
        kind: one of the settings classes of `tcf.config`; None for a command without.
        launch: the options of `LaunchConfig` that replace a parameter `launch`; None for a command without.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        given = inspect.signature(command).parameters.values()
        own = [parameter for parameter in given if parameter.name not in ("config", "launch")]
        # A search file holds other settings than options.
        reads_file = kind is not None and any(parameter.name == "file" for parameter in own)
        stages = [] if kind is None else _parameters(kind, reads_file)
        launching = [] if launch is None else launch.parameters
        names = {parameter.name for parameter in [*stages, *launching]}

        @functools.wraps(command)
        def with_options(context: typer.Context, **values: Any) -> None:
            built = {k: v for k, v in values.items() if k not in names}
            if kind is not None:
                file = values.get("file")
                base = kind() if file is None else from_mapping(kind, read_settings(file), str(file))
                built["config"] = _with_settings(base, _typed_among(stages, values, context), context.command_path)
            if launch is not None:
                typed = _typed_among(launching, values, context)
                built["launch"] = _with_settings(LaunchConfig(), typed, context.command_path)
                launch.check(built["launch"])
            command(**built)

        parameters = [_CONTEXT, *own, *stages, *launching]
        with_options.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        with_options.__annotations__ = {p.name: p.annotation for p in parameters}
        return with_options

    return decorate


def overriding(kind: type[Any], name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Replace a command's parameter by one option for each field of a settings dataclass; it gets those that are typed.

    For settings that a file has as well, of which the command line replaces some.

    Args:
        kind: one of the settings classes of `tcf.config`.
        name: the parameter's name.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = [p for p in inspect.signature(command).parameters.values() if p.name != name]
        hints = typing.get_type_hints(kind)
        fields = _parameters(kind, reads_file=True)

        @functools.wraps(command)
        def with_options(context: typer.Context, **values: Any) -> None:
            typed = {k: _setting(v, hints[k], k) for k, v in _typed_among(fields, values, context).items()}
            command(**{name: typed}, **{k: v for k, v in values.items() if k not in hints})

        parameters = [_CONTEXT, *own, *fields]
        with_options.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        with_options.__annotations__ = {p.name: p.annotation for p in parameters}
        return with_options

    return decorate


def _parameters(kind: type[Any], reads_file: bool) -> list[inspect.Parameter]:
    """The options of all settings of a class."""
    hints = typing.get_type_hints(kind)
    return [_parameter(entry, hints, reads_file) for entry in dataclasses.fields(kind)]


def _typed_among(
    parameters: Sequence[inspect.Parameter], values: Mapping[str, Any], context: typer.Context
) -> dict[str, Any]:
    """The values of those options that were given on the command line."""
    names = {parameter.name for parameter in parameters}
    return {k: v for k, v in values.items() if k in names and _is_typed(context, k)}


def _with_settings(base: Any, typed: dict[str, Any], path: str) -> Any:
    """Replace settings by those of the command line; errors end with what to do, as usage errors do."""
    hints = typing.get_type_hints(type(base))
    try:
        return dataclasses.replace(base, **{k: _setting(v, hints[k], k) for k, v in typed.items()})
    except ConfigError as error:
        fault = str(error)
        raise ConfigError(fault if "; " in fault else with_help(fault, path)) from None


def read_settings(file: Path) -> dict[str, Any]:
    """Read the settings in a configuration file, such as a run's `config.toml`, without its inputs.

    A file that tcf wrote and that has changed since is a warning.

    Raises:
        ConfigError: it is missing, unreadable, not TOML or another kind of file.
    """
    values = read_toml(file, sealed=True)
    check_kind(values, TRAINING_FILE, file)
    return {key: value for key, value in values.items() if key != _INPUTS}


@dataclass(frozen=True)
class FileInputs:
    """The inputs that a configuration file names.

    Attributes:
        data: the dataset; None if it names none.
        caches: the caches of items as text, in order.
        init_from: the cache that ids start from; None if it names none.
    """

    data: Path | None = None
    caches: tuple[Path, ...] = ()
    init_from: Path | None = None


def inputs_of(file: Path) -> FileInputs:
    """Read the paths of the dataset and the caches in a configuration file, which are relative to its folder.

    Raises:
        ConfigError: it is missing, unreadable or not TOML, or names something else.
    """
    inputs = read_toml(file).get(_INPUTS, {})
    if not isinstance(inputs, dict) or not all(_is_input(key) and isinstance(inputs[key], str) for key in inputs):
        raise ConfigError(
            f"{file}: [{_INPUTS}] expected data, cache, cache.2, ... and init_from as folders, found "
            f"{value_words(inputs)}"
        )
    places = {key: file.parent / user_path(place) for key, place in inputs.items()}
    data, init_from = places.pop("data", None), places.pop("init_from", None)
    caches = (places[key] for key in sorted(places, key=lambda key: int(key.partition(".")[2] or 1)))
    return FileInputs(data, tuple(caches), init_from)


def _is_input(key: str) -> bool:
    name, dot, number = key.partition(".")
    return key in ("data", "cache", "init_from") or (name == "cache" and bool(dot) and number.isdecimal())


def _is_typed(context: typer.Context, name: str) -> bool:
    """Return whether an option was given on the command line."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _setting(value: Any, hint: Any, name: str) -> Any:
    """Convert the value of an option to the type of its field."""
    if hint not in _NUMBERS:
        return tuple(value) if isinstance(value, list) else value
    kind, words = _NUMBERS[hint]
    try:
        return tuple(kind(number) for number in value.split(","))
    except ValueError:
        raise ConfigError(f"{option_name(name)}: expected {words} with commas between them, found {value!r}") from None


def _parameter(
    entry: "dataclasses.Field[Any]",
    hints: dict[str, Any],
    reads_file: bool,
    words: str | None = None,
    group: str | None = None,
) -> inspect.Parameter:
    hint, default = hints[entry.name], entry.default
    name = option_name(entry.name)
    # An option must be able to switch off what a file, or the default, switches on.
    names = f"{name}/--no-{name[2:]}" if hint is bool and (reads_file or default) else name
    metavar = entry.metadata["metavar"]
    if hint in _NUMBERS:
        hint, default = str | None, None
    elif typing.get_origin(hint) is tuple:
        hint, default = list[str], list(typing.cast(tuple[str, ...], default))
    parser = None
    kind, words_for = number_and_words(hint)
    if reads_file and kind is not None and type(None) in typing.get_args(hint):
        words_for += (_NONE,)
    if words_for:
        # Typer knows no alternatives: the parser decides the type.
        hint, parser, metavar = str | None, _number_or_word(kind, words_for), "|".join((_METAVARS[kind], *words_for))
    # The settings class checks ranges, for options and files alike.
    option = typer.Option(
        names,
        help=words or entry.metadata["help"],
        rich_help_panel=group or entry.metadata["group"],
        metavar=metavar,
        parser=parser,
        show_default=hint is not bool,
    )
    return inspect.Parameter(
        entry.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[hint, option]
    )


def at_least(minimum: int) -> Callable[[int | None], int | None]:
    """Build a callback for an option that refuses smaller values."""

    def check(value: int | None) -> int | None:
        if value is not None and value < minimum:
            raise typer.BadParameter(f"expected at least {minimum}, found {value}")
        return value

    return check


def _number_or_word(kind: type[int] | type[float], words: tuple[str, ...]) -> Callable[[str], int | float | str | None]:
    """Build a parser for a number, or for one of some words, of which `none` unsets a number of the file."""
    expected = " or ".join((", ".join((_KINDS[kind], *words[:-1])), words[-1]))

    def parse(typed: str) -> int | float | str | None:
        if typed in words:
            return None if typed == _NONE else typed
        try:
            return kind(typed)
        except ValueError:
            raise typer.BadParameter(f"expected {expected}, found {typed!r}") from None

    return parse


def is_launched(launch: LaunchConfig) -> bool:
    """Whether the work is handed to others; without any of the options it is done in this process."""
    return launch != LaunchConfig()


def this_command() -> str:
    """The command line of this process, for a shell."""
    return shlex.join(["tcf", *sys.argv[1:]])
