"""The commands: each parses, makes one call and prints. Nothing heavy is imported before a command runs."""

import json
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, Literal

import typer

from tcf.cli_options import configured
from tcf.config import Baseline, EvaluateConfig, ExtractConfig, PrepareConfig, TrainConfig
from tcf.errors import ConfigError, TcfError

__all__ = ["app", "main"]

app = typer.Typer(
    help="Item text, read by a language model, for recommendation: how far does it take you on your data?",
    epilog="In order: data prepare, extract, train, evaluate, recommend. `tcf pipeline FILE` runs them all.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(help="Fetch raw files, make datasets of them, and look at those.", no_args_is_help=True)
cache_app = typer.Typer(help="Look into caches of item vectors, check and export them.", no_args_is_help=True)
app.add_typer(data_app, name="data")
app.add_typer(cache_app, name="cache")

DataOption = Annotated[Path, typer.Option("--data", help="Dataset directory, made by `tcf data prepare`.")]
CachesData = Annotated[
    Path | None, typer.Option("--data", help="Dataset directory; may be left out if the cache knows only one.")
]
RunsData = Annotated[
    Path | None, typer.Option("--data", help="The run's dataset, if it is no longer where the run found it.")
]
RunsCache = Annotated[
    Path | None, typer.Option("--cache", help="The run's vector cache, if it is no longer where the run found it.")
]
StatesDevice = Annotated[
    str, typer.Option("--device", help="Device to compute user states on: auto, cpu, cuda, cuda:1, ...")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of plain lines.")]


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False) -> None:
    """Item text, read by a language model, for recommendation: how far does it take you on your data?"""
    if version:
        from tcf.manifest import library_versions

        print(f"tcf {library_versions().get('tcf', '(not installed)')}")
        raise typer.Exit


@data_app.command("download")
def data_download(name: Annotated[str, typer.Argument(help="Name of a dataset, such as ml-100k.")]) -> None:
    """Fetch a named dataset's raw files and print the folder they are in."""
    from tcf.assets import fetch_dataset

    print(fetch_dataset(name))


@data_app.command("prepare")
@configured(PrepareConfig)
def data_prepare(
    format: Annotated[
        Literal["tcf", "recbole"],
        typer.Argument(help="Format of the raw files: tcf (behaviors.tsv, items.tsv) or recbole (.inter, .item)."),
    ],
    raw: Annotated[Path, typer.Argument(help="Folder with the raw files.")],
    out: Annotated[Path, typer.Option("--out", help="Dataset directory to make.")],
    config: PrepareConfig,
) -> None:
    """Turn raw files into a dataset: filtered, indexed, split by leave-one-out."""
    from tcf.data.describe import describe, render
    from tcf.data.prepare import prepare

    print(render(describe(prepare(format, raw, out, config))))


@data_app.command("describe")
def data_describe(
    dataset: Annotated[Path, typer.Argument(help="Dataset directory.")], as_json: JsonOption = False
) -> None:
    """Print what a dataset holds, and what was left out on the way."""
    from tcf.data.dataset import open_dataset
    from tcf.data.describe import describe, render

    described = describe(open_dataset(dataset))
    print(_json(described) if as_json else render(described))


@app.command("extract")
@configured(ExtractConfig)
def extract_command(
    data: DataOption,
    model: Annotated[str, typer.Option("--model", help="Named model (minilm, opt-125m, ...), hub id or folder.")],
    out: Annotated[Path, typer.Option("--out", help="Vector cache to make or to append to.")],
    config: ExtractConfig,
) -> None:
    """Read every item text of a dataset with a language model, and cache the vectors."""
    from tcf.assets import resolve_model
    from tcf.data.dataset import DATASET
    from tcf.extract.stage import extract
    from tcf.manifest import read_manifest

    read_manifest(data, DATASET)  # before a model of gigabytes is fetched
    done = extract(data=data, model=resolve_model(model), name=model, out=out, config=config)
    print(
        f"{out}: a vector for each of {done.items} items ({done.texts} distinct texts, {done.sequences} distinct token "
        f"sequences, {done.computed} computed now, {done.cut} texts cut at {config.max_tokens} tokens)"
    )


@cache_app.command("describe")
def cache_describe(cache: Annotated[Path, typer.Argument(help="Vector cache.")], as_json: JsonOption = False) -> None:
    """Print which encoder a cache is of, how many vectors it holds, and which datasets it knows."""
    from tcf.data.cache import VectorCache

    described = VectorCache.open(cache).describe()
    print(_json(described) if as_json else _plain(described))


@cache_app.command("verify")
def cache_verify(cache: Annotated[Path, typer.Argument(help="Vector cache.")], as_json: JsonOption = False) -> None:
    """Compare every byte of a cache with its manifests."""
    from tcf.data.cache import VectorCache

    opened = VectorCache.open(cache)
    opened.verify()
    result = {
        "path": str(cache),
        "shards": len(opened.shards),
        "vectors": opened.n_rows,
        "missing": opened.missing,
        "verified": True,
    }
    missing = f"; {opened.missing} known texts have no vector: run `tcf extract` again" if opened.missing else ""
    plain = f"{cache}: {opened.n_rows} vectors in {len(opened.shards)} shards, all as written{missing}"
    print(_json(result) if as_json else plain)


@cache_app.command("export")
def cache_export(
    cache: Annotated[Path, typer.Argument(help="Vector cache.")],
    out: Annotated[Path, typer.Option("--out", help="File to write; replaced if it is there.")],
    data: CachesData = None,
    format: Annotated[Literal["npy", "parquet"], typer.Option("--format", help="Format of the file.")] = "npy",
) -> None:
    """Write a dataset's vectors, in item order, to one file for other programs."""
    from tcf.data.cache import VectorCache
    from tcf.data.cache_export import export
    from tcf.data.dataset import open_dataset

    opened = VectorCache.open(cache)
    dataset = open_dataset(data or opened.only_dataset())
    export(opened, dataset, format=format, out=out)
    print(f"{out}: {dataset.n_items} vectors of width {opened.width}, {opened.dtype}")


@app.command("train")
@configured(TrainConfig)
def train_command(
    out: Annotated[Path, typer.Option("--out", help="Run directory to make.")],
    config: TrainConfig,
    data: CachesData = None,
    cache: Annotated[
        Path | None, typer.Option("--cache", help="Vector cache, made by `tcf extract`; not needed for --items id.")
    ] = None,
) -> None:
    """Train a recommender on cached vectors (TCF) or on learned ids (IDCF)."""
    from tcf.train.stage import train

    dataset = _dataset(data, cache)
    if config.items == "id" and cache is not None:
        print(f"{cache}: --items id needs no cache; its vectors are not read", file=sys.stderr)
        cache = None
    run = train(data=dataset, cache=cache, out=out, config=config)
    print(_plain({"run": str(run.path), **run.facts}))


@app.command("evaluate")
@configured(EvaluateConfig)
def evaluate_command(
    out: Annotated[Path, typer.Option("--out", help="Evaluation directory to make.")],
    config: EvaluateConfig,
    run: Annotated[
        Path | None, typer.Argument(help="Run directory, made by `tcf train`; none with --baseline.")
    ] = None,
    baseline: Annotated[
        Baseline | None, typer.Option("--baseline", help="Rank by this instead of by a run; needs --data.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of --baseline random.", min=0)] = 0,
    data: Annotated[
        Path | None,
        typer.Option("--data", help="Dataset for --baseline; or the run's, if it is no longer where the run found it."),
    ] = None,
    cache: RunsCache = None,
    as_json: JsonOption = False,
) -> None:
    """Rank the whole catalogue for every user, and measure where the held-out item stands."""
    from tcf.evaluate.stage import evaluate_baseline, evaluate_run

    match run, baseline, data, cache:
        case Path(), None, _, _:
            done = evaluate_run(run, out=out, config=config, data=data, cache=cache)
        case None, str(), Path(), None:
            done = evaluate_baseline(baseline, data=data, out=out, config=config, seed=seed)
        case _:
            raise ConfigError("expected either a run directory, or --baseline with --data; see `tcf evaluate --help`")
    print(_json(dict(done.metrics)) if as_json else _plain({"evaluation": str(out), **done.metrics}))


@app.command("recommend")
def recommend_command(
    run: Annotated[Path, typer.Argument(help="Run directory, made by `tcf train`.")],
    out: Annotated[
        Path,
        typer.Option("--out", help="Parquet file to write, replaced if it is there: user_id, place, item_id, score."),
    ],
    k: Annotated[int, typer.Option("--k", help="Items for each user at most.", min=1)] = 10,
    users: Annotated[
        Path | None, typer.Option("--users", help="File of user ids, one a line; all if not given.")
    ] = None,
    data: RunsData = None,
    cache: RunsCache = None,
    device: StatesDevice = "auto",
) -> None:
    """Write each user's best items that the user has not met yet."""
    from tcf.evaluate.recommend import recommend

    n_users = recommend(run, out=out, k=k, users=users, data=data, cache=cache, device=device)
    print(f"{out}: up to {k} items for each of {n_users} users")


@app.command("pipeline")
def pipeline_command(
    file: Annotated[Path, typer.Argument(help="Configuration file, such as examples/quickstart.toml.")],
) -> None:
    """Run all stages of a configuration file that have not been run yet, and compare the results."""
    from tcf.launch.pipeline import read_pipeline, run_pipeline

    print(run_pipeline(read_pipeline(file)))


def _dataset(data: Path | None, cache: Path | None) -> Path:
    """The dataset named, or the only one that the cache knows."""
    if data is not None:
        return data
    if cache is None:
        raise ConfigError("expected --data, found neither it nor a --cache that knows a dataset")
    from tcf.data.cache import VectorCache

    return VectorCache.open(cache).only_dataset()


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def _plain(values: dict[str, Any], indent: str = "") -> str:
    """A mapping as indented lines, `key: value`."""
    lines = []
    for key, value in values.items():
        match value:
            case dict():
                lines += [f"{indent}{key}:", _plain(value, indent + "  ")]
            case [dict(), *_]:
                for entry in value:
                    lines += [f"{indent}{key}:", _plain(entry, indent + "  ")]
            case _:
                lines.append(f"{indent}{key}: {value}")
    return "\n".join(lines)


def _interrupted(number: int, frame: FrameType | None) -> None:
    # Not print: the signal may have come in the middle of one, and buffered streams refuse a second.
    os.write(2, f"tcf: interrupted by {signal.Signals(number).name}; run the same command again\n".encode())
    raise SystemExit(128 + number)


def main() -> None:
    """Run the command line; an error that the user can mend is one line and exit status 2."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupted)
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
