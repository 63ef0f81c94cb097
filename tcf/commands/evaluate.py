"""The commands that evaluate runs and baselines, and write recommendations."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from tcf.commands.options import ByOption, JsonOption, VerifyOption, at_least, configured
from tcf.commands.output import as_lines, print_result
from tcf.common.errors import ConfigError
from tcf.common.output.output_file import is_standard_output
from tcf.common.units import counted
from tcf.config.evaluate import SEARCH_HELP, Baseline, CataloguePolicy, EvaluateConfig, Search, UntrainedUsers
from tcf.config.typed_values import typed

if TYPE_CHECKING:
    from tcf.evaluate.batch.batch import EvaluatedBatch
    from tcf.evaluate.evaluation import Evaluation

__all__ = ["evaluate_command", "recommend_command"]

RunsData = Annotated[Path | None, typer.Option("--data", help="The run's dataset, if it has moved since training.")]
RunsCaches = Annotated[
    list[Path] | None,
    typer.Option(
        "--cache",
        help="The run's vector cache, if it has moved since training; repeat for several, in the order of training.",
    ),
]
DeviceOption = Annotated[
    str, typer.Option("--device", help="Device to compute on: auto, cpu, cuda, cuda:1, ...", metavar="DEVICE")
]


@configured(EvaluateConfig)
def evaluate_command(
    out: Annotated[
        Path,
        typer.Option(
            "--out", help="Evaluation directory to create; of several, the folder in which each has its directory."
        ),
    ],
    config: EvaluateConfig,
    run: Annotated[
        list[Path] | None,
        typer.Argument(help="Run directories from `tcf train`; may be left out with --baseline."),
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
    workers: Annotated[
        int,
        typer.Option("--workers", help="Number of processes that share out several runs.", callback=at_least(1)),
    ] = 1,
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

    Groups (--by) follow from the saved ranks: the same command with other groups ranks nothing again.

    Examples:
        tcf evaluate runs/text --out evaluations/text
        tcf evaluate --baseline popularity --data data/ml-100k --out evaluations/pop
        tcf evaluate runs/text runs/id --baseline popularity --out evaluations
        tcf evaluate runs/text --cutoffs 1,10,50 --by cold --out evaluations/deep
    """
    from tcf.api.evaluation import evaluate_baseline, evaluate_run
    from tcf.launch.evaluation.evaluate_runs import evaluate_runs as evaluate_many
    from tcf.launch.evaluation.evaluate_runs import evaluation_devices

    runs, caches, by = run or [], cache or [], by or []
    _check_groupings(by)
    baselines: list[Baseline] = [typed(name, Baseline, "--baseline") for name in baseline or ()]
    if not runs and (caches or not baselines):
        raise ConfigError("expected run directories, or --baseline with --data; see `tcf evaluate --help`")
    if not runs and data is None:
        raise ConfigError("--baseline: expected --data as well, or runs, found neither; add --data DATASET")
    if len(runs) + len(baselines) > 1:
        many = evaluate_many(
            runs,
            baselines,
            out=out,
            config=config,
            data=data,
            caches=caches,
            seed=seed,
            workers=workers,
            devices=devices,
            vectors=vectors,
        )
        _print_several(many, by, as_json)
        many.check()
        return
    if devices:
        config = dataclasses.replace(config, device=evaluation_devices(config, 1, devices)[0])
    if runs:
        done = evaluate_run(runs[0], out, config, data=data, caches=caches, vectors=vectors)
    else:
        done = evaluate_baseline(baselines[0], str(data), out, config, seed=seed, vectors=vectors)
    _print_one(done, by, as_json)


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


def recommend_command(
    run: Annotated[Path, typer.Argument(help="Run directory from `tcf train`.")],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            help="File to write: .parquet or .csv; - for CSV on standard output. Columns: user_id, place, item_id, "
            "score.",
        ),
    ],
    k: Annotated[int, typer.Option("--k", help="Maximum number of items for each user.", callback=at_least(1))] = 10,
    users: Annotated[
        Path | None, typer.Option("--users", help="File of user ids, one on each line; default: all users.")
    ] = None,
    catalogue: Annotated[
        CataloguePolicy | None,
        typer.Option(
            "--catalogue",
            help="Which items may be recommended: all, or those with a training interaction (trained); default: "
            "trained for a run on ids alone, otherwise all.",
        ),
    ] = None,
    untrained_users: Annotated[
        UntrainedUsers,
        typer.Option(
            "--untrained-users",
            help="Whether users whom --user-tower id has never trained get items (keep), or none (leave-out).",
        ),
    ] = "keep",
    data: RunsData = None,
    cache: RunsCaches = None,
    device: DeviceOption = "auto",
    search: Annotated[Search, typer.Option("--search", help=SEARCH_HELP)] = "auto",
    verify: VerifyOption = "once",
    as_json: JsonOption = False,
) -> None:
    """Write each user's best items, leaving out all that the user has had.

    That is the whole history, what --keep-last has cut off from it, and what else the raw files say the user has had,
    such as items rated below --min-rating.

    Examples:
        tcf recommend runs/text --out recommendations.parquet --k 20
    """
    from tcf.api.evaluation import recommend_items

    done = recommend_items(
        run,
        k,
        users,
        out,
        catalogue=catalogue,
        untrained_users=untrained_users,
        data=data,
        caches=cache or (),
        device=device,
        search=search,
        verify=verify,
    )
    text = f"{out}: up to {counted(k, 'item')} for each of {counted(done.n_users, 'user')}"
    print_result(done.as_json(), as_json=as_json, text=text, aside=is_standard_output(out))
