"""The command that runs all stages of a configuration file."""

from pathlib import Path
from typing import Annotated

import typer

from tcf.commands.options import JsonOption
from tcf.commands.output import print_result

__all__ = ["pipeline_command"]


def pipeline_command(
    file: Annotated[Path, typer.Argument(help="Configuration file, such as examples/quickstart.toml.")],
    as_json: JsonOption = False,
) -> None:
    """Run all stages of a configuration file that have not been run yet, and compare the results."""
    from tcf.launch.pipeline import run_pipeline
    from tcf.launch.pipeline_file import read_pipeline

    done = run_pipeline(read_pipeline(file))
    print_result(done.as_json(), as_json=as_json, text=done.summary())
