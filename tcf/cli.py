"""The commands: each parses, makes one call and prints. Nothing heavy is imported before a command runs."""

import os
import shlex
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Annotated, Literal

import typer

from tcf.commands.cache import CachesData, cache_app
from tcf.commands.data import describe_command, overlap_command
from tcf.commands.extract import plan_command
from tcf.commands.options import JsonOption, as_json_text, as_lines, configured, inputs_of
from tcf.commands.train import runs_command, search_command
from tcf.common.errors import ConfigError, TcfError
from tcf.config.extract import Baseline, EvaluateConfig, ExtractConfig, PrepareConfig
from tcf.config.train import TrainConfig

__all__ = ["app", "main"]

app = typer.Typer(
    help="Item text, read by a language model, for recommendation: how far does it take you on your data?",
    epilog="In order: data prepare, extract, train, evaluate, recommend. `tcf pipeline FILE` runs them all.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(help="Fetch raw files, make datasets of them, and look at those.", no_args_is_help=True)
app.add_typer(data_app, name="data")
app.add_typer(cache_app, name="cache")
app.command("plan")(plan_command)
app.command("runs")(runs_command)
app.command("search")(search_command)

DataOption = Annotated[Path, typer.Option("--data", help="Dataset directory, made by `tcf data prepare`.")]
RunsData = Annotated[
    Path | None, typer.Option("--data", help="The run's dataset, if it is no longer where the run found it.")
]
RunsCaches = Annotated[
    list[Path] | None,
    typer.Option(
        "--cache",
        help="The run's vector cache, if it is no longer where the run found it; each of several, in the order of "
        "training.",
    ),
]
StatesDevice = Annotated[
    str, typer.Option("--device", help="Device to compute user states on: auto, cpu, cuda, cuda:1, ...")
]


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False) -> None:
    """Item text, read by a language model, for recommendation: how far does it take you on your data?"""
    if version:
        from tcf.common.manifest import library_versions

        print(f"tcf {library_versions().get('tcf', '(not installed)')}")
        raise typer.Exit


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
) -> None:
    """Fetch a named dataset's raw files and print the folder they are in; goes on where it was broken off."""
    from tcf.assets.resolve import fetch_dataset, raw_format

    folder = fetch_dataset(name, accept_licence=accept_licence)
    print(folder)
    print(f"next: tcf data prepare {raw_format(name)} {shlex.quote(str(folder))} --out DATASET", file=sys.stderr)


@data_app.command("prepare")
@configured(PrepareConfig)
def data_prepare(
    format: Annotated[
        Literal["tcf", "recbole", "mind", "hm", "movielens", "amazon", "table"],
        typer.Argument(
            help="Format of the raw files: tcf (behaviors.tsv, items.tsv; NineRec), recbole (.inter, .item), mind (one "
            "published folder or the folder of several), hm, movielens, amazon (as published) or table (any files of "
            "events and items, whose columns options name)."
        ),
    ],
    raw: Annotated[Path, typer.Argument(help="Folder with the raw files.")],
    out: Annotated[Path, typer.Option("--out", help="Dataset directory to make.")],
    config: PrepareConfig,
) -> None:
    """Turn raw files into a dataset: filtered, indexed, split into training, validation and test."""
    from tcf.data.describe.summary import describe, render
    from tcf.data.prepare import prepare

    print(render(describe(prepare(format, raw, out, config))))


data_app.command("describe")(describe_command)
data_app.command("overlap")(overlap_command)


@app.command("extract")
@configured(ExtractConfig)
def extract_command(
    data: DataOption,
    model: Annotated[
        str,
        typer.Option(
            "--model", help="Named model (minilm, opt-125m, ...), hub id, folder, or text file of word vectors."
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", help="Vector cache to make or to append to; the folder of several with --layers.")
    ],
    config: ExtractConfig,
) -> None:
    """Read every item text of a dataset with a language model, and cache the vectors."""
    from tcf.common.manifest import read_manifest
    from tcf.data.dataset import DATASET
    from tcf.encoders.folder.local_model import local_model
    from tcf.launch.extract_on_devices import extract_on_devices

    read_manifest(data, DATASET)  # before a model of gigabytes is fetched
    print(extract_on_devices(data=data, model=local_model(model), name=model, out=out, config=config).summary())


@app.command("convert")
def convert_command(
    source: Annotated[
        Path,
        typer.Argument(
            help="A .gguf file, or raw weights of OPT: a folder with metaseq's *-model_part-N.pt, with a NumPy file "
            "for each tensor, or with pytorch_model*.bin; or a .pt file. With --verify alone: a folder made before."
        ),
    ],
    out: Annotated[Path | None, typer.Option("--out", help="Model folder to make, in Hugging Face layout.")] = None,
    tokenizer: Annotated[
        Path | None, typer.Option("--tokenizer", help="Folder with OPT's tokenizer, if it is not beside raw weights.")
    ] = None,
    verify: Annotated[
        bool,
        typer.Option("--verify", help="Check every byte and number of the folder made, and print one text's vector."),
    ] = False,
) -> None:
    """Turn a model's raw weights into a folder that `tcf extract --model` reads."""
    from tcf.encoders.convert.convert import convert

    if out is not None:
        done = convert(source, out, tokenizer=tokenizer)
        print(f"{done.folder}: {done.parameters} parameters, {done.dtype}{'' if done.made else ', there already'}")
    elif not verify or tokenizer is not None:
        raise ConfigError("--out: expected the model folder to make, found nothing; or pass --verify alone")
    if verify:
        _verify(source if out is None else out)


def _verify(folder: Path) -> None:
    from tcf.encoders.convert.verify import verify_converted
    from tcf.launch.sample_vector import SAMPLE, sample_vector

    found = verify_converted(folder)
    print(f"{found.files} files as written, {found.tensors} tensors, {found.numbers} finite numbers")
    vector = sample_vector(folder)
    shown = " ".join(f"{number:.4f}" for number in vector[:6])
    print(f"{SAMPLE!r}: {len(vector)} numbers, {shown} ...")


@app.command("train")
@configured(TrainConfig)
def train_command(
    out: Annotated[Path, typer.Option("--out", help="Run directory to make.")],
    config: TrainConfig,
    file: Annotated[
        Path | None,
        typer.Option(
            "--config",
            help="Settings, dataset and caches as in this file: a run's config.toml, or a search's best.toml. Options "
            "given here override it; the word none unsets a number, as in --whiten none.",
        ),
    ] = None,
    data: CachesData = None,
    cache: Annotated[
        list[Path] | None,
        typer.Option(
            "--cache",
            help="Vector cache, made by `tcf extract`; repeat for several, whose vectors stand side by side. Not "
            "needed for --items id.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print parameters, memory and steps, and stop; nothing is written.")
    ] = False,
) -> None:
    """Train a recommender on cached vectors (TCF) or on learned ids (IDCF)."""
    from tcf.launch.train_on_devices import train_on_devices

    in_file = (None, []) if file is None else inputs_of(file)
    caches = cache or in_file[1]
    dataset = _dataset(data or in_file[0], caches)
    if config.items == "id" and caches:
        print(f"{caches[0]}: --items id needs no cache; its vectors are not read", file=sys.stderr)
        caches = []
    if dry_run:
        from tcf.train.estimate import estimate

        print(as_lines(estimate(data=dataset, caches=caches, config=config).for_people()))
        return
    run = train_on_devices(data=dataset, caches=caches, out=out, config=config)
    if run is not None:
        print(as_lines({"run": str(run.path), **run.facts}))


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
    cache: RunsCaches = None,
    as_json: JsonOption = False,
) -> None:
    """Rank the whole catalogue for every user, and measure where the held-out item stands."""
    from tcf.evaluate.stage import evaluate_baseline, evaluate_run

    match run, baseline, data, cache or None:
        case Path(), None, _, _:
            done = evaluate_run(run, out=out, config=config, data=data, caches=cache or ())
        case None, str(), Path(), None:
            done = evaluate_baseline(baseline, data=data, out=out, config=config, seed=seed)
        case _:
            raise ConfigError("expected either a run directory, or --baseline with --data; see `tcf evaluate --help`")
    print(as_json_text(dict(done.metrics)) if as_json else as_lines({"evaluation": str(out), **done.metrics}))


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
    cache: RunsCaches = None,
    device: StatesDevice = "auto",
) -> None:
    """Write each user's best items that the user has not met yet."""
    from tcf.evaluate.recommend import recommend

    n_users = recommend(run, out=out, k=k, users=users, data=data, caches=cache or (), device=device)
    print(f"{out}: up to {k} items for each of {n_users} users")


@app.command("pipeline")
def pipeline_command(
    file: Annotated[Path, typer.Argument(help="Configuration file, such as examples/quickstart.toml.")],
) -> None:
    """Run all stages of a configuration file that have not been run yet, and compare the results."""
    from tcf.launch.pipeline import read_pipeline, run_pipeline

    print(run_pipeline(read_pipeline(file)))


def _dataset(data: Path | None, caches: list[Path]) -> Path:
    """The dataset named, or the only one that the first cache knows."""
    if data is not None:
        return data
    if not caches:
        raise ConfigError("expected --data, found neither it nor a --cache that knows a dataset")
    from tcf.data.cache.caches import VectorCache

    return VectorCache.open(caches[0]).only_dataset()


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
