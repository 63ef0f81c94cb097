"""The commands that train a recommender, search for its settings, and list runs."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tcf.commands.cache import CachesData
from tcf.commands.options import JsonOption, as_json_text, as_lines, configured, inputs_of
from tcf.common.errors import ConfigError
from tcf.common.text_table import text_table
from tcf.config.train import TrainConfig

if TYPE_CHECKING:
    from tcf.train.run.list_runs import ListedRun

__all__ = ["runs_command", "search_command", "train_command"]

logger = logging.getLogger(__name__)


def runs_command(
    folder: Annotated[Path, typer.Argument(help="Folder to look for runs in, at any depth.")] = Path(),
    as_json: JsonOption = False,
) -> None:
    """List training runs: state, best epoch, validation metrics, differing settings.

    Examples:
        tcf runs
        tcf runs runs --json
    """
    from tcf.ranking.metrics import VALIDATION_METRICS
    from tcf.train.run.list_runs import differing_settings, find_runs

    if not folder.is_dir():
        raise ConfigError(f"{folder}: expected a folder with runs, found {'a file' if folder.exists() else 'nothing'}")
    runs, metrics = find_runs(folder), [metric.name for metric in VALIDATION_METRICS]
    if as_json:
        print(as_json_text([_as_json(run, metrics) for run in runs]))
    elif runs:
        print(_table(runs, metrics, differing_settings(runs), folder))
        for run in runs:
            if run.problem:
                print(f"damaged: {run.problem}")
    else:
        print(f"{folder}: no runs here")


def _as_json(run: "ListedRun", metrics: Sequence[str]) -> dict[str, Any]:
    return {
        "run": str(run.path),
        "state": run.state,
        "epochs": run.epochs,
        "best_epoch": run.best_epoch,
        **{name: run.metrics.get(name) for name in metrics},
        "settings": dict(run.settings),
        "problem": run.problem,
    }


def _table(runs: Sequence["ListedRun"], metrics: Sequence[str], settings: Sequence[str], folder: Path) -> str:
    heads = ["run", "state", "best", *metrics, *settings]
    rows = (
        [*_always_shown(run, metrics, folder), *(_shown(run.settings.get(name), folder) for name in settings)]
        for run in runs
    )
    return text_table([heads, *rows])


def _always_shown(run: "ListedRun", metrics: Sequence[str], folder: Path) -> list[str]:
    """What is told of every run."""
    name = os.path.relpath(run.path, folder)
    best = "-" if run.best_epoch is None else f"epoch {run.best_epoch}"
    values = [run.metrics.get(metric) for metric in metrics]
    return [name, _state(run), best, *("-" if value is None else f"{value:.4f}" for value in values)]


def _state(run: "ListedRun") -> str:
    match run.state:
        case "finished":
            return f"finished, {run.epochs} epochs"
        case "damaged":
            return "damaged"
        case _:
            return f"{run.state}, {run.epochs} of at most {run.settings.get('epochs', '?')} epochs"


def _shown(value: Any, folder: Path) -> str:
    """A setting; a path as seen from the folder."""
    if isinstance(value, str) and value.startswith("/"):
        return os.path.relpath(value, folder)
    return "-" if value is None else str(value)


def search_command(
    file: Annotated[
        Path, typer.Argument(help="Search file, such as examples/search.toml, which explains all entries.")
    ],
) -> None:
    """Search for the training settings with the best validation metric.

    The file names out, data and cache. Its table [search] holds the number of trials, workers, seed and pruning;
    [train] the settings that all trials share; [space] the ranges of the others, or paper = true for the study's. An
    interrupted search resumes when the same command is run again.

    Trials are ordinary runs in OUT/trials. OUT/trials.csv lists them, and OUT/best.toml holds the best settings, for
    `tcf train --config`.

    Examples:
        tcf search examples/search.toml
    """
    from tcf.launch.search.search import run_search
    from tcf.launch.search.search_file import read_search

    print(run_search(read_search(file)).summary())


@configured(TrainConfig)
def train_command(
    out: Annotated[Path, typer.Option("--out", help="Run directory to create.")],
    config: TrainConfig,
    file: Annotated[
        Path | None,
        typer.Option(
            "--config",
            help="Take settings, dataset and caches from a run's config.toml or a search's best.toml; options override "
            "them.",
            metavar="FILE",
        ),
    ] = None,
    data: CachesData = None,
    cache: Annotated[
        list[Path] | None,
        typer.Option(
            "--cache",
            help="Vector cache from `tcf extract`; repeat to concatenate the vectors of several. Not needed with "
            "--items id.",
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Print the number of parameters, memory and steps, without training."),
    ] = False,
) -> None:
    r"""Train a recommender on cached text vectors (TCF) or on learned ids (IDCF).

    With --config, the word none unsets a number of the file, as in --whiten none. An interrupted run resumes when the
    same command is run again.

    Examples:
        tcf train --data data/ml-100k --cache caches/minilm --out runs/text
        tcf train --data data/ml-100k --items id --out runs/id
        tcf train --data data/ml-100k --cache caches/minilm --out runs/full \
            --loss full --epochs 50 --devices cuda:0,cuda:1
        tcf train --config quickstart/search/best.toml --out runs/best
    """
    from tcf.launch.train_on_devices import train_on_devices

    in_file = (None, []) if file is None else inputs_of(file)
    caches = cache or in_file[1]
    dataset = _dataset(data or in_file[0], caches)
    if config.items == "id" and caches:
        logger.info(f"{caches[0]}: --items id needs no cache; its vectors are not read")
        caches = []
    if dry_run:
        from tcf.train.estimate import estimate

        print(as_lines(estimate(data=dataset, caches=caches, config=config).for_people()))
        return
    run = train_on_devices(data=dataset, caches=caches, out=out, config=config)
    if run is not None:
        print(as_lines({"run": str(run.path), **run.metadata}))


def _dataset(data: Path | None, caches: list[Path]) -> Path:
    """The dataset named, or the only one that the first cache knows."""
    if data is not None:
        return data
    if not caches:
        raise ConfigError("expected --data, found neither it nor a --cache that knows a dataset")
    from tcf.data.cache.caches import VectorCache

    return VectorCache.open(caches[0]).only_dataset()
