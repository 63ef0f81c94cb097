"""All commands, for tests that hold of each."""

import typer.main

from tcf.commands.app import app
from tcf.commands.command import Group
from tcf.commands.typer_internals import Context


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
