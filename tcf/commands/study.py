"""The commands that run a study from its file, and say how far it is."""

import dataclasses
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tcf.commands.command import Command, DefaultGroup
from tcf.commands.options import JsonOption, overriding
from tcf.commands.output import print_result
from tcf.config.fields import MAIN_OPTIONS, option_name
from tcf.config.launch import LaunchConfig

if TYPE_CHECKING:
    from tcf.launch.study.study import Study

__all__ = ["pipeline_command", "study_app"]

_OF_TRAINING = ("nodes_per_worker",)  # other stages use one node for each job

SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="An entry that replaces that of the file, such as grid.seeds=[0] or train.epochs=5; repeat for several.",
        metavar="NAME=VALUE",
        rich_help_panel=MAIN_OPTIONS,
    ),
]
FileArgument = Annotated[
    Path, typer.Argument(help="Study file, such as examples/study.toml; or a pipeline file, such as quickstart.toml.")
]

study_app = typer.Typer(
    cls=DefaultGroup,
    help="""Run a whole study from one file, on this machine or on Slurm; see how far it is.

    `tcf study FILE` is short for `tcf study run FILE`, whose page lists all options.

    Examples:
        tcf study study.toml --dry-run
        tcf study study.toml
        tcf study status study.toml --watch
    """,
    no_args_is_help=True,
    rich_markup_mode=None,
)


@study_app.command("run", cls=Command)
@overriding(LaunchConfig, "launching")
def study_command(
    file: FileArgument,
    launching: Mapping[str, Any],
    settings: SetOption = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="List what would be done, with predicted time, memory and disk; with --verbose also the command of "
            "each step. Nothing is written.",
            rich_help_panel=MAIN_OPTIONS,
        ),
    ] = False,
    detach: Annotated[
        bool,
        typer.Option(
            "--detach",
            help="Return at once: with Slurm all jobs are submitted, each to wait for those that it needs; otherwise "
            "the same command goes on in the background.",
            rich_help_panel=MAIN_OPTIONS,
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Run everything that a study file asks for and that has not been done, then show the results.

    The file's [grid] names datasets, encoders, layers, backbones, items and seeds. Each download, dataset, extraction,
    training and evaluation is done once. In the end there are means and intervals over seeds, comparisons, and
    OUT/results.csv.

    The same command goes on after an interruption. What fails is tried again, then reported, while the rest goes on.
    Changed settings make new runs beside the old ones. Options for processes and jobs replace those of the file's
    [launch] tables, for all stages.

    Examples:
        tcf study study.toml --dry-run
        tcf study study.toml --set grid.seeds=[0] --set train.epochs=5
        tcf study study.toml --launcher slurm --partition gpu --detach
    """
    overrides = tuple(settings or ())
    if detach and not dry_run:
        _detach(file, overrides, launching, as_json=as_json)
        return
    study = _expanded(file, overrides, launching, write=not dry_run)
    if dry_run:
        from tcf.launch.study.status.dry_run import dry_run as planned

        found = planned(study)
        print_result(found.as_json(), as_json=as_json, text=found.summary(commands=_is_verbose()))
        return
    _run(study, overrides, as_json=as_json)


@study_app.command("status", cls=Command)
def status_command(
    place: Annotated[Path, typer.Argument(help="Study file, or the study's folder.", metavar="FILE")],
    settings: SetOption = None,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch",
            help="Show it again every few seconds, until nothing changes any more.",
            rich_help_panel=MAIN_OPTIONS,
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show how far a study is: what is done, what runs where, what failed, how long the rest will take.

    It reads the records in the study's folder alone, so it may be called on any machine that sees the folder. The exit
    status is 1 if something failed.

    Examples:
        tcf study status study.toml
        tcf study status study --watch
    """
    from tcf.launch.study.status.watch import open_status, watch_status

    reader = open_status(place, tuple(settings or ()))
    status = watch_status(reader, sys.stdout) if watch and not as_json else reader()
    if as_json or not watch:
        from tcf.launch.study.status.shown import shown_status

        print_result(status.as_json(), as_json=as_json, text=shown_status(status))
    if status.of_state("failed"):
        raise typer.Exit(1)


def pipeline_command(
    file: Annotated[Path, typer.Argument(help="Pipeline file, such as examples/quickstart.toml.")],
    as_json: JsonOption = False,
) -> None:
    """Run all steps of a pipeline file, and compare the results; the same as `tcf study FILE`.

    Steps that have already been run are skipped, so that the same command resumes an interrupted pipeline.

    With seeds = [0, 1, 2] in the file, every run is trained and evaluated once with each seed (runs/NAME/seed-0, ...).
    The table then shows means over the seeds with intervals; recommendations are those of the first seed.

    Examples:
        tcf pipeline examples/quickstart.toml
    """
    _run(_expanded(file, (), {}, write=True), (), as_json=as_json)


def _run(study: "Study", overrides: tuple[str, ...], *, as_json: bool) -> None:
    """Run a study or a pipeline; what there is of its results is shown before an error says what failed."""
    from tcf.launch.study.results.pipeline_result import run_pipeline
    from tcf.launch.study.run_study import run_study

    done = run_pipeline(study, overrides) if study.is_pipeline else run_study(study, overrides)
    if as_json:
        print_result(done.as_json(), as_json=True)
    else:
        print_result({}, as_json=False, text=done.summary())
    done.check()


def _expanded(file: Path, overrides: tuple[str, ...], launching: Mapping[str, Any], *, write: bool) -> "Study":
    """Read and expand a file; options for processes and jobs replace its own, for all stages."""
    from tcf.launch.study.expand import expand
    from tcf.launch.study.study_file import read_study

    content = read_study(file, overrides)
    of_others = {name: value for name, value in launching.items() if name not in _OF_TRAINING}
    launch = {
        stage: dataclasses.replace(config, **(launching if stage == "train" else of_others))
        for stage, config in content.launch.items()
    }
    study = expand(dataclasses.replace(content, launch=launch), write=write)
    return dataclasses.replace(study, options=tuple(_typed(launching)))


def _detach(file: Path, overrides: tuple[str, ...], launching: Mapping[str, Any], *, as_json: bool) -> None:
    from tcf.launch.study.status.detach import detach

    study = _expanded(file, overrides, launching, write=True)
    given = [part for entry in overrides for part in ("--set", entry)]
    done = detach(study, overrides, ["study", "run", str(file), *given, *study.options])
    print_result(done.as_json(), as_json=as_json, text=done.summary())


def _typed(launching: Mapping[str, Any]) -> list[str]:
    """Options of processes and jobs as they are typed."""
    words = []
    for name, value in launching.items():
        for entry in value if isinstance(value, tuple) else (value,):
            words += [option_name(name), "none" if entry is None else str(entry)]
    return words


def _is_verbose() -> bool:
    import logging

    return logging.getLogger("tcf").isEnabledFor(logging.DEBUG)
