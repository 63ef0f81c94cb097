"""The command that combines finished runs and baselines."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from tcf.commands.options import JsonOption, configured
from tcf.commands.output import print_result
from tcf.common.text_table import text_table
from tcf.config.combine import CombineConfig, CombinedBaseline
from tcf.config.toml_files import user_path
from tcf.config.typed_values import typed

if TYPE_CHECKING:
    from tcf.evaluate.combination.combined_run import CombinedRun

__all__ = ["combine_command"]


@configured(CombineConfig)
def combine_command(
    runs: Annotated[
        list[str],
        typer.Argument(
            help="Run directories from `tcf train`, as PATH or NAME=PATH; all of one dataset.", metavar="RUNS"
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="Directory of the combination to create.")],
    config: CombineConfig,
    baseline: Annotated[
        list[str] | None,
        typer.Option(
            "--baseline",
            help="Make this baseline a member as well, after the runs; repeat for several.",
            metavar=f"[{'|'.join(get_args(CombinedBaseline))}]",
        ),
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", help="The runs' dataset, if it has moved since training.")
    ] = None,
    cache: Annotated[
        list[Path] | None,
        typer.Option(
            "--cache",
            help="The runs' vector caches, if they have moved since training; repeat for several, run by run, in the "
            "order of training.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Combine finished runs, and baselines, into one ranking, without training anything.

    Each member's scores are standardised for each user over all items and added with weights that are fitted to
    validation targets. The combination is evaluated and recommended from like a run. It is small: it names its runs,
    which stay where they are.

    Examples:
        tcf combine runs/text runs/id --baseline co-occurrence --out runs/combined
        tcf combine small=runs/text-0 large=runs/text-1 --weights 1,1 --out runs/both
        tcf evaluate runs/combined --out evaluations/combined
    """
    from tcf.evaluate.combination.combine import combine

    names, places = _by_name(runs)
    baselines: list[CombinedBaseline] = [typed(name, CombinedBaseline, "--baseline") for name in baseline or ()]
    done = combine(places, out=out, config=config, baselines=baselines, names=names, data=data, caches=cache or ())
    print_result(done.as_json(), as_json=as_json, text=_table(done))


def _by_name(runs: Sequence[str]) -> tuple[list[str | None], list[Path]]:
    """Names, and paths: what is before `=` is a name, unless the whole is a path."""
    names, paths = list[str | None](), list[Path]()
    for words in runs:
        path, (name, is_named, place) = user_path(words), words.partition("=")
        named = bool(is_named and name and place) and not path.exists()
        names.append(name if named else None)
        paths.append(user_path(place) if named else path)
    return names, paths


def _table(done: "CombinedRun") -> str:
    """A row for each member, and one for the combination."""
    from tcf.ranking.metrics import VALIDATION_METRICS

    rows = [["member", "weight", *(metric.validation_name for metric in VALIDATION_METRICS)]]
    for name, weight, metrics in [
        *((member.name, f"{member.weight:.3f}", member.metrics) for member in done.members),
        ("combination", "", done.metrics),
    ]:
        shown = (metric.shown(metrics[metric.name]) if metric.name in metrics else "" for metric in VALIDATION_METRICS)
        rows.append([name, weight, *shown])
    return "\n".join([text_table(rows), done.fit_words])
