"""The command that writes recommendations."""

from pathlib import Path
from typing import Annotated

import typer

from tcf.commands.evaluate import MovedRuns, RunsCaches, moved_runs
from tcf.commands.options import JsonOption, Launchable, VerifyOption, at_least, configured, is_launched, this_command
from tcf.commands.output import print_result
from tcf.common.output.output_file import is_standard_output
from tcf.common.units import counted
from tcf.config.evaluate import SEARCH_HELP, CataloguePolicy, Search, UntrainedUsers
from tcf.config.launch import LaunchConfig

__all__ = ["recommend_command"]

RunsData = Annotated[Path | None, typer.Option("--data", help="The run's dataset, if it has moved since training.")]
DeviceOption = Annotated[
    str, typer.Option("--device", help="Device to compute on: auto, cpu, cuda, cuda:1, ...", metavar="DEVICE")
]


@configured(None, Launchable(without=("workers", "nodes_per_worker", "pack_minutes")))
def recommend_command(
    run: Annotated[Path, typer.Argument(help="Run directory from `tcf train`, or a combination from `tcf combine`.")],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            help="File to write: .parquet or .csv; - for CSV on standard output. Columns: user_id, place, item_id, "
            "score.",
        ),
    ],
    launch: LaunchConfig,
    k: Annotated[int, typer.Option("--k", help="Maximum number of items for each user.", callback=at_least(1))] = 10,
    users: Annotated[
        Path | None, typer.Option("--users", help="File of user ids, one on each line; default: all users.")
    ] = None,
    catalogue: Annotated[
        CataloguePolicy | None,
        typer.Option(
            "--catalogue",
            help="Which items may be recommended: all, or those with a training interaction (trained); default: "
            "trained for runs on ids alone, otherwise all.",
        ),
    ] = None,
    untrained_users: Annotated[
        UntrainedUsers,
        typer.Option(
            "--untrained-users",
            help="Whether users whom --user-tower id has never trained get items (keep), or none (leave-out).",
        ),
    ] = "keep",
    shares: Annotated[
        bool,
        typer.Option(
            "--shares",
            help="Write each member's share in a score of a combination too, in a column share_NAME; the shares add "
            "up to the score.",
        ),
    ] = False,
    data: RunsData = None,
    cache: RunsCaches = None,
    moved: MovedRuns = None,
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
        tcf recommend runs/combined --out recommendations.parquet --shares
        tcf recommend runs/text --out recommendations.parquet --launcher slurm
    """
    members = moved_runs(moved, alone=not is_launched(launch))
    if is_launched(launch):
        from tcf.launch.launchers.single_jobs import recommend_in_job
        from tcf.launch.units.tasks import RecommendTask

        task = RecommendTask(
            run,
            out,
            k,
            users,
            catalogue,
            untrained_users,
            data,
            tuple(cache or ()),
            device,
            search,
            verify,
            shares=shares,
        )
        found = recommend_in_job(task, launch, this_command())
        print_result(found, as_json=as_json, text=_recommended(out, k, found["users"]))
        return
    from tcf.api.evaluation import recommend_items
    from tcf.evaluate.finished_run import open_finished_run

    opened = open_finished_run(run, data=data, caches=cache or (), members=members, device=device, verify=verify)
    done = recommend_items(
        opened, k, users, out, catalogue=catalogue, untrained_users=untrained_users, search=search, shares=shares
    )
    text = _recommended(out, k, done.n_users)
    print_result(done.as_json(), as_json=as_json, text=text, aside=is_standard_output(out))


def _recommended(out: Path, k: int, users: int) -> str:
    return f"{out}: up to {counted(k, 'item')} for each of {counted(users, 'user')}"
