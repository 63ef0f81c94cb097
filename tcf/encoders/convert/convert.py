"""`tcf convert`: converting a checkpoint of another format to a model folder in Hugging Face layout."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from tcf.common.errors import ConfigError, ModelError
from tcf.common.files import check_destination, check_early, is_published, publishing, refuse_occupied, remove_leftovers
from tcf.common.integrity.verified_files import verify_files
from tcf.common.manifest import differences, read_manifest, seal, sha256_file
from tcf.config.libraries import require_library
from tcf.encoders.convert.gguf_model import write_gguf_model
from tcf.encoders.convert.opt_tokenizer import tokenizer_files
from tcf.encoders.convert.raw_model import RawModel, check_room, open_raw, raw_digests, work_folder, write_raw_model
from tcf.encoders.convert.recognise import CheckpointLayout, recognise
from tcf.encoders.folder.converted import CONVERTED

__all__ = ["CONVERTED", "Converted", "convert"]


@dataclass(frozen=True)
class Converted:
    """A converted model folder.

    Attributes:
        folder: path of the folder.
        dtype: stored type of its weights: float32, float16 or bfloat16.
        parameters: number of parameters.
        made: whether this call made it; otherwise it existed already.
    """

    folder: Path
    dtype: str
    parameters: int
    made: bool


def convert(source: Path, out: Path, *, tokenizer: Path | None = None) -> Converted:
    """Convert a checkpoint to a model folder, unless this has been done already.

    Args:
        source: a GGUF file or a folder with exactly one, or raw weights of OPT: metaseq's model-parallel files
            (resharded or as published), one NumPy file per tensor, or Hugging Face `.bin` files.
        out: the folder to make.
        tokenizer: a folder with the tokenizer of raw weights; None if it is beside them.

    Raises:
        ConfigError: a tokenizer is given with a GGUF file, which has its own.
        ModelError: the source has another format, is damaged, or has a model that cannot be converted completely; or
            `out` was made from another source.
        RunError: `out` is occupied or cannot be written, or another process is converting to it.
    """
    check_early(out)
    layout = recognise(source)
    if layout.kind == "gguf":
        if tokenizer is not None:
            raise ConfigError(
                f"--tokenizer: expected raw weights of OPT, found the GGUF file {source}, which has its own tokenizer; "
                "leave --tokenizer out"
            )
        return _convert_gguf(layout.files[0], out)
    return _convert_raw(source, layout, out, tokenizer)


def _convert_gguf(file: Path, out: Path) -> Converted:
    if not is_published(out):
        require_library("gguf", f"{file}")
    inputs = {"source": sha256_file(file)}
    if is_published(out):
        return _converted(out, inputs, made=False)
    refuse_occupied(out)
    check_destination(out)
    remove_leftovers(out.parent, out.name)
    # Two processes may convert at once, at a model's first use: the later one uses the result of the other.
    with publishing(out, duplicate_is_harmless=True) as staging:
        facts = write_gguf_model(file, staging)
        seal(staging, CONVERTED, inputs=inputs, config={"kind": "gguf"}, facts=facts)
    return _converted(out, inputs, made=True)


def _convert_raw(source: Path, layout: CheckpointLayout, out: Path, tokenizer: Path | None) -> Converted:
    """Convert raw weights in a folder beside `out`, where an interrupted conversion is resumed."""
    there = is_published(out)
    if not there:
        refuse_occupied(out)
        check_destination(out)
        remove_leftovers(out.parent, out.name)
        model = open_raw(source, layout, tokenizer)  # checks the model before the checksums, which take long
        check_room(model, out)
    inputs = raw_digests(layout, tokenizer_files(source, tokenizer))
    if there:
        return _converted(out, inputs, made=False)
    with work_folder(out, inputs) as work:
        made = not is_published(out)  # another process may have converted it before this one took the lease
        if made:
            _publish_raw(model, layout, work, out, inputs)
        else:
            shutil.rmtree(work)
    return _converted(out, inputs, made=made)


def _publish_raw(model: RawModel, layout: CheckpointLayout, work: Path, out: Path, inputs: dict[str, str]) -> None:
    """Write a model into its work folder, which becomes `out`."""
    marks = write_raw_model(model, work)
    config = {"kind": layout.kind}
    seal(work, CONVERTED, inputs=inputs, config=config, facts=model.metadata, ignored=marks)
    for mark in marks:  # only now, since sealing takes long and may be interrupted
        (work / mark).unlink()
    with publishing(out) as staging:
        staging.rmdir()
        work.rename(staging)


def _converted(out: Path, inputs: dict[str, str], *, made: bool) -> Converted:
    """Return the model at `out`, after checking that it was made from the requested source."""
    manifest = read_manifest(out, CONVERTED)
    other = differences(manifest.inputs, inputs)
    if other:
        raise ModelError(f"{out}: holds another converted model ({other}); choose another folder, or remove this one")
    if not made:
        verify_files(out, manifest, CONVERTED, verify="once")
    return Converted(out, manifest.facts["dtype"], manifest.facts["parameters"], made)
