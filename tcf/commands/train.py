"""The commands that train a recommender, search for its settings, and list runs."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tcf.commands.cache import CachesData
from tcf.commands.options import FileInputs, JsonOption, Launchable, configured, inputs_of, is_launched, this_command
from tcf.commands.output import as_lines, print_result
from tcf.common.errors import ConfigError
from tcf.common.text_table import text_table
from tcf.config.launch import LaunchConfig
from tcf.config.libraries import require_library
from tcf.config.train import TrainConfig

if TYPE_CHECKING:
    from tcf.evaluate.combination.listed_combinations import ListedCombination
    from tcf.train.run.list_runs import ListedRun

    Listed = ListedRun | ListedCombination
    from tcf.train.stage import TrainResult

__all__ = ["runs_command", "search_command", "train_command"]

logger = logging.getLogger(__name__)


def runs_command(
    folder: Annotated[Path, typer.Argument(help="Folder to look for runs in, at any depth.")] = Path(),
    as_json: JsonOption = False,
) -> None:
    """List training runs and combinations: state, best epoch, validation metrics, differing settings.

    A run of --refit has no validation; the run that chose its number of epochs is listed as well, as RUN/selection.

    Examples:
        tcf runs
        tcf runs runs --json
    """
    from tcf.evaluate.combination.listed_combinations import find_combinations
    from tcf.train.run.list_runs import differing_settings, find_runs

    if not folder.is_dir():
        found = "a file" if folder.exists() else "nothing"
        raise ConfigError(f"{folder}: expected a folder with runs, found {found}; check the path")
    runs = find_runs(folder)
    all_found: list[Listed] = [*runs, *find_combinations(folder)]
    all_found.sort(key=lambda listed: listed.path)
    lines = [_table(all_found, differing_settings(runs), folder)] if all_found else [f"{folder}: no runs found"]
    lines += [f"damaged: {listed.problem}" for listed in all_found if listed.problem]
    print_result([_listed_values(listed) for listed in all_found], as_json=as_json, text="\n".join(lines))


def _listed_values(listed: "Listed") -> dict[str, Any]:
    """A run or a combination as JSON values."""
    from tcf.evaluate.combination.listed_combinations import ListedCombination
    from tcf.ranking.metrics import VALIDATION_METRICS, named_as_validation

    metrics = {metric.validation_key: listed.metrics.get(metric.name) for metric in VALIDATION_METRICS}
    values = {"run": listed.path, "state": listed.state}
    if isinstance(listed, ListedCombination):
        members = [named_as_validation(member.as_json()) for member in listed.members]
        rest = {"settings": {}, "problem": listed.problem, "members": members}
        return {**values, "epochs": None, "best_epoch": None, **metrics, **rest}
    rest = {"settings": listed.settings, "problem": listed.problem}
    return {**values, "epochs": listed.epochs, "best_epoch": listed.best_epoch, **metrics, **rest}


def _table(listed: Sequence["Listed"], settings: Sequence[str], folder: Path) -> str:
    from tcf.evaluate.combination.listed_combinations import ListedCombination
    from tcf.ranking.metrics import VALIDATION_METRICS

    heads = ["run", "state", "best", *(metric.validation_name for metric in VALIDATION_METRICS), *settings]
    rows = []
    for one in listed:
        chosen = {} if isinstance(one, ListedCombination) else one.settings
        rows.append([*_always_shown(one, folder), *(_shown(chosen.get(name), folder) for name in settings)])
    return text_table([heads, *rows])


def _always_shown(listed: "Listed", folder: Path) -> list[str]:
    """The columns of all: name, state, best epoch and validation metrics."""
    from tcf.evaluate.combination.listed_combinations import ListedCombination
    from tcf.ranking.metrics import VALIDATION_METRICS

    name = os.path.relpath(listed.path, folder)
    if isinstance(listed, ListedCombination):
        state, best = _weights(listed), "-"
    else:
        state, best = _state(listed), "-" if listed.best_epoch is None else f"epoch {listed.best_epoch}"
    values = [(metric, listed.metrics.get(metric.name)) for metric in VALIDATION_METRICS]
    return [name, state, best, *("-" if value is None else metric.shown(value) for metric, value in values)]


def _weights(listed: "ListedCombination") -> str:
    """The members of a combination with their weights, as its state."""
    if listed.state == "damaged":
        return "damaged"
    return f"combination of {', '.join(f'{member.weight:.2f} {member.name}' for member in listed.members)}"


def _state(run: "ListedRun") -> str:
    match run.state:
        case "finished":
            return f"finished, {run.epochs} epochs"
        case "damaged":
            return "damaged"
        case _ if run.settings.get("refit"):
            return f"{run.state}, {run.epochs} epochs"
        case _:
            return f"{run.state}, {run.epochs} of at most {run.settings.get('epochs', '?')} epochs"


def _shown(value: Any, folder: Path) -> str:
    """A setting as text; an absolute path is shown relative to the folder."""
    match value:
        case str() if value.startswith("/"):
            return os.path.relpath(value, folder)
        case bool():
            return "yes" if value else "no"
        case list():
            return ",".join(map(str, value)) or "-"
        case _:
            return "-" if value is None else str(value)


@configured(None, Launchable(without=("workers", "nodes_per_worker", "pack_minutes")))
def search_command(
    file: Annotated[
        Path, typer.Argument(help="Search file, such as examples/search.toml, which explains all entries.")
    ],
    launch: LaunchConfig,
    as_json: JsonOption = False,
) -> None:
    """Search for the training settings with the best validation metric.

    The file names out, data and cache. Its table [search] holds the number of trials, workers, seed and pruning;
    [train] the settings that all trials share, among them monitor, the metric; [space] the ranges of the others, or
    paper = true for the study's. An interrupted search resumes when the same command is run again.

    Trials are ordinary runs in OUT/trials. OUT/trials.csv lists them, and OUT/best.toml holds the best settings, for
    `tcf train --config`.

    With --launcher slurm, the search is one job, whose log is in OUT.jobs, and its workers are processes of that job.

    Examples:
        tcf search examples/search.toml
        tcf search examples/search.toml --launcher slurm --gpus-per-worker 4
    """
    require_library("optuna", "tcf search")
    if is_launched(launch):
        from tcf.launch.launchers.single_jobs import search_in_job

        report = search_in_job(file, launch, this_command())
        print_result(report.values, as_json=as_json, text=report.text)
        return
    from tcf.launch.search.search import run_search
    from tcf.launch.search.search_file import read_search

    done = run_search(read_search(file))
    print_result(done.as_json(), as_json=as_json, text=done.summary())


@configured(TrainConfig, Launchable(without=("workers", "pack_minutes")))
def train_command(
    out: Annotated[Path, typer.Option("--out", help="Run directory to create.")],
    config: TrainConfig,
    launch: LaunchConfig,
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
    init_from: Annotated[
        Path | None,
        typer.Option(
            "--init-from",
            help="Vector cache whose principal components learned ids start from, with --items id; sets --id-init "
            "text. Read by the training only.",
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Print the number of parameters, memory, steps and time, without training."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    r"""Train a recommender on cached text vectors (TCF) or on learned ids (IDCF).

    With --config, the word none unsets a number of the file, as in --whiten none. An interrupted run resumes when the
    same command is run again.

    With --launcher slurm, the training is a job, whose log is in OUT.jobs; its --devices are those of each node.

    Examples:
        tcf train --data data/ml-100k --cache caches/minilm --out runs/text
        tcf train --data data/ml-100k --items id --out runs/id
        tcf train --items id --init-from caches/minilm --out runs/id-from-text
        tcf train --data data/ml-100k --cache caches/minilm --out runs/full \
            --loss full --epochs 50 --devices cuda:0,cuda:1
        tcf train --config quickstart/search/best.toml --out runs/best
        tcf train --data data/ml-100k --items id --out runs/id \
            --launcher slurm --gpus-per-worker 1 --time 2:00:00
    """
    require_library("accelerate", "tcf train")
    from tcf.api.training import dataset_of, starting_from

    in_file = FileInputs() if file is None else inputs_of(file)
    caches = tuple(cache or in_file.caches)
    if init_from is None and config.id_init == "text":
        init_from = in_file.init_from
    if file is not None and not (data or in_file.data or caches or init_from):
        raise ConfigError(f"{file}: expected [inputs] with data or cache, found neither; add it, or --data or --cache")
    dataset = dataset_of(data or in_file.data, caches or (() if init_from is None else (init_from,)))
    if config.items == "id" and caches:
        logger.info(f"{caches[0]}: --items id needs no cache; its vectors are not read")
        caches = ()
    config, caches = starting_from(init_from, config, caches)
    if dry_run:
        from tcf.train.estimate import estimate

        estimated = estimate(data=dataset, caches=caches, config=config)
        print_result(estimated.as_json(), as_json=as_json, text=as_lines(estimated.for_people()))
        return
    run: TrainResult | None
    if is_launched(launch):
        from tcf.launch.launchers.single_jobs import train_in_job

        run = train_in_job(data=dataset, caches=caches, out=out, config=config, launch=launch, again=this_command())
    else:
        from tcf.launch.train_on_devices import train_on_devices

        run = train_on_devices(data=dataset, caches=caches, out=out, config=config)
    if run is not None:
        result = run.as_json()
        print_result(result if as_json else {k: v for k, v in result.items() if k != "trained"}, as_json=as_json)
