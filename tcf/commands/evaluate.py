"""The commands that judge runs and baselines, and write recommendations."""

from pathlib import Path
from typing import Annotated

import typer

from tcf.commands.options import JsonOption, configured
from tcf.commands.output import print_result
from tcf.common.errors import ConfigError
from tcf.config.evaluate import Baseline, EvaluateConfig

__all__ = ["evaluate_command", "recommend_command"]

RunsData = Annotated[
    Path | None, typer.Option("--data", help="The run's dataset, if it is no longer where the run found it.")
]
RunsCaches = Annotated[
    list[Path] | None,
    typer.Option(
        "--cache",
        help="The run's vector cache, if it is no longer where the run found it; each of several, in the order of "
        "training.",
    ),
]
StatesDevice = Annotated[
    str, typer.Option("--device", help="Device to compute user states on: auto, cpu, cuda, cuda:1, ...")
]


@configured(EvaluateConfig)
def evaluate_command(
    out: Annotated[Path, typer.Option("--out", help="Evaluation directory to make.")],
    config: EvaluateConfig,
    run: Annotated[
        Path | None, typer.Argument(help="Run directory, made by `tcf train`; none with --baseline.")
    ] = None,
    baseline: Annotated[
        Baseline | None, typer.Option("--baseline", help="Rank by this instead of by a run; needs --data.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of --baseline random.", min=0)] = 0,
    data: Annotated[
        Path | None,
        typer.Option("--data", help="Dataset for --baseline; or the run's, if it is no longer where the run found it."),
    ] = None,
    cache: RunsCaches = None,
    as_json: JsonOption = False,
) -> None:
    """Rank the whole catalogue for every user, and measure where the held-out item stands."""
    from tcf.evaluate.stage import evaluate_baseline, evaluate_run

    match run, baseline, data, cache or None:
        case Path(), None, _, _:
            done = evaluate_run(run, out=out, config=config, data=data, caches=cache or ())
        case None, str(), Path(), None:
            done = evaluate_baseline(baseline, data=data, out=out, config=config, seed=seed)
        case _:
            raise ConfigError("expected either a run directory, or --baseline with --data; see `tcf evaluate --help`")
    print_result(done.as_json(), as_json=as_json)


def recommend_command(
    run: Annotated[Path, typer.Argument(help="Run directory, made by `tcf train`.")],
    out: Annotated[
        Path,
        typer.Option(
            "--out", help="File to write, .parquet or .csv, replaced if it is there: user_id, place, item_id, score."
        ),
    ],
    k: Annotated[int, typer.Option("--k", help="Items for each user at most.", min=1)] = 10,
    users: Annotated[
        Path | None, typer.Option("--users", help="File of user ids, one a line; all if not given.")
    ] = None,
    data: RunsData = None,
    cache: RunsCaches = None,
    device: StatesDevice = "auto",
    as_json: JsonOption = False,
) -> None:
    """Write each user's best items that the user has not met yet."""
    from tcf.evaluate.recommend import recommend

    n_users = recommend(run, out=out, k=k, users=users, data=data, caches=cache or (), device=device)
    text = f"{out}: up to {k:,} items for each of {n_users:,} users"
    print_result({"out": out, "k": k, "users": n_users}, as_json=as_json, text=text)
