"""All commands, for tests that hold of each."""

import shlex
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pytest
import typer.main

from tcf.cli import main
from tcf.commands.app import app
from tcf.commands.command import Command, DefaultGroup, Group
from tcf.commands.usage.typer_internals import Context


def contexts(context: Context | None = None) -> dict[str, Context]:
    """Every command and group of commands, by what is typed for it."""
    if context is None:
        command = typer.main.get_command(app)
        context = Context(command, info_name="tcf", **command.context_settings)
    found = {context.command_path: context}
    if isinstance(context.command, Group):
        for name in context.command.list_commands(context):
            found |= contexts(Context(context.command.commands[name], info_name=name, parent=context))
    return found


def parse(line: str) -> None:
    """Parse a command line as a shell and the program would, without running it; a usage error is raised."""
    program, *words = shlex.split(line, comments=True)
    assert program == "tcf"
    context = contexts()["tcf"]
    command = context.command
    while isinstance(command, Group):
        name, *words = command.with_default(words) if isinstance(command, DefaultGroup) else words
        command = command.commands[name]
        context = Context(command, info_name=name, parent=context)
    assert isinstance(command, Command)
    if "--help" not in words:
        command.parse_args(context, words)


@contextmanager
def run_program(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Sequence[str]], int]]:
    """Run command lines as the program does, in this process; each returns its exit status."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)

    def run(words: Sequence[str]) -> int:
        monkeypatch.setattr(sys, "argv", ["tcf", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0)

    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)
