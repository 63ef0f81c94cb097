"""Mistakes on the command line: each kind, of every command that can have it, is one line of the same form."""

import sys
from collections.abc import Iterator

import pytest

from small.command_line import contexts
from tcf.commands.app import run_commands
from tcf.commands.command import DefaultGroup, Group
from tcf.commands.usage.typer_internals import Parameter, UsageError, choices_of, value_name
from tcf.commands.usage.usage_errors import usage_error_line
from tcf.common.errors import ConfigError

CONTEXTS = contexts()
COMMANDS = {path: context for path, context in CONTEXTS.items() if not isinstance(context.command, Group)}
GROUPS = [path for path in CONTEXTS if path not in COMMANDS]
WITH_DEFAULT = [path for path in GROUPS if isinstance(CONTEXTS[path].command, DefaultGroup)]
COMMANDS_OF = {path: [entry.split()[-1] for entry in CONTEXTS if entry.rpartition(" ")[0] == path] for path in GROUPS}
KINDS = {"INTEGER": "a whole number", "NUMBER": "a number", "PATH": "a path", "TEXT": ""}


def fault(*words: str) -> str:
    """What is said of a wrong command line; parsing alone comes to it."""
    with pytest.raises(UsageError) as raised:
        CONTEXTS["tcf"].command.main(words[1:], prog_name="tcf", standalone_mode=False)
    return usage_error_line(raised.value)


def prefix(path: str) -> str:
    """What a line begins with; the line itself is printed after "tcf: error: "."""
    return "" if path == "tcf" else f"{path}: "


def valid(path: str) -> list[str]:
    """The words of a command line, with a value for each parameter that is required."""
    words = path.split()
    for parameter in COMMANDS[path].command.params:
        if parameter.required:
            option = [max(parameter.opts, key=len)] if parameter.param_type_name == "option" else []
            words += [*option, (*choices_of(parameter), "x")[0]]
    return words


def options() -> Iterator[tuple[str, str, str | None]]:
    """Each option of each command, with what it wants."""
    for path, context in COMMANDS.items():
        for parameter in context.command.get_params(context):
            if parameter.param_type_name == "option":
                yield path, name_of(parameter), None if value_name(parameter) is None else wanted(parameter)


def name_of(parameter: Parameter) -> str:
    return max(parameter.opts, key=len) if parameter.param_type_name == "option" else parameter.metavar or ""


def wanted(parameter: object) -> str:
    choices = choices_of(parameter)  # type: ignore[arg-type]
    return f"one of {', '.join(choices)}" if choices else KINDS.get(value_name(parameter) or "", "")  # type: ignore[arg-type]


@pytest.mark.parametrize("path", CONTEXTS)
def test_an_unknown_option(path: str) -> None:
    words = path.split()
    path += " run" if path in WITH_DEFAULT else ""  # whose option it would be
    assert fault(*words, "--quite") == f"{prefix(path)}--quite: unknown option; did you mean --quiet? See {path} --help"
    assert fault(*words, "--zzz") == f"{prefix(path)}--zzz: unknown option; see {path} --help"
    assert fault(*words, "-z") == f"{prefix(path)}-z: unknown option; see {path} --help"


@pytest.mark.parametrize("path", [path for path in GROUPS if path not in WITH_DEFAULT])
def test_an_unknown_command_and_none(path: str) -> None:
    names = COMMANDS_OF[path]
    typed = names[0] + "e"
    assert fault(*path.split(), typed) == (
        f"{prefix(path)}{typed}: unknown command; did you mean {names[0]}? See {path} --help"
    )
    known = f"name one of {', '.join(names)}; see {path} --help"
    assert fault(*path.split(), "zzz") == f"{prefix(path)}zzz: unknown command; {known}"
    assert fault(*path.split(), "-v") == f"{prefix(path)}expected a command, found none; {known}"


@pytest.mark.parametrize("path", [path for path in COMMANDS if path not in ("tcf runs", "tcf doctor", "tcf init")])
def test_what_is_required_is_missing(path: str) -> None:
    required = [parameter for parameter in COMMANDS[path].command.params if parameter.required]
    said, see = fault(*path.split(), "--quiet"), f"; see {path} --help"
    if len(required) == 1:
        assert said.startswith(f"{path}: {name_of(required[0])}: expected {wanted(required[0])}")
        assert said.endswith(f", found none{see}")
    else:
        *names, last = map(name_of, required)
        assert said == f"{path}: expected {', '.join(names)} and {last}, found none of them{see}"


def takes_any_number(path: str) -> bool:
    """Whether a command takes any number of arguments, such as folders."""
    return any(entry.nargs == -1 for entry in COMMANDS[path].command.params if entry.param_type_name == "argument")


@pytest.mark.parametrize("path", [path for path in COMMANDS if not takes_any_number(path)])
def test_one_argument_too_many(path: str) -> None:
    arguments = [entry for entry in COMMANDS[path].command.params if entry.param_type_name == "argument"]
    words = [*valid(path), *((*choices_of(entry), "more")[0] for entry in arguments if not entry.required), "more"]
    assert fault(*words) == f"{path}: expected no further argument, found more; see {path} --help"


@pytest.mark.parametrize(("path", "option", "expected"), [*options()])
def test_a_value_that_is_missing_wrong_or_too_much(path: str, option: str, expected: str | None) -> None:
    see = f"see {path} --help"
    if expected is None:
        if option != "--help":
            said = fault(*path.split(), f"{option}=1")
            assert said == f"{path}: {option}: expected no value, found one; {see}"
        return
    said = fault(*path.split(), option)
    value = f"a value ({expected.removeprefix('one of ')})" if expected.startswith("one of ") else expected
    assert said.startswith(f"{path}: {option}: expected {value}") and said.endswith(f", found none; {see}")
    if expected.startswith(("one of", "a whole number", "a number")):
        said = fault(*path.split(), option, "?")
        assert said in {f"{path}: {option}: expected {expected}{end}, found '?'; {see}" for end in ("", " or none")}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("train --out r --bach-size 3", "tcf train: --bach-size: unknown option; did you mean --batch-size? See tcf "),
        (
            "train --out r --backbone sasrek",
            "--backbone: expected one of sasrec, dssm, found 'sasrek'; did you mean sas",
        ),
        (
            "train --out r --whiten 8.5",
            "tcf train: --whiten: expected a whole number or none, found '8.5'; see tcf train",
        ),
        (
            "train --out r -v -q",
            "tcf train: --quiet: expected either this or --verbose, found both; see tcf train --help",
        ),
        ("train --out r --width 0", "--width: expected at least 1, found 0; see tcf train --help"),
        ("extract --out c", "tcf extract: expected --data and --model, found none of them; see tcf extract --help"),
        ("extract --dtype", "--dtype: expected a value (auto, float32, bfloat16, float16), found none; see"),
        ("extract --data d --out c", "tcf extract: --model: expected a model name, hub id or folder, found none; see"),
        ("data overlap a b --seed", "--seed: expected a whole number, found none; see"),
        ("plan --model m --max-memory", "--max-memory: expected memory limits, found none; see"),
        ("recommend r --out x --k 0", "tcf recommend: --k: expected at least 1, found 0; see tcf recommend --help"),
        ("plan --model m --items 0", "tcf plan: --items: expected at least 1, found 0; see tcf plan --help"),
        (
            "data prepare csv raw --out d",
            "tcf data prepare: FORMAT: expected one of tcf, recbole, mind, hm, movielens, ",
        ),
        ("data overlap a b --seed -1", "tcf data overlap: --seed: expected at least 0, found -1; see tcf data overlap"),
        (f"data overlap a b --seed {'9' * 5000}", f"{'9' * 199}...; see tcf data overlap --help"),
    ],
)
def test_examples_of_faults(line: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["tcf", *line.split()])
    with pytest.raises(ConfigError) as raised:
        run_commands()
    found = str(raised.value)
    assert said in found
    assert "\n" not in found and ">=" not in found and "Input should" not in found
