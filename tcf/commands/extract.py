"""The command that says what an extraction will take, and stops."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tcf.commands.options import JsonOption, as_json_text, configured
from tcf.common.errors import ConfigError
from tcf.config.extract import ExtractConfig

if TYPE_CHECKING:
    from tcf.extract.plan.plan import Plan

__all__ = ["plan_command"]


@configured(ExtractConfig)
def plan_command(
    model: Annotated[
        str,
        typer.Option(
            "--model",
            help="As for `tcf extract`; nothing is downloaded. Of a published OPT size the name is enough, else a "
            "folder with config.json, and the index of its weights if it has one.",
        ),
    ],
    config: ExtractConfig,
    data: Annotated[
        Path | None, typer.Option("--data", help="Dataset directory; --items takes its place where there is none yet.")
    ] = None,
    items: Annotated[
        int | None, typer.Option("--items", help="Size of a catalogue of different texts, instead of --data.", min=1)
    ] = None,
    tokens_per_text: Annotated[
        int | None, typer.Option("--tokens-per-text", help="With --items: tokens of a text; 14 if not given.", min=1)
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Where the cache would go, to see whether its disk has room.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Say how `tcf extract` would run a model here: schedule, memory, bytes to read, time, disk. Nothing is loaded."""
    plan = _plan(model, data, items, tokens_per_text, out, config)
    if as_json:
        print(as_json_text(plan.as_json()))
        return
    from tcf.extract.plan.plan import plan_text

    print(plan_text(plan))


def _plan(
    model: str, data: Path | None, items: int | None, tokens: int | None, out: Path | None, config: ExtractConfig
) -> "Plan":
    from tcf.extract.plan.planner import plan_for_data, plan_for_items

    match data, items:
        case Path(), None if tokens is None:
            return plan_for_data(model, data, out, config)
        case None, int():
            return plan_for_items(model, items, tokens, out, config)
        case _:
            raise ConfigError(
                "expected either --data, or --items and with it, if wanted, --tokens-per-text; see `tcf plan --help`"
            )
