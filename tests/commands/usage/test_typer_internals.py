"""What the command line uses of typer beyond its documentation, each named when it breaks."""

from pathlib import Path
from typing import Annotated, Literal

import pytest
import typer
import typer.core
import typer.main

from tcf.commands.usage.typer_internals import (
    AnyCommand,
    BadOptionUsage,
    BadParameter,
    Context,
    HelpFormatter,
    MissingParameter,
    NoArgsIsHelpError,
    NoSuchOption,
    Parameter,
    UsageError,
    choices_of,
    input_of,
    value_name,
)

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def command(
    source: Path,
    kind: Annotated[Literal["a", "b"], typer.Option()] = "a",
    count: Annotated[int, typer.Option()] = 1,
    share: Annotated[float | None, typer.Option()] = None,
    names: Annotated[list[str] | None, typer.Option()] = None,
    places: Annotated[list[Path] | None, typer.Option()] = None,
    flag: Annotated[bool, typer.Option()] = False,
) -> None: ...


COMMAND = typer.main.get_command(app)
PARAMETERS = {parameter.name: parameter for parameter in COMMAND.params}


def error_of(*words: str) -> UsageError:
    with pytest.raises(UsageError) as raised:
        COMMAND.main(words, standalone_mode=False)
    return raised.value


def test_classes_are_what_typer_builds() -> None:
    assert isinstance(COMMAND, AnyCommand) and issubclass(typer.core.TyperGroup, AnyCommand)
    assert all(isinstance(parameter, Parameter) for parameter in PARAMETERS.values())
    context = Context(COMMAND, info_name="x")
    formatter = context.make_formatter()
    assert isinstance(formatter, HelpFormatter)
    formatter.write("a")
    assert formatter.buffer == ["a"]


def test_kinds_of_errors() -> None:
    unknown, missing, wrong = error_of("--zzz"), error_of("--count", "1"), error_of("x", "--count", "y")
    assert isinstance(unknown, NoSuchOption) and unknown.option_name == "--zzz"
    assert isinstance(missing, MissingParameter) and missing.param is PARAMETERS["source"]
    assert isinstance(wrong, BadParameter) and wrong.param is PARAMETERS["count"] and wrong.ctx
    assert isinstance(error_of("--count"), BadOptionUsage)


def test_words_by_which_errors_are_known() -> None:
    assert error_of("--count").message == "Option '--count' requires an argument."
    assert error_of("x", "y", "z").message == "Got unexpected extra argument(s) (y z)"
    groups = typer.Typer(add_completion=False, no_args_is_help=True, rich_markup_mode=None)
    groups.command("a")(command)
    groups.command("b")(command)
    group = typer.main.get_command(groups)
    assert isinstance(group, typer.core.TyperGroup)
    group.suggest_commands = False
    with pytest.raises(NoArgsIsHelpError, match="Usage: "):
        group.main([], standalone_mode=False)
    for words, message in ((["--"], "Missing command."), (["c"], "No such command 'c'.")):
        with pytest.raises(UsageError) as raised:
            group.main(words, standalone_mode=False)
        assert raised.value.message == message


def test_input_of_a_value_that_does_not_fit() -> None:
    found = [error_of("x", *words) for words in (("--count", "y"), ("--kind", "c"), ("--share", "z"))]
    assert [isinstance(error, BadParameter) and input_of(error) for error in found] == ["y", "c", "z"]
    assert input_of(BadParameter("ours")) is None


def test_choices_of_and_value_name() -> None:
    assert choices_of(PARAMETERS["kind"]) == ("a", "b")
    assert choices_of(PARAMETERS["count"]) == choices_of(None) == ()
    names = {name: value_name(parameter) for name, parameter in PARAMETERS.items()}
    assert names == {
        "source": "PATH",
        "kind": "[a|b]",
        "count": "INTEGER",
        "share": "NUMBER",
        "names": "TEXT",
        "places": "PATH",
        "flag": None,
    }
