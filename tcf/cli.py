"""The command line, put together from `tcf.commands`. Nothing heavy is imported before a command runs."""

import os
import signal
import sys
from types import FrameType
from typing import Annotated

import typer

from tcf import __version__
from tcf.commands.cache import cache_app
from tcf.commands.data import data_app
from tcf.commands.doctor import doctor_command
from tcf.commands.evaluate import evaluate_command, recommend_command
from tcf.commands.extract import convert_command, extract_command, plan_command
from tcf.commands.pipeline import pipeline_command
from tcf.commands.train import runs_command, search_command, train_command
from tcf.common.errors import TcfError
from tcf.common.logs import configure_logging

__all__ = ["app", "main"]

app = typer.Typer(
    help="Item text, read by a language model, for recommendation: how far does it take you on your data?",
    epilog="In order: data prepare, extract, train, evaluate, recommend. `tcf pipeline FILE` runs them all.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(data_app, name="data")
app.add_typer(cache_app, name="cache")
app.command("plan")(plan_command)
app.command("runs")(runs_command)
app.command("search")(search_command)
app.command("extract")(extract_command)
app.command("convert")(convert_command)
app.command("train")(train_command)
app.command("evaluate")(evaluate_command)
app.command("recommend")(recommend_command)
app.command("pipeline")(pipeline_command)
app.command("doctor")(doctor_command)


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False) -> None:
    """Item text, read by a language model, for recommendation: how far does it take you on your data?"""
    if version:
        print(f"tcf {__version__}")
        raise typer.Exit


def _interrupted(number: int, frame: FrameType | None) -> None:
    # Not print: the signal may have come in the middle of one, and buffered streams refuse a second.
    os.write(2, f"tcf: interrupted by {signal.Signals(number).name}; run the same command again\n".encode())
    raise SystemExit(128 + number)


def main() -> None:
    """Run the command line; an error that the user can mend is one line and exit status 2."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupted)
    configure_logging()
    try:
        app()
    except TcfError as error:
        print(f"tcf: error: {' '.join(str(error).split())}", file=sys.stderr)
        raise SystemExit(2) from None
    except BrokenPipeError:
        # The reader of our output, such as `head`, has gone; nothing more can be said to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
