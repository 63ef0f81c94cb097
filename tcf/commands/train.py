"""The commands that train a recommender, search for its settings, and list runs."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tcf.commands.cache import CachesData
from tcf.commands.options import JsonOption, configured, inputs_of
from tcf.commands.output import as_lines, print_result
from tcf.common.errors import ConfigError
from tcf.common.text_table import text_table
from tcf.config.libraries import require_library
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
    from tcf.train.run.list_runs import differing_settings, find_runs

    if not folder.is_dir():
        raise ConfigError(f"{folder}: expected a folder with runs, found {'a file' if folder.exists() else 'nothing'}")
    runs = find_runs(folder)
    lines = [_table(runs, differing_settings(runs), folder)] if runs else [f"{folder}: no runs here"]
    lines += [f"damaged: {run.problem}" for run in runs if run.problem]
    print_result([_run_values(run) for run in runs], as_json=as_json, text="\n".join(lines))


def _run_values(run: "ListedRun") -> dict[str, Any]:
    """A run, for programs."""
    from tcf.ranking.metrics import VALIDATION_METRICS

    return {
        "run": run.path,
        "state": run.state,
        "epochs": run.epochs,
        "best_epoch": run.best_epoch,
        **{metric.validation_key: run.metrics.get(metric.name) for metric in VALIDATION_METRICS},
        "settings": run.settings,
        "problem": run.problem,
    }


def _table(runs: Sequence["ListedRun"], settings: Sequence[str], folder: Path) -> str:
    from tcf.ranking.metrics import VALIDATION_METRICS

    heads = ["run", "state", "best", *(metric.validation_name for metric in VALIDATION_METRICS), *settings]
    rows = (
        [*_always_shown(run, folder), *(_shown(run.settings.get(name), folder) for name in settings)] for run in runs
    )
    return text_table([heads, *rows])


def _always_shown(run: "ListedRun", folder: Path) -> list[str]:
    """What is told of every run."""
    from tcf.ranking.metrics import VALIDATION_METRICS

    name = os.path.relpath(run.path, folder)
    best = "-" if run.best_epoch is None else f"epoch {run.best_epoch}"
    values = [(metric, run.metrics.get(metric.name)) for metric in VALIDATION_METRICS]
    return [name, _state(run), best, *("-" if value is None else metric.shown(value) for metric, value in values)]


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
    match value:
        case str() if value.startswith("/"):
            return os.path.relpath(value, folder)
        case bool():
            return "yes" if value else "no"
        case list():
            return ",".join(map(str, value)) or "-"
        case _:
            return "-" if value is None else str(value)


def search_command(
    file: Annotated[
        Path, typer.Argument(help="Search file, such as examples/search.toml, which says what it may hold.")
    ],
    as_json: JsonOption = False,
) -> None:
    """Search for the settings with the best validation metric, trial by trial; run it again and it goes on.

    The file names out, data and cache. Its table search says how many trials, workers, seed and pruning; its table
    train holds the settings that all trials share, among them monitor, the metric; and its table space the ranges of
    the others, or the study's with paper = true. Trials are ordinary runs in OUT/trials. OUT/trials.csv lists them;
    OUT/best.toml holds the best settings, for `tcf train --config`.
    """
    require_library("optuna", "tcf search")
    from tcf.launch.search.search import run_search
    from tcf.launch.search.search_file import read_search

    done = run_search(read_search(file))
    print_result(done.as_json(), as_json=as_json, text=done.summary())


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
    as_json: JsonOption = False,
) -> None:
    """Train a recommender on cached vectors (TCF) or on learned ids (IDCF)."""
    require_library("accelerate", "tcf train")
    from tcf.launch.train_on_devices import train_on_devices

    in_file = (None, []) if file is None else inputs_of(file)
    caches = cache or in_file[1]
    dataset = _dataset(data or in_file[0], caches)
    if config.items == "id" and caches:
        logger.info(f"{caches[0]}: --items id needs no cache; its vectors are not read")
        caches = []
    if dry_run:
        from tcf.train.estimate import estimate

        estimated = estimate(data=dataset, caches=caches, config=config)
        print_result(estimated.as_json(), as_json=as_json, text=as_lines(estimated.for_people()))
        return
    run = train_on_devices(data=dataset, caches=caches, out=out, config=config)
    if run is not None:
        print_result(run.as_json(), as_json=as_json)


def _dataset(data: Path | None, caches: list[Path]) -> Path:
    """The dataset named, or the only one that the first cache knows."""
    if data is not None:
        return data
    if not caches:
        raise ConfigError("expected --data, found neither it nor a --cache that knows a dataset")
    from tcf.data.cache.caches import VectorCache

    return VectorCache.open(caches[0]).only_dataset()
