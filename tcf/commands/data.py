"""The commands for datasets: fetching raw files, preparing, describing one, and comparing two."""

import logging
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tcf.commands.options import JsonOption, configured
from tcf.commands.output import print_result
from tcf.common.errors import ConfigError
from tcf.config.libraries import require_library
from tcf.config.prepare import PrepareConfig
from tcf.config.raw_formats import RawFormat, formats_help

if TYPE_CHECKING:
    from tcf.data.describe.text_lengths import TextLengths

__all__ = ["data_app"]

logger = logging.getLogger(__name__)

data_app = typer.Typer(help="Fetch raw files, make datasets of them, and look at those.", no_args_is_help=True)


@data_app.command("download")
def data_download(
    name: Annotated[
        str,
        typer.Argument(
            help="Name of a dataset: ml-100k, ml-1m, ml-20m, ml-25m, ml-32m, mind-small, mind-large, hm, "
            "amazon-2018-CATEGORY or amazon-2023-CATEGORY, such as amazon-2018-video-games."
        ),
    ],
    accept_licence: Annotated[
        bool,
        typer.Option(
            "--accept-licence",
            help="Accept the dataset's terms of use; without this they are shown, where there are any.",
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Fetch a named dataset's raw files and print the folder they are in; goes on where it was broken off."""
    from tcf.assets.resolve import fetch_dataset, raw_format

    folder, format = fetch_dataset(name, accept_licence=accept_licence), raw_format(name)
    print_result({"name": name, "path": folder, "format": format}, as_json=as_json, text=str(folder))
    logger.info(f"next: tcf data prepare {format} {shlex.quote(str(folder))} --out DATASET")


@data_app.command("prepare")
@configured(PrepareConfig)
def data_prepare(
    format: Annotated[RawFormat, typer.Argument(help=f"Format of the raw files: {formats_help()}.")],
    raw: Annotated[Path, typer.Argument(help="Folder with the raw files.")],
    out: Annotated[Path, typer.Option("--out", help="Dataset directory to make.")],
    config: PrepareConfig,
    as_json: JsonOption = False,
) -> None:
    """Turn raw files into a dataset: filtered, indexed, split into training, validation and test."""
    from tcf.data.describe.summary import describe, render
    from tcf.data.prepare import prepare

    described = describe(prepare(format, raw, out, config))
    print_result(described, as_json=as_json, text=render(described))


@data_app.command("describe")
def describe_command(
    dataset: Annotated[Path, typer.Argument(help="Dataset directory.")],
    plot: Annotated[
        Path | None,
        typer.Option(
            "--plot",
            help="Folder for PNG histograms of history length, item popularity and text length; those that are there "
            "are replaced. Needs matplotlib.",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", help="With --plot: draw text lengths in this model's tokens; in words if not given."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Print what a dataset holds, and what was left out on the way; draw it with --plot."""
    from tcf.data.dataset import open_dataset
    from tcf.data.describe.summary import describe, render

    if model is not None and plot is None:
        raise ConfigError("--model: expected --plot beside it, because only the plot of text lengths needs tokens")
    if plot is not None:
        require_library("matplotlib", "--plot")
    opened = open_dataset(dataset)
    described, files = describe(opened), tuple[Path, ...]()
    if plot is not None:
        from tcf.data.describe.plots import draw_plots

        files = draw_plots(opened, _text_lengths(dataset, model), plot)
    text = "\n".join([render(described), *([""] if files else []), *map(str, files)])
    print_result({**described, "plots": files}, as_json=as_json, text=text)


@data_app.command("overlap")
def overlap_command(
    a: Annotated[Path, typer.Argument(help="Dataset directory.")],
    b: Annotated[Path, typer.Argument(help="Another one.")],
    cache: Annotated[
        Path | None,
        typer.Option("--cache", help="Vector cache with the texts of A, and of B too if --cache-b is not given."),
    ] = None,
    cache_b: Annotated[
        Path | None,
        typer.Option("--cache-b", help="Vector cache with the texts of B, of the same encoder and options as --cache."),
    ] = None,
    sample: Annotated[
        int, typer.Option("--sample", help="With --cache: items of B whose nearest one in A is looked for.", min=1)
    ] = 1000,
    seed: Annotated[int, typer.Option("--seed", help="Seed of that sample.", min=0)] = 0,
    as_json: JsonOption = False,
) -> None:
    """Tell how alike two datasets are: ids, texts and words that they share, and how near their vectors lie."""
    from tcf.data.describe.overlap import overlap
    from tcf.data.describe.vector_overlap import vector_overlap

    if cache_b is not None and cache is None:
        raise ConfigError("--cache-b: expected --cache beside it, with the vectors of A")
    found = overlap(a, b)
    if cache is not None:
        found["vectors"] = vector_overlap(a, b, cache, cache_b or cache, sample=sample, seed=seed)
    print_result(found, as_json=as_json)


def _text_lengths(dataset: Path, model: str | None) -> "TextLengths":
    from tcf.data.describe.text_lengths import lengths_in_words
    from tcf.data.item_table import ItemTable

    items = ItemTable.open(dataset)
    if model is None:
        return lengths_in_words(items)
    from tcf.encoders.folder.local_model import local_model
    from tcf.encoders.token_lengths import lengths_in_tokens

    return lengths_in_tokens(items, local_model(model), model)
