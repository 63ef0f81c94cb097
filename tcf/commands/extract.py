"""The commands that plan an extraction, run it, and convert raw weights for it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tcf.commands.options import JsonOption, configured
from tcf.commands.output import print_result
from tcf.common.errors import ConfigError
from tcf.config.extract import ExtractConfig

if TYPE_CHECKING:
    from tcf.extract.plan.plan import Plan

__all__ = ["convert_command", "extract_command", "plan_command"]

DataOption = Annotated[Path, typer.Option("--data", help="Dataset directory, made by `tcf data prepare`.")]


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
    from tcf.extract.plan.plan import plan_text

    plan = _plan(model, data, items, tokens_per_text, out, config)
    print_result(plan.as_json(), as_json=as_json, text=plan_text(plan))


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


@configured(ExtractConfig)
def extract_command(
    data: DataOption,
    model: Annotated[
        str,
        typer.Option(
            "--model", help="Named model (minilm, opt-125m, ...), hub id, folder, or text file of word vectors."
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", help="Vector cache to make or to append to; the folder of several with --layers.")
    ],
    config: ExtractConfig,
    as_json: JsonOption = False,
) -> None:
    """Read every item text of a dataset with a language model, and cache the vectors."""
    from tcf.common.manifest import read_manifest
    from tcf.data.dataset import DATASET
    from tcf.encoders.folder.local_model import local_model
    from tcf.launch.extract_on_devices import extract_on_devices

    read_manifest(data, DATASET)  # before a model of gigabytes is fetched
    done = extract_on_devices(data=data, model=local_model(model), name=model, out=out, config=config)
    print_result(done.as_json(), as_json=as_json, text=done.summary())


def convert_command(
    source: Annotated[
        Path,
        typer.Argument(
            help="A .gguf file, or raw weights of OPT: a folder with metaseq's *-model_part-N.pt, with a NumPy file "
            "for each tensor, or with pytorch_model*.bin; or a .pt file. With --verify alone: a folder made before."
        ),
    ],
    out: Annotated[Path | None, typer.Option("--out", help="Model folder to make, in Hugging Face layout.")] = None,
    tokenizer: Annotated[
        Path | None, typer.Option("--tokenizer", help="Folder with OPT's tokenizer, if it is not beside raw weights.")
    ] = None,
    verify: Annotated[
        bool,
        typer.Option("--verify", help="Check every byte and number of the folder made, and print one text's vector."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Turn a model's raw weights into a folder that `tcf extract --model` reads."""
    if out is None and (not verify or tokenizer is not None):
        raise ConfigError("--out: expected the model folder to make, found nothing; or pass --verify alone")
    result, lines = ({"folder": source}, []) if out is None else _convert(source, out, tokenizer)
    if verify:
        verified, found = _verify(source if out is None else out)
        result, lines = {**result, **verified}, lines + found
    print_result(result, as_json=as_json, text="\n".join(lines))


def _convert(source: Path, out: Path, tokenizer: Path | None) -> tuple[dict[str, Any], list[str]]:
    """Convert a model; returns what to report, for programs and for people."""
    from tcf.encoders.convert.convert import convert

    done = convert(source, out, tokenizer=tokenizer)
    line = f"{done.folder}: {done.parameters:,} parameters, {done.dtype}{'' if done.made else ', there already'}"
    result = {"folder": done.folder, "parameters": done.parameters, "dtype": done.dtype, "made": done.made}
    return result, [line]


def _verify(folder: Path) -> tuple[dict[str, Any], list[str]]:
    """Check a converted model and run it on a text; returns what to report, for programs and for people."""
    from tcf.encoders.convert.verify import verify_converted
    from tcf.launch.sample_vector import SAMPLE, sample_vector

    found, vector = verify_converted(folder), sample_vector(folder)
    shown = " ".join(f"{number:.4f}" for number in vector[:6])
    lines = [
        f"{found.files:,} files as written, {found.tensors:,} tensors, {found.numbers:,} finite numbers",
        f'the vector of "{SAMPLE}": {len(vector):,} numbers, {shown} ...',
    ]
    verified = {"files": found.files, "tensors": found.tensors, "numbers": found.numbers}
    return {"verified": verified, "sample": {"text": SAMPLE, "vector": vector.tolist()}}, lines
