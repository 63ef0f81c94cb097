"""The command that evaluates runs and baselines."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from tcf.commands.options import ByOption, JsonOption, Launchable, at_least, configured, is_launched, this_command
from tcf.commands.output import as_lines, print_result
from tcf.common.errors import ConfigError
from tcf.common.files import is_published
from tcf.config.evaluate import Baseline, EvaluateConfig
from tcf.config.launch import LaunchConfig
from tcf.config.toml_files import user_path
from tcf.config.typed_values import typed

if TYPE_CHECKING:
    from tcf.evaluate.batch.batch import EvaluatedBatch
    from tcf.evaluate.evaluation import Evaluation

__all__ = ["MovedRuns", "RunsCaches", "evaluate_command", "moved_runs"]

RunsCaches = Annotated[
    list[Path] | None,
    typer.Option(
        "--cache",
        help="The run's vector cache, if it has moved since training; repeat for several, in the order of training, of "
        "a combination run by run.",
    ),
]
MovedRuns = Annotated[
    list[str] | None,
    typer.Option(
        "--run",
        help="Where the run NAME of a combination is, if it has moved since it was combined; repeat for several.",
        metavar="NAME=PATH",
    ),
]


@configured(
    EvaluateConfig,
    Launchable(
        here=("workers",),
        without=("nodes_per_worker",),
        workers="Number of processes that share out several runs; default: 1. With Slurm, jobs at the same time; "
        "default: as many as there is work for.",
    ),
)
def evaluate_command(
    out: Annotated[
        Path,
        typer.Option(
            "--out", help="Evaluation directory to create; of several, the folder in which each has its directory."
        ),
    ],
    config: EvaluateConfig,
    launch: LaunchConfig,
    run: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Run directories from `tcf train` and combinations from `tcf combine`; may be left out with "
            "--baseline."
        ),
    ] = None,
    baseline: Annotated[
        list[str] | None,
        typer.Option(
            "--baseline",
            help="Evaluate this baseline as well, on the runs' dataset or on --data; repeat for several.",
            metavar=f"[{'|'.join(get_args(Baseline))}]",
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of --baseline random.", callback=at_least(0))] = 0,
    data: Annotated[
        Path | None,
        typer.Option("--data", help="Dataset of --baseline; or the runs', if it has moved since training."),
    ] = None,
    cache: RunsCaches = None,
    moved: MovedRuns = None,
    devices: Annotated[
        str,
        typer.Option(
            "--devices",
            help="Devices that share out several runs, with a process on each: auto, or names such as cuda:0,cuda:1; "
            "in place of --device.",
            metavar="DEVICES",
        ),
    ] = "",
    vectors: Annotated[
        Path | None,
        typer.Option(
            "--vectors",
            help="Vector cache on which --lists measures the diversity of lists: the same for all that is to be "
            "compared, runs on ids among it. Left out, diversity is not measured.",
        ),
    ] = None,
    by: ByOption = None,
    as_json: JsonOption = False,
) -> None:
    """Rank the catalogue, less what the user has seen, for every user, and compute HR, NDCG and MRR with intervals.

    Several runs have a directory each below --out, named after their own, and one table shows them all. Those that
    are there already are not evaluated again; one that fails does not stop the others.

    A combination is evaluated as a run is.

    Groups (--by) follow from the saved ranks: the same command with other groups ranks nothing again.

    Several runs are shared out over --workers processes of this machine, or with --launcher slurm over jobs, whose logs
    are in OUT.jobs.

    Examples:
        tcf evaluate runs/text --out evaluations/text
        tcf evaluate --baseline popularity --data data/ml-100k --out evaluations/pop
        tcf evaluate runs/text runs/id --baseline popularity --out evaluations
        tcf evaluate runs/text --cutoffs 1,10,50 --by cold --out evaluations/deep
    """
    runs, caches, by = run or [], cache or [], by or []
    _check_groupings(by)
    baselines: list[Baseline] = [typed(name, Baseline, "--baseline") for name in baseline or ()]
    if not runs and (caches or not baselines):
        raise ConfigError("expected run directories, or --baseline with --data; see `tcf evaluate --help`")
    if not runs and data is None:
        raise ConfigError("--baseline: expected --data as well, or runs, found neither; add --data DATASET")
    if launch.launcher == "slurm" and devices:
        raise ConfigError(f"--devices: expected none with --launcher slurm, found {devices}; --device is for all jobs")
    members = moved_runs(moved, alone=len(runs) == 1 and not baselines and not is_launched(launch))
    asked = _Asked(runs, baselines, out, config, launch, data, caches, members, seed, devices, vectors)
    if len(runs) + len(baselines) > 1:
        many = asked.several()
        _print_several(many, by, as_json)
        many.check()
    else:
        _print_one(asked.only_one(), by, as_json)


def moved_runs(given: Sequence[str] | None, alone: bool) -> dict[str, Path]:
    """Return where runs of a combination are now, by their names as members, from `--run NAME=PATH`.

    Args:
        given: the values of the option.
        alone: whether a single combination is used, by this process.

    Raises:
        ConfigError: a value is no name with a path, a name is there twice, or there is not a single combination.
    """
    found: dict[str, Path] = {}
    for value in given or ():
        name, equals, place = value.partition("=")
        if not (name and equals and place) or name in found:
            wrong = f"{name} a second time" if name in found else value
            raise ConfigError(f"--run: expected NAME=PATH, each name only once, found {wrong}; correct it")
        found[name] = user_path(place)
    if found and not alone:
        raise ConfigError(
            "--run: expected a single combination, by itself and without --launcher slurm, found others; use it by "
            "itself, or put its runs back to where they were combined"
        )
    return found


@dataclass(frozen=True)
class _Asked:
    """What is to be evaluated, and how; see the command's options."""

    runs: Sequence[Path]
    baselines: Sequence[Baseline]
    out: Path
    config: EvaluateConfig
    launch: LaunchConfig
    data: Path | None
    caches: Sequence[Path]
    members: Mapping[str, Path]
    seed: int
    devices: str
    vectors: Path | None

    def several(self) -> "EvaluatedBatch":
        """Evaluate several: in this process, in workers, or in jobs."""
        from tcf.launch.evaluation.evaluate_in_jobs import evaluate_runs_in_jobs
        from tcf.launch.evaluation.evaluate_runs import evaluate_runs

        if self.launch.launcher == "slurm":
            return evaluate_runs_in_jobs(
                self.runs,
                self.baselines,
                out=self.out,
                config=self.config,
                launch=self.launch,
                data=self.data,
                caches=self.caches,
                seed=self.seed,
                vectors=self.vectors,
            )
        return evaluate_runs(
            self.runs,
            self.baselines,
            out=self.out,
            config=self.config,
            data=self.data,
            caches=self.caches,
            seed=self.seed,
            workers=self.launch.workers or 1,
            devices=self.devices,
            vectors=self.vectors,
        )

    def only_one(self) -> "Evaluation":
        """Evaluate the only one: in this process, or in a job, unless it is there."""
        from tcf.launch.evaluation.evaluate_runs import evaluation_devices

        config = self.config
        if self.launch.launcher == "slurm":
            if not is_published(self.out):
                return self._in_job()
            config = dataclasses.replace(config, device="auto")  # nothing is computed
        elif self.devices:
            config = dataclasses.replace(config, device=evaluation_devices(config, 1, self.devices)[0])
        return self._here(config)

    def _here(self, config: EvaluateConfig) -> "Evaluation":
        from tcf.api.evaluation import evaluate_baseline, evaluate_run
        from tcf.evaluate.finished_run import open_finished_run

        if self.runs:
            run = open_finished_run(
                self.runs[0],
                data=self.data,
                caches=self.caches,
                members=self.members,
                device=config.device,
                verify=config.verify,
            )
            return evaluate_run(run, self.out, config, vectors=self.vectors)
        return evaluate_baseline(
            self.baselines[0], str(self.data), self.out, config, seed=self.seed, vectors=self.vectors
        )

    def _in_job(self) -> "Evaluation":
        from tcf.launch.evaluation.evaluate_in_jobs import evaluate_in_job
        from tcf.launch.units.tasks import EvaluateTask

        task = EvaluateTask(
            run_folder=self.runs[0] if self.runs else None,
            baseline="" if self.runs else self.baselines[0],
            data=self.data,
            caches=tuple(self.caches),
            out=self.out,
            config=self.config,
            vectors=self.vectors,
            seed=self.seed,
        )
        return evaluate_in_job(task, self.launch, this_command())


def _check_groupings(by: Sequence[str]) -> None:
    """Refuse unknown groups, and tables without the column, before anything is ranked."""
    from tcf.evaluate.groups.column_groups import id_column_of
    from tcf.evaluate.groups.grouping import Column, groupings_of

    for grouping in groupings_of(by, "--by").values():
        if isinstance(grouping, Column):
            id_column_of(grouping.file, grouping.name)


def _print_several(many: "EvaluatedBatch", by: Sequence[str], as_json: bool) -> None:
    """Print those that could be evaluated, as a table."""
    if as_json:
        print_result(many.as_json(by), as_json=True)
    elif many.evaluations:
        groups = [f"{name}\n{done.groups(by)}" for name, done in many.evaluations.items() if by]
        print_result({}, as_json=False, text="\n\n".join([repr(many.table), *groups]))


def _print_one(done: "Evaluation", by: Sequence[str], as_json: bool) -> None:
    """Print the only evaluation, line by line."""
    if as_json:
        print_result(done.as_json(by), as_json=True)
    else:
        groups = [str(done.groups(by))] if by else []
        print_result({}, as_json=False, text="\n\n".join([as_lines(done.for_people()), *groups]))
