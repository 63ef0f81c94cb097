"""The command that compares evaluations."""

from pathlib import Path
from typing import Annotated

import typer

from tcf.commands.options import ByOption, JsonOption, at_least
from tcf.commands.output import print_result
from tcf.common.errors import ConfigError
from tcf.common.output.output_file import check_output_file, format_by_suffix, is_standard_output
from tcf.config.fields import MAIN_OPTIONS
from tcf.config.toml_files import user_path

__all__ = ["compare_command"]

_FORMATS = ("json", "parquet", "csv")


def compare_command(
    evaluations: Annotated[
        list[str],
        typer.Argument(
            help="Evaluation directories, as PATH or NAME=PATH; or folders with the evaluations seed-0, seed-1, ... of "
            "one setting.",
            metavar="EVALUATIONS",
        ),
    ],
    metrics: Annotated[
        str | None,
        typer.Option(
            "--metrics",
            help="Metrics to compare by, with any cutoff, such as hr@10,ndcg@10; default: all that were measured.",
            metavar="NAME,NAME,...",
            rich_help_panel=MAIN_OPTIONS,
        ),
    ] = None,
    by: ByOption = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="File to write as well: .json (everything), or .parquet or .csv (the differences of all pairs).",
            rich_help_panel=MAIN_OPTIONS,
        ),
    ] = None,
    resamples: Annotated[
        int,
        typer.Option(
            "--resamples",
            help="How often the users are drawn again for the intervals.",
            callback=at_least(1),
            rich_help_panel="Intervals and tests",
        ),
    ] = 10_000,
    flips: Annotated[
        int,
        typer.Option(
            "--flips",
            help="How often the signs of the users' differences are drawn for a test.",
            callback=at_least(1),
            rich_help_panel="Intervals and tests",
        ),
    ] = 9_999,
    seed: Annotated[
        int,
        typer.Option(
            "--seed", help="Seed of these draws.", callback=at_least(0), rich_help_panel="Intervals and tests"
        ),
    ] = 0,
    confidence: Annotated[
        float,
        typer.Option(
            "--confidence",
            help="Probability of the intervals; 1 less this is the level of the tests.",
            rich_help_panel="Intervals and tests",
        ),
    ] = 0.95,
    as_json: JsonOption = False,
) -> None:
    """Compare evaluations of the same users: differences, intervals, tests, and which cannot be told apart.

    Users are compared with themselves. The differences of all pairs have intervals by the bootstrap over users (crossed
    with seeds where there are several), paired sign-flip tests with Holm's correction for all pairs, McNemar's test for
    HR without ties, and the smallest difference that could have been found. Evaluations of different datasets, splits,
    policies or users are refused.

    Examples:
        tcf compare evaluations/text evaluations/id popular=evaluations/popularity
        tcf compare evaluations/text evaluations/id --metrics hr@10 --by cold
    """
    from tcf.api.comparison import compare_evaluations
    from tcf.evaluate.compare.write_comparison import write_comparison

    if out is not None:
        format_by_suffix(out, _FORMATS)
        check_output_file(out)
    done = compare_evaluations(
        _by_name(evaluations),
        metrics.split(",") if metrics else (),
        by or (),
        resamples=resamples,
        flips=flips,
        seed=seed,
        confidence=confidence,
    )
    if out is not None:
        write_comparison(done, out)
    aside = out is not None and is_standard_output(out)
    print_result(done.as_json(), as_json=as_json, text=str(done), aside=aside)


def _by_name(evaluations: list[str]) -> dict[str, Path]:
    """Paths by the names to show: what is before `=`, unless the whole is a path, or the name of the directory."""
    found: dict[str, Path] = {}
    for typed in evaluations:
        name, is_named, place = typed.partition("=")
        path = user_path(typed)
        if is_named and name and place and not path.exists():
            path = user_path(place)
        else:
            name = path.absolute().name
        if name in found:
            raise ConfigError(f"evaluations: expected different names, found {name} twice; give each one as NAME=PATH")
        found[name] = path
    return found
