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
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder with runs, at any depth.")] = Path(),
    as_json: JsonOption = False,
) -> None:
    """List runs, finished or not: state, best epoch, its metrics, and the settings in which they differ."""
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
