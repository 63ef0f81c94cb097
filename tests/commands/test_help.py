"""The pages of help: their words, at 80 columns, are kept in the folder `help`, and every command has its parts.

After a change, read the difference of `TCF_RENEW_HELP=1 python -m pytest tests/commands/test_help.py`, then commit it.
"""

import os
from pathlib import Path

import pytest

from small.command_line import contexts, parse
from tcf.commands.command import GENERAL
from tcf.commands.usage.typer_internals import Parameter

PAGES = Path(__file__).parent / "help"
NAMES = {"TEXT", "INTEGER", "NUMBER", "PATH", "FILE", "COLUMN", "TIME", "DEVICE", "DEVICES", "LAYER", "LAYERS", "NAME"}
OTHER_NAMES = {"MODEL", "LIMITS", "I/N", "CHARACTER", "FORMAT", "COLUMN=PATTERN", "NAME,NAME,..."}
OTHER_NAMES |= {
    "INTEGER|none",
    "NUMBER|none",
    "INTEGER|full|none",
    "DEPTHS",
    "GROUPS",
    "NAME=PATH",
    "NAME=VALUE",
    "SIZE",
    "NAME[=VALUE]",
}


CONTEXTS = contexts()


def page(words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """What a command line prints, which has to be a page of help."""
    monkeypatch.setenv("COLUMNS", "80")
    assert CONTEXTS["tcf"].command.main(words[1:], prog_name="tcf", standalone_mode=False) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("path", CONTEXTS)
def test_pages_are_as_they_were_read(
    path: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = page([*path.split(), "--help"], monkeypatch, capsys)
    assert page([*path.split(), "-h"], monkeypatch, capsys) == shown
    kept = PAGES / f"{path.replace(' ', '_')}.txt"
    if os.environ.get("TCF_RENEW_HELP"):
        kept.write_text(shown, encoding="utf-8")
    assert kept.is_file() and kept.read_text(encoding="utf-8") == shown, "read it, and renew it as this module says"


def test_no_page_is_kept_of_a_command_that_has_gone() -> None:
    assert {file.stem.replace("_", " ") for file in PAGES.glob("*.txt")} == set(CONTEXTS)


@pytest.mark.parametrize("path", CONTEXTS)
def test_pages_fit_into_80_columns_and_leave_room_for_words(path: str) -> None:
    lines = CONTEXTS[path].command.get_help(CONTEXTS[path]).splitlines()
    assert max(map(len, lines)) <= 80
    # Where the words of an option begin.
    assert all(len(line) - len(line.lstrip()) <= 34 for line in lines)


@pytest.mark.parametrize("path", CONTEXTS)
def test_every_option_has_a_group_words_and_a_readable_value(path: str) -> None:
    context = CONTEXTS[path]
    for parameter in context.command.get_params(context):
        words = getattr(parameter, "help", None)
        assert words and words.endswith("."), parameter.name
        if parameter.param_type_name == "option":
            assert getattr(parameter, "rich_help_panel", None) != "Options", f"{parameter.opts}: give it a group"
            assert is_readable(parameter), parameter.metavar
        else:
            assert parameter.metavar and parameter.metavar.isupper()


def is_readable(parameter: Parameter) -> bool:
    value = parameter.metavar
    return value is None or value in NAMES | OTHER_NAMES or (value.startswith("[") and value.endswith("]"))


@pytest.mark.parametrize("path", CONTEXTS)
def test_every_page_ends_with_the_general_options_and_examples(path: str) -> None:
    shown = CONTEXTS[path].command.get_help(CONTEXTS[path])
    heads = [line[:-1] for line in shown.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert heads[-2:] == [GENERAL, "Examples"]
    assert all(name in shown for name in ("-h, --help", "-v, --verbose", "-q, --quiet"))


def examples() -> list[str]:
    """The examples of all pages, each one command line."""
    found = [context.command.get_help(context).partition("\nExamples:\n")[2] for context in CONTEXTS.values()]
    assert all(found)
    return [line.strip() for text in found for line in text.replace("\\\n", " ").splitlines()]


@pytest.mark.parametrize("line", examples())
def test_examples_can_be_typed(line: str) -> None:
    parse(line)


def test_the_first_options_of_train_are_about_ten() -> None:
    context = CONTEXTS["tcf train"]
    _, _, rest = context.command.get_help(context).partition("Main options:\n")
    section = rest.partition("\n\n")[0]
    assert 10 <= sum(line.startswith("  --") for line in section.splitlines()) <= 14


def test_commands_are_listed_in_the_order_in_which_they_are_used() -> None:
    names = [path.split()[1] for path in CONTEXTS if len(path.split()) == 2]
    assert names[:7] == ["data", "extract", "train", "combine", "evaluate", "compare", "recommend"]
