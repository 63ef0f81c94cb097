"""The command line, assembled from the modules of this package; slow imports wait until a command runs."""

from typing import Annotated

import typer

from tcf import __version__
from tcf.commands.cache import cache_app
from tcf.commands.combine import combine_command
from tcf.commands.command import Command, Group, HeavyCommand
from tcf.commands.compare import compare_command
from tcf.commands.data import data_app
from tcf.commands.doctor import doctor_command
from tcf.commands.evaluate import evaluate_command
from tcf.commands.extract import convert_command, extract_command, plan_command
from tcf.commands.init import init_command
from tcf.commands.recommend import recommend_command
from tcf.commands.study import pipeline_command, study_app
from tcf.commands.train import runs_command, search_command, train_command
from tcf.commands.usage.typer_internals import Context, NoArgsIsHelpError, UsageError
from tcf.commands.usage.usage_errors import usage_error_line
from tcf.common.errors import ConfigError

__all__ = ["app", "run_commands"]

_STEPS = "Steps, in this order"
_ALL = "All steps, many runs"
_TOOLS = "Tools"
_ORDER = (
    "data",
    "extract",
    "train",
    "combine",
    "evaluate",
    "compare",
    "recommend",
    "init",
    "study",
    "pipeline",
    "search",
    "runs",
    "cache",
    "plan",
    "convert",
    "doctor",
)


class _Root(Group):
    """All commands in the order of `_ORDER`; typer alone would list groups last."""

    def list_commands(self, ctx: Context) -> list[str]:
        """Return the names of the commands in the order of use."""
        return sorted(super().list_commands(ctx), key=_ORDER.index)


app = typer.Typer(
    cls=_Root,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(data_app, name="data", rich_help_panel=_STEPS)
app.command("extract", cls=HeavyCommand, rich_help_panel=_STEPS)(extract_command)
app.command("train", cls=HeavyCommand, rich_help_panel=_STEPS)(train_command)
app.command("combine", cls=HeavyCommand, rich_help_panel=_STEPS)(combine_command)
app.command("evaluate", cls=HeavyCommand, rich_help_panel=_STEPS)(evaluate_command)
app.command("compare", cls=Command, rich_help_panel=_STEPS)(compare_command)
app.command("recommend", cls=HeavyCommand, rich_help_panel=_STEPS)(recommend_command)
app.command("init", cls=Command, rich_help_panel=_ALL)(init_command)
app.add_typer(study_app, name="study", rich_help_panel=_ALL)
app.command("pipeline", cls=Command, rich_help_panel=_ALL)(pipeline_command)
app.command("search", cls=HeavyCommand, rich_help_panel=_ALL)(search_command)
app.command("runs", cls=Command, rich_help_panel=_TOOLS)(runs_command)
app.add_typer(cache_app, name="cache", rich_help_panel=_TOOLS)
app.command("plan", cls=HeavyCommand, rich_help_panel=_TOOLS)(plan_command)
app.command("convert", cls=HeavyCommand, rich_help_panel=_TOOLS)(convert_command)
app.command("doctor", cls=HeavyCommand, rich_help_panel=_TOOLS)(doctor_command)


def run_commands() -> int:
    """Run the command line and return its exit status.

    Raises:
        ConfigError: the command line is wrong.
        TcfError: any error of the command.
    """
    try:
        return int(app(prog_name="tcf", standalone_mode=False) or 0)
    except NoArgsIsHelpError as error:
        print(error.message)
        return error.exit_code
    except UsageError as error:
        raise ConfigError(usage_error_line(error)) from None


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"tcf {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and stop.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Recommend items by their texts.

    A frozen language model reads each text once; SASRec or DSSM is trained on its vectors; the whole catalogue is
    ranked.

    Examples:
        tcf data download ml-100k
        tcf pipeline examples/quickstart.toml
        tcf train --help
    """
