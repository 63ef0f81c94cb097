"""The command that writes recommendations."""

from pathlib import Path
from typing import Annotated

import typer

from tcf.commands.evaluate import RunsCaches
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
    run: Annotated[Path, typer.Argument(help="Run directory from `tcf train`.")],
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
        tcf recommend runs/text --out recommendations.parquet --launcher slurm
    """
    if is_launched(launch):
        from tcf.launch.launchers.single_jobs import recommend_in_job
        from tcf.launch.units.tasks import RecommendTask

        task = RecommendTask(
            run, out, k, users, catalogue, untrained_users, data, tuple(cache or ()), device, search, verify
        )
        found = recommend_in_job(task, launch, this_command())
        print_result(found, as_json=as_json, text=_recommended(out, k, found["users"]))
        return
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
    text = _recommended(out, k, done.n_users)
    print_result(done.as_json(), as_json=as_json, text=text, aside=is_standard_output(out))


def _recommended(out: Path, k: int, users: int) -> str:
    return f"{out}: up to {counted(k, 'item')} for each of {counted(users, 'user')}"
