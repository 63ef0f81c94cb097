"""The commands that plan and run an extraction, and convert raw weights for it."""

from pathlib import Path
from typing import Annotated, Any

import typer

from tcf.commands.options import JsonOption, Launchable, at_least, configured, is_launched, this_command
from tcf.commands.output import print_result
from tcf.common.errors import ConfigError
from tcf.common.units import counted
from tcf.config.extract import ExtractConfig
from tcf.config.launch import LaunchConfig
from tcf.config.toml_files import expand_home

__all__ = ["convert_command", "extract_command", "plan_command"]

DataOption = Annotated[Path, typer.Option("--data", help="Dataset directory from `tcf data prepare`.")]


@configured(ExtractConfig)
def plan_command(
    model: Annotated[
        str,
        typer.Option(
            "--model",
            help="Model as for `tcf extract`; nothing is downloaded. A name such as opt-66b is enough for the "
            "published OPT sizes; other models need a folder with config.json and, if there is one, the index of the "
            "weights.",
            metavar="MODEL",
            callback=expand_home,
        ),
    ],
    config: ExtractConfig,
    data: Annotated[Path | None, typer.Option("--data", help="Dataset directory; or give --items.")] = None,
    items: Annotated[
        int | None, typer.Option("--items", help="Number of distinct texts, instead of --data.", callback=at_least(1))
    ] = None,
    tokens_per_text: Annotated[
        int | None,
        typer.Option("--tokens-per-text", help="With --items: tokens per text; default: 14.", callback=at_least(1)),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Where the cache would be written, to check free disk space.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Predict how `tcf extract` would run: schedule, memory, reads, time, disk.

    The model is not loaded. The options are those of `tcf extract`.

    Examples:
        tcf plan --model opt-66b --items 100000
        tcf plan --model minilm --data data/ml-100k --json
    """
    from tcf.api.extraction import plan_extraction

    plan = plan_extraction(model, data, items=items, tokens_per_text=tokens_per_text, out=out, config=config)
    print_result(plan.as_json(), as_json=as_json, text=str(plan))


@configured(
    ExtractConfig,
    Launchable(
        here=("workers", "gpus_per_worker", "cpus_per_worker", "tries"),
        without=("nodes_per_worker", "pack_minutes"),
        workers="Processes, or jobs of Slurm, that share out the shards. Default: with --gpus-per-worker, as many as "
        "there are GPUs for; else one.",
    ),
)
def extract_command(
    data: DataOption,
    model: Annotated[
        str,
        typer.Option(
            "--model",
            help="Model name (minilm, opt-125m, ...), Hugging Face id, folder, or text file of word vectors.",
            metavar="MODEL",
            callback=expand_home,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out", help="Vector cache to create or extend; with several --layers, the folder of their caches."
        ),
    ],
    config: ExtractConfig,
    launch: LaunchConfig,
    as_json: JsonOption = False,
) -> None:
    r"""Compute a vector of every item text with a language model, and cache it.

    An interrupted extraction resumes when the same command is run again. For models larger than memory, `tcf plan`
    predicts the schedule and the time.

    With --workers or --launcher slurm, the shards are shared out over processes of this machine or over jobs, whose
    logs are in OUT.jobs.

    Examples:
        tcf extract --data data/ml-100k --model minilm --out caches/minilm
        tcf extract --data data/ml-100k --model opt-125m --out caches/opt \
            --layers 6,-1
        tcf extract --data data/ml-100k --model opt-66b --out caches/opt-66b \
            --max-memory gpu=60GiB,cpu=200GiB
        tcf extract --data data/hm --model opt-66b --out caches/opt-66b \
            --launcher slurm --workers 8 --gpus-per-worker 4 --time 12:00:00
    """
    if is_launched(launch):
        from tcf.launch.launchers.extract_in_parts import extract_in_parts

        shared = extract_in_parts(data=data, model=model, out=out, config=config, launch=launch, again=this_command())
        print_result(shared.as_json(), as_json=as_json, text=shared.summary())
        return
    from tcf.api.extraction import extract_vectors

    done = extract_vectors(data, model, out, config)
    print_result(done.as_json(), as_json=as_json, text=done.summary())


def convert_command(
    source: Annotated[
        Path,
        typer.Argument(
            help="A .gguf file, a .pt file, or a folder of raw OPT weights (see above); with --verify alone, a "
            "converted folder."
        ),
    ],
    out: Annotated[Path | None, typer.Option("--out", help="Model folder to create, in Hugging Face layout.")] = None,
    tokenizer: Annotated[
        Path | None, typer.Option("--tokenizer", help="Folder of OPT's tokenizer, if it is not beside the raw weights.")
    ] = None,
    verify: Annotated[
        bool,
        typer.Option("--verify", help="Check every byte and number of the result, and compute one text's vector."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Convert raw weights into a folder that `tcf extract --model` can read.

    Raw OPT weights may be metaseq's *-model_part-N.pt, one NumPy file for each tensor, or pytorch_model*.bin.

    Examples:
        tcf convert raw/opt-175b --tokenizer raw/opt-tokenizer --out models/opt-175b
        tcf convert models/llama.gguf --out models/llama --verify
    """
    if out is None and (not verify or tokenizer is not None):
        raise ConfigError("--out: expected the model folder to make, found nothing; or pass --verify alone")
    result, lines = ({"folder": source}, []) if out is None else _convert(source, out, tokenizer)
    if verify:
        verified, found = _verify(source if out is None else out)
        result, lines = {**result, **verified}, lines + found
    print_result(result, as_json=as_json, text="\n".join(lines))


def _convert(source: Path, out: Path, tokenizer: Path | None) -> tuple[dict[str, Any], list[str]]:
    """Convert a model; returns the result, as JSON values and as lines of text."""
    from tcf.encoders.convert.convert import convert

    done = convert(source, out, tokenizer=tokenizer)
    line = f"{done.folder}: {done.parameters:,} parameters, {done.dtype}{'' if done.made else ', already converted'}"
    result = {"folder": done.folder, "parameters": done.parameters, "dtype": done.dtype, "made": done.made}
    return result, [line]


def _verify(folder: Path) -> tuple[dict[str, Any], list[str]]:
    """Check a converted model and run it on a text; returns the result, as JSON values and as lines of text."""
    from tcf.encoders.convert.verify import verify_converted
    from tcf.launch.sample_vector import SAMPLE, sample_vector

    found, vector = verify_converted(folder), sample_vector(folder)
    shown = " ".join(f"{number:.4f}" for number in vector[:6])
    lines = [
        f"{counted(found.files, 'file')} unchanged, {counted(found.tensors, 'tensor')}, "
        f"{found.numbers:,} numbers, all finite",
        f'the vector of "{SAMPLE}": {len(vector):,} numbers, {shown} ...',
    ]
    verified = {"files": found.files, "tensors": found.tensors, "numbers": found.numbers}
    return {"verified": verified, "sample": {"text": SAMPLE, "vector": vector.tolist()}}, lines
