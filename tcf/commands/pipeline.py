"""The command that runs all stages of a configuration file."""

from pathlib import Path
from typing import Annotated

import typer

from tcf.commands.options import JsonOption
from tcf.commands.output import print_result

__all__ = ["pipeline_command"]


def pipeline_command(
    file: Annotated[Path, typer.Argument(help="Pipeline file, such as examples/quickstart.toml.")],
    as_json: JsonOption = False,
) -> None:
    """Run all steps of a pipeline file, and compare the results.

    Steps that have already been run are skipped, so that the same command resumes an interrupted pipeline.

    With seeds = [0, 1, 2] in the file, every run is trained and evaluated once with each seed (runs/NAME/seed-0, ...).
    The table then shows means over the seeds with intervals; recommendations are those of the first seed.

    Examples:
        tcf pipeline examples/quickstart.toml
    """
    from tcf.api.pipeline import run_pipeline

    done = run_pipeline(file)
    print_result(done.as_json(), as_json=as_json, text=done.summary())
