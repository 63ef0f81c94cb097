"""The command that searches for the best settings."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["search_command"]


def search_command(
    file: Annotated[
        Path, typer.Argument(help="Search file, such as examples/search.toml, which says what it may hold.")
    ],
) -> None:
    """Search for the settings with the best validation NDCG@10, trial by trial; run it again and it goes on.

    The file names out, data and cache. Its table search says how many trials, workers, seed and pruning; its table
    train holds the settings that all trials share, and its table space the ranges of the others, or the study's with
    paper = true. Trials are ordinary runs in OUT/trials. OUT/trials.csv lists them; OUT/best.toml holds the best
    settings, for `tcf train --config`.
    """
    from tcf.launch.search.search import run_search
    from tcf.launch.search.search_file import read_search

    print(run_search(read_search(file)).summary())
