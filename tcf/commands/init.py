"""The command that writes an example of a study, pipeline or search file."""

import shlex
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal

import typer

from tcf.commands.options import JsonOption
from tcf.commands.output import print_result
from tcf.common.errors import RunError
from tcf.common.files import publish_file
from tcf.config.fields import MAIN_OPTIONS

__all__ = ["init_command"]

_COMMANDS = {"study": "study", "tcf-paper": "study", "quickstart": "pipeline", "best": "pipeline", "search": "search"}


def init_command(
    name: Annotated[
        Literal["study", "tcf-paper", "quickstart", "best", "search"],
        typer.Argument(
            help="study: three encoders of different size and ids, in minutes. tcf-paper: the study's own grid with "
            "nine sizes of OPT, on a cluster. quickstart: one encoder, step by step. best: the "
            "best ranking of your own data, without a search. search: the best settings.",
            metavar="EXAMPLE",
        ),
    ] = "study",
    out: Annotated[
        Path | None,
        typer.Option("--out", help="File to write. Default: EXAMPLE.toml, here.", rich_help_panel=MAIN_OPTIONS),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write an example of a file that says what to do, to be changed for your own data.

    Each explains all of its entries. A file that is there is never replaced.

    Examples:
        tcf init
        tcf init quickstart --out films.toml
    """
    place = out or Path(f"{name}.toml")
    if place.exists() or place.is_symlink():
        raise RunError(f"{place}: expected no such file, found one; name another --out, or remove it")
    publish_file(place, files("tcf").joinpath("examples", f"{name}.toml").read_bytes())
    follows = f"tcf {_COMMANDS[name]} {shlex.quote(str(place))}"
    print_result(
        {"file": place, "run": follows},
        as_json=as_json,
        text=f"{place}: written; change it for your own data, then run `{follows}`",
    )
