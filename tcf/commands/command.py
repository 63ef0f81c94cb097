"""The classes of all commands: help in groups with examples, -h, -v and -q, and `~` in paths."""

import inspect
import logging
import re
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
import typer.core
import typer.main

from tcf.commands.usage.typer_internals import AnyCommand, Context, HelpFormatter, Parameter, UsageError, value_name
from tcf.common.logs import configure_logging
from tcf.config.fields import MAIN_OPTIONS
from tcf.config.toml_files import user_path

__all__ = ["GENERAL", "Command", "DefaultGroup", "Group", "HeavyCommand"]

GENERAL = "General"
"""Heading of the options that every command has; the last group of a help page."""

logger = logging.getLogger(__name__)
_NO_BREAK_SPACE, _NO_BREAK_HYPHEN = "\N{NO-BREAK SPACE}", "\N{NON-BREAKING HYPHEN}"
_ARGUMENTS = "Arguments"
_LEVEL = "tcf.level"  # the log level chosen by -v or -q before the command


def _general_options() -> list[Parameter]:
    """Build the options that every command has without naming them in its signature."""
    app = typer.Typer(add_completion=False)

    @app.command()
    def general(
        verbose: Annotated[
            bool, typer.Option("--verbose", "-v", help="Show details on standard error.", rich_help_panel=GENERAL)
        ] = False,
        quiet: Annotated[
            bool,
            typer.Option(
                "--quiet",
                "-q",
                help="Show only warnings, errors and results.",
                rich_help_panel=GENERAL,
            ),
        ] = False,
    ) -> None: ...

    return list(typer.main.get_command(app).params)


_GENERAL_OPTIONS = tuple(_general_options())


class _Page(AnyCommand):
    """The help page of a command or command group.

    A page is plain text, because in 80 columns typer's boxes leave only a narrow column for the text. It ends with the
    section "Examples" of the command's docstring.
    """

    def get_params(self, ctx: Context) -> list[Parameter]:
        """Return the parameters of the signature, the general options and --help."""
        *own, last = super().get_params(ctx)
        for parameter in own:
            if parameter.metavar is None:
                parameter.metavar = _metavar(parameter)
        return [*own, *_GENERAL_OPTIONS, last]

    def get_help_option(self, ctx: Context) -> typer.core.TyperOption | None:
        """Return the option --help, as a general option."""
        option = super().get_help_option(ctx)
        if option is not None:
            option.rich_help_panel, option.help = GENERAL, "Show this page and stop."
        return option

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        """Parse the arguments; errors refer to this command."""
        try:
            return super().parse_args(ctx, args)
        except UsageError as error:
            error.ctx = error.ctx or ctx
            raise

    def collect_usage_pieces(self, ctx: Context) -> list[str]:
        """Return the parts of the usage line, without the braces that typer puts around required arguments."""
        return [re.sub("[{}]", "", piece) for piece in super().collect_usage_pieces(ctx)]

    def format_help_text(self, ctx: Context, formatter: HelpFormatter) -> None:
        """Write what the command does."""
        formatter.write_paragraph()
        formatter.write_text(_unbroken(_parts(self.help)[0]))
        _restore(formatter)

    def format_options(self, ctx: Context, formatter: HelpFormatter) -> None:
        """Write arguments and options, group by group."""
        rows: dict[str, list[tuple[str, str]]] = {_ARGUMENTS: [], MAIN_OPTIONS: []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                rows.setdefault(_panel(parameter), []).append(_row(parameter, record))
        rows[GENERAL] = rows.pop(GENERAL)
        few = set(rows) == {_ARGUMENTS, MAIN_OPTIONS, GENERAL}
        for panel, entries in rows.items():
            _write_section(formatter, "Options" if few and panel == MAIN_OPTIONS else panel, entries)

    def format_epilog(self, ctx: Context, formatter: HelpFormatter) -> None:
        """Write the examples."""
        with formatter.section("Examples"):
            for line in _parts(self.help)[1].splitlines():
                formatter.write(f"{'':{formatter.current_indent}}{line}\n")


class Command(_Page, typer.core.TyperCommand):
    """A command whose path arguments may begin with `~`."""

    loads_libraries = False

    def invoke(self, ctx: Context) -> Any:
        """Configure the log and run the command; announce slow imports first."""
        configure_logging(_level(ctx))
        if self.loads_libraries and "torch" not in sys.modules:
            logger.info(f"{ctx.command_path}: loading libraries")
        if logger.isEnabledFor(logging.DEBUG):
            from tcf.common.files import home
            from tcf.common.manifest import library_versions

            versions = (f"{name} {version}" for name, version in library_versions().items())
            logger.debug(f"{ctx.command_path}: {', '.join(versions)}; stored files are in {home()}")
        ctx.params = {name: _expanded(value) for name, value in ctx.params.items()}
        return super().invoke(ctx)


class HeavyCommand(Command):
    """A command that imports torch, which takes seconds."""

    loads_libraries = True


class Group(_Page, typer.core.TyperGroup):
    """A group of commands, which also accepts -v and -q before the command."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.suggest_commands = False  # usage_error_line does it

    def invoke(self, ctx: Context) -> Any:
        """Pass the log level on to the command."""
        ctx.meta[_LEVEL] = _level(ctx)
        return super().invoke(ctx)

    def format_options(self, ctx: Context, formatter: HelpFormatter) -> None:
        """Write the commands, then the options."""
        self.format_commands(ctx, formatter)
        super().format_options(ctx, formatter)

    def format_commands(self, ctx: Context, formatter: HelpFormatter) -> None:
        """Write each command with the first paragraph of its help."""
        rows: dict[str, list[tuple[str, str]]] = {}
        for name in self.list_commands(ctx):
            command = self.commands[name]
            panel = getattr(command, "rich_help_panel", None) or "Commands"
            rows.setdefault(panel, []).append((name, _parts(command.help)[0].partition("\n\n")[0]))
        for panel, entries in rows.items():
            _write_section(formatter, panel, entries)


class DefaultGroup(Group):
    """A group whose first command is run if none is named: `tcf study FILE` is `tcf study run FILE`."""

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        """Parse the arguments, with the name of the first command where none is."""
        return super().parse_args(ctx, self.with_default(args))

    def with_default(self, args: Sequence[str]) -> list[str]:
        """Insert the first command's name behind the general options, unless a command or a help page is asked for."""
        general = {name for option in _GENERAL_OPTIONS for name in option.opts}
        place = next((place for place, word in enumerate(args) if word not in general), len(args))
        asked = args[place] if place < len(args) else ""
        if not asked or asked in self.commands or asked in ("-h", "--help"):
            return [*args]
        return [*args[:place], next(iter(self.commands)), *args[place:]]


def _level(ctx: Context) -> int:
    """Return the log level that -v or -q asks for here, or else before this command."""
    verbose, quiet = ctx.params.pop("verbose"), ctx.params.pop("quiet")
    if verbose and quiet:
        raise UsageError("--quiet: expected either this or --verbose, found both", ctx)
    if verbose or quiet:
        return logging.DEBUG if verbose else logging.WARNING
    return int(ctx.meta.get(_LEVEL, logging.INFO))


def _expanded(value: Any) -> Any:
    """Replace `~` in a value that is a path or a list of paths."""
    match value:
        case Path():
            return user_path(value)
        case [Path(), *_]:
            return [user_path(path) for path in value]
    return value


def _metavar(parameter: Parameter) -> str | None:
    """Return the placeholder of an argument or of an option's value."""
    return parameter.name.upper() if parameter.param_type_name == "argument" else value_name(parameter)


def _panel(parameter: Parameter) -> str:
    if parameter.param_type_name == "argument":
        return _ARGUMENTS
    return getattr(parameter, "rich_help_panel", None) or MAIN_OPTIONS


def _row(parameter: Parameter, record: tuple[str, str]) -> tuple[str, str]:
    """Return a parameter's names with the placeholder of its value, and its help text."""
    names, words = record
    if parameter.param_type_name == "argument":
        names = (parameter.metavar or "") + ("..." if parameter.nargs != 1 else "")
    return names, words


def _parts(text: str | None) -> tuple[str, str]:
    """Split a docstring into description and examples."""
    words, _, examples = inspect.cleandoc(text or "").partition("\n\nExamples:\n")
    return words, textwrap.dedent(examples)


def _write_section(formatter: HelpFormatter, heading: str, rows: Sequence[tuple[str, str]]) -> None:
    if rows:
        with formatter.section(heading):
            formatter.write_dl([(name, _unbroken(words)) for name, words in rows])
        _restore(formatter)


def _unbroken(text: str) -> str:
    """Keep hyphenated words, and a default in brackets at the end, on one line when the text is wrapped."""
    start, bracket, end = text.rpartition("  [")
    text = start + bracket + end.replace(" ", _NO_BREAK_SPACE) if bracket else text
    return text.replace("-", _NO_BREAK_HYPHEN)


def _restore(formatter: HelpFormatter) -> None:
    """Replace the characters of `_unbroken` by ordinary spaces and hyphens."""
    table = str.maketrans({_NO_BREAK_SPACE: " ", _NO_BREAK_HYPHEN: "-"})
    formatter.buffer = [text.translate(table) for text in formatter.buffer]
