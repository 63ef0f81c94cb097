"""The commands that evaluate runs and baselines, and write recommendations."""

from pathlib import Path
from typing import Annotated

import typer

from tcf.commands.options import JsonOption, VerifyOption, at_least, configured
from tcf.commands.output import print_result
from tcf.common.errors import ConfigError
from tcf.common.output.output_file import is_standard_output
from tcf.common.units import counted
from tcf.config.evaluate import SEARCH_HELP, Baseline, CataloguePolicy, EvaluateConfig, Search, UntrainedUsers

__all__ = ["evaluate_command", "recommend_command"]

RunsData = Annotated[Path | None, typer.Option("--data", help="The run's dataset, if it has moved since training.")]
RunsCaches = Annotated[
    list[Path] | None,
    typer.Option(
        "--cache",
        help="The run's vector cache, if it has moved since training; repeat for several, in the order of training.",
    ),
]
StatesDevice = Annotated[
    str,
    typer.Option("--device", help="Device to compute user states on: auto, cpu, cuda, cuda:1, ...", metavar="DEVICE"),
]


@configured(EvaluateConfig)
def evaluate_command(
    out: Annotated[Path, typer.Option("--out", help="Evaluation directory to create.")],
    config: EvaluateConfig,
    run: Annotated[
        Path | None, typer.Argument(help="Run directory from `tcf train`; left out with --baseline.")
    ] = None,
    baseline: Annotated[
        Baseline | None, typer.Option("--baseline", help="Evaluate this baseline instead of a run; needs --data.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of --baseline random.", callback=at_least(0))] = 0,
    data: Annotated[
        Path | None,
        typer.Option("--data", help="Dataset of --baseline; or the run's, if it has moved since training."),
    ] = None,
    cache: RunsCaches = None,
    as_json: JsonOption = False,
) -> None:
    """Rank the catalogue, less what the user has seen, for every user, and compute HR@10, NDCG@10 and MRR.

    Examples:
        tcf evaluate runs/text --out evaluations/text
        tcf evaluate --baseline popularity --data data/ml-100k --out evaluations/pop
    """
    from tcf.api.evaluation import evaluate_baseline, evaluate_run

    match run, baseline, data, cache or None:
        case Path(), None, _, _:
            done = evaluate_run(run, out, config, data=data, caches=cache or ())
        case None, str(), Path(), None:
            done = evaluate_baseline(baseline, data, out, config, seed=seed)
        case None, str(), None, None:
            raise ConfigError("--baseline: expected --data as well, found none; add --data DATASET")
        case _:
            raise ConfigError("expected either a run directory, or --baseline with --data; see `tcf evaluate --help`")
    print_result(done.as_json() if as_json else done.for_people(), as_json=as_json)


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
    device: StatesDevice = "auto",
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
