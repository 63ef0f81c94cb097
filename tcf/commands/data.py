"""The commands that download, prepare, describe and compare datasets."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tcf.commands.command import Command, Group
from tcf.commands.options import JsonOption, VerifyOption, at_least, configured
from tcf.commands.output import print_result
from tcf.common.errors import ConfigError
from tcf.config.libraries import require_library
from tcf.config.prepare import PrepareConfig
from tcf.config.raw_formats import RawFormat, formats_help
from tcf.config.toml_files import expand_home

if TYPE_CHECKING:
    from tcf.data.describe.text_lengths import TextLengths

__all__ = ["data_app"]

logger = logging.getLogger(__name__)

data_app = typer.Typer(
    cls=Group,
    help="""Download, prepare and describe datasets.

    Examples:
        tcf data download ml-100k
        tcf data prepare recbole raw/ml-100k --min-rating 1 --out data/ml-100k
        tcf data describe data/ml-100k
    """,
    no_args_is_help=True,
    rich_markup_mode=None,
)


@data_app.command("download", cls=Command)
def data_download(
    name: Annotated[
        str,
        typer.Argument(
            help="ml-100k, ml-1m, ml-20m, ml-25m, ml-32m, mind-small, mind-large, hm, amazon-2018-CATEGORY or "
            "amazon-2023-CATEGORY, such as amazon-2018-video-games."
        ),
    ],
    accept_licence: Annotated[
        bool,
        typer.Option(
            "--accept-licence",
            help="Accept the dataset's terms of use. Without this option they are shown, if there are any.",
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Download the raw files of a public dataset.

    Prints the folder that they are in. An interrupted download resumes.

    Examples:
        tcf data download ml-100k
        tcf data download mind-small --accept-licence
    """
    from tcf.assets.resolve import fetch_dataset, prepare_words, raw_format

    folder, format = fetch_dataset(name, accept_licence=accept_licence), raw_format(name)
    print_result({"name": name, "path": folder, "format": format}, as_json=as_json, text=str(folder))
    logger.info(f"next: {prepare_words(name, folder)} --out DATASET")


@data_app.command("prepare", cls=Command)
@configured(PrepareConfig)
def data_prepare(
    format: Annotated[RawFormat, typer.Argument(help=f"Format of the raw files: {formats_help()}.")],
    raw: Annotated[Path, typer.Argument(help="Folder with the raw files.")],
    out: Annotated[Path, typer.Option("--out", help="Dataset directory to create.")],
    config: PrepareConfig,
    as_json: JsonOption = False,
) -> None:
    r"""Turn raw files into a dataset: filtered, indexed, split for training and test.

    Examples:
        tcf data prepare recbole raw/ml-100k --out data/ml-100k \
            --min-rating 1 --text-columns movie_title
        tcf data prepare mind raw/mind-small --out data/mind-small
        tcf data prepare table raw/shop --out data/shop --events orders.csv \
            --items products.csv --user-column customer --item-column product \
            --time-column date --template '{name}. {category}'
    """
    from tcf.api.data import prepare_dataset
    from tcf.data.describe.summary import describe, render

    described = describe(prepare_dataset(format, raw, out, config))
    print_result(described, as_json=as_json, text=render(described))


@data_app.command("describe", cls=Command)
def describe_command(
    dataset: Annotated[Path, typer.Argument(help="Dataset directory.")],
    plot: Annotated[
        Path | None,
        typer.Option(
            "--plot",
            help="Folder for PNG histograms of history length, item popularity and text length, replacing existing "
            "ones. Needs matplotlib.",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            help="With --plot: measure text lengths in tokens of this model; default: in words.",
            metavar="MODEL",
            callback=expand_home,
        ),
    ] = None,
    verify: VerifyOption = "once",
    as_json: JsonOption = False,
) -> None:
    """Print statistics of a dataset and what was filtered out; plot them with --plot.

    Examples:
        tcf data describe data/ml-100k
        tcf data describe data/ml-100k --plot plots --model minilm
    """
    from tcf.data.dataset import open_dataset
    from tcf.data.describe.summary import describe, render

    if model is not None and plot is None:
        raise ConfigError("--model: expected --plot with it, because only the plot of text lengths needs tokens")
    if plot is not None:
        require_library("matplotlib", "--plot")
    opened = open_dataset(dataset, verify=verify)
    described, files = describe(opened), tuple[Path, ...]()
    if plot is not None:
        from tcf.data.describe.plots import draw_plots

        files = draw_plots(opened, _text_lengths(dataset, model), plot)
    text = "\n".join([render(described), *([""] if files else []), *map(str, files)])
    print_result({**described, "plots": files}, as_json=as_json, text=text)


@data_app.command("overlap", cls=Command)
def overlap_command(
    a: Annotated[Path, typer.Argument(help="Dataset directory.")],
    b: Annotated[Path, typer.Argument(help="Another dataset directory.")],
    cache: Annotated[
        Path | None,
        typer.Option("--cache", help="Vector cache of the texts of A, and of B unless --cache-b is given."),
    ] = None,
    cache_b: Annotated[
        Path | None,
        typer.Option("--cache-b", help="Vector cache of the texts of B, made with the same encoder and options."),
    ] = None,
    sample: Annotated[
        int,
        typer.Option(
            "--sample",
            help="With --cache: number of items of B to find the nearest item of A for.",
            callback=at_least(1),
        ),
    ] = 1000,
    seed: Annotated[int, typer.Option("--seed", help="Seed of --sample.", callback=at_least(0))] = 0,
    verify: VerifyOption = "once",
    as_json: JsonOption = False,
) -> None:
    """Compare two datasets: shared ids, texts and words, and distances of vectors.

    Examples:
        tcf data overlap data/ml-100k data/ml-1m
        tcf data overlap data/ml-100k data/ml-1m --cache caches/minilm
    """
    from tcf.data.describe.overlap import overlap
    from tcf.data.describe.vector_overlap import vector_overlap

    if cache_b is not None and cache is None:
        raise ConfigError("--cache-b: expected --cache with it, for the vectors of A")
    found = overlap(a, b, verify=verify)
    if cache is not None:
        found["vectors"] = vector_overlap(a, b, cache, cache_b or cache, sample=sample, seed=seed, verify=verify)
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
