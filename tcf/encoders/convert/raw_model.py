"""Converting raw weights of OPT to a model folder (weights, settings, tokenizer), in a work folder beside it.

An interrupted conversion leaves its files in `.NAME.DIGEST.convert` beside the destination, and the same command
resumes from them. The digest is of source, tokenizer and layout, so no other conversion is ever resumed.
"""

import glob
import json
import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from tcf.common.errors import ModelError, RunError
from tcf.common.files import home, publish_file, writing
from tcf.common.lease_file import acquire, heartbeats, is_own
from tcf.common.manifest import digest
from tcf.encoders.convert.file_ranges import ConcatenatedTensor
from tcf.encoders.convert.opt_geometry import check_tensors, opt_settings
from tcf.encoders.convert.opt_tensors import MergedWeights, merge_ranks
from tcf.encoders.convert.opt_tokenizer import copy_tokenizer, tokenizer_digest, tokenizer_files
from tcf.encoders.convert.raw_parts import read_raw_tensors
from tcf.encoders.convert.recognise import CheckpointLayout
from tcf.encoders.convert.write_shards import SHARD, WeightShard, check_space, in_shards, write_shards
from tcf.encoders.folder.checksums import remembered_checksums
from tcf.encoders.folder.lfs_pointer import refuse_pointers
from tcf.encoders.folder.load_tokenizer import load_tokenizer
from tcf.encoders.folder.open_model_folder import open_model_folder

__all__ = ["RawModel", "check_room", "open_raw", "raw_digests", "work_folder", "write_raw_model"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RawModel:
    """Raw weights that have been checked but not copied yet.

    Attributes:
        source: file or folder of the weights.
        layout: their format and files.
        merged: tensors of the model, by names without the leading `model.`.
        settings: entries of its `config.json`.
        tokenizer: files of its tokenizer, by their names in a model folder.
    """

    source: Path
    layout: CheckpointLayout
    merged: MergedWeights
    settings: Mapping[str, Any]
    tokenizer: Mapping[str, Path]

    @property
    def weights(self) -> dict[str, ConcatenatedTensor]:
        """The tensors by the names that they have in published OPT models, which include a head."""
        return {f"model.{name}": pieces for name, pieces in self.merged.weights.items()}

    @property
    def metadata(self) -> dict[str, Any]:
        """Metadata for the manifest."""
        return {
            "dtype": self.settings["torch_dtype"],
            "parameters": sum(_count(pieces) for pieces in self.merged.weights.values()),
            "parts": len(self.layout.ranks),
            "left_out": dict(sorted(self.merged.left_out.items())),
            "parts_disagree": vars(self.merged.rank_difference),
        }


def raw_digests(layout: CheckpointLayout, tokenizer: Mapping[str, Path]) -> dict[str, str]:
    """Return the fingerprints of a model folder's inputs; checksums of large files are remembered below `TCF_HOME`."""
    sums = remembered_checksums(layout.files, home() / "digests")
    named = [[file.name, checksum] for file, checksum in zip(layout.files, sums, strict=True)]
    return {"source": digest(named), "tokenizer": tokenizer_digest(tokenizer)}


def open_raw(source: Path, layout: CheckpointLayout, tokenizer: Path | None) -> RawModel:
    """Read the headers of raw weights, and check that they are a complete OPT model with a tokenizer.

    Args:
        source: file or folder of the weights.
        layout: their format.
        tokenizer: a folder with the tokenizer; None if it is beside the weights.

    Raises:
        ModelError: something is missing, unexpected, damaged or of the wrong shape.
    """
    files = tokenizer_files(source, tokenizer)
    refuse_pointers((*layout.files, *files.values()))
    merged = merge_ranks(read_raw_tensors(layout))
    settings = opt_settings(source, merged.weights)
    merged = replace(merged, weights=check_tensors(source, settings, merged.weights))
    difference = merged.rank_difference
    if difference.tensors:
        logger.warning(
            f"{source}: {difference.tensors} tensors that all model-parallel ranks should share differ, most "
            f"{difference.name}, by {difference.difference:g}; those of rank 0 are used"
        )
    return RawModel(source, layout, merged, _completed(settings, merged.weights), files)


def _check_tokenizer(model: RawModel, folder: Path) -> None:
    """Check that a copied tokenizer starts texts with token 2; messages name the folder that it was copied from."""
    try:
        load_tokenizer(open_model_folder(folder))
    except ModelError as error:
        source = next(iter(model.tokenizer.values())).parent
        raise ModelError(str(error).replace(str(folder), str(source))) from None


def check_room(model: RawModel, out: Path) -> None:
    """Check that the disk has room for a model folder; files of an interrupted attempt are reused or removed.

    Raises:
        RunError: there is too little space.
    """
    begun = out.parent.glob(f".{glob.escape(out.name)}.*.convert/*.safetensors")
    there = sum(file.stat().st_size for file in begun)
    check_space(sum(pieces.nbytes for pieces in model.merged.weights.values()) - there, out.parent)


def write_raw_model(model: RawModel, into: Path) -> None:
    """Write config.json, tokenizer and weights into a folder that may contain files of an interrupted attempt.

    Raises:
        ModelError: the tokenizer does not belong to OPT, or a source cannot be read.
        RunError: there is too little space.
        OSError: the folder cannot be written.
    """
    shards = in_shards(model.weights, SHARD)
    _remove_others(into, shards)
    publish_file(into / "config.json", (json.dumps(dict(model.settings), indent=2) + "\n").encode())
    copy_tokenizer(model.tokenizer, into)
    _check_tokenizer(model, into)  # before hours of copying
    write_shards(shards, into)


@contextmanager
def work_folder(out: Path, inputs: Mapping[str, str]) -> Iterator[Path]:
    """Yield a work folder beside `out`; it stays if the block fails, for the next attempt.

    Args:
        out: destination of the model folder.
        inputs: fingerprints of its inputs.

    Raises:
        RunError: another process is converting to `out`, or the folder cannot be written.
    """
    place = out.with_name(f".{out.name}.{digest([dict(inputs), SHARD])[:16]}.convert")
    mark = out.with_name(f".{out.name}.convert.claim")
    with writing(out):
        if not acquire(mark):
            raise RunError(f"{out}: another process is converting to it; wait for it, or choose another folder")
        try:
            with heartbeats(mark):
                for other in out.parent.glob(f".{glob.escape(out.name)}.*.convert"):
                    if other != place:
                        shutil.rmtree(other)
                place.mkdir(exist_ok=True)
                yield place
        finally:
            if is_own(mark):
                mark.unlink(missing_ok=True)


def _completed(settings: Mapping[str, Any], weights: Mapping[str, ConcatenatedTensor]) -> dict[str, Any]:
    """Return the settings for `config.json`: with the type of the weights and a tied head."""
    types = {pieces.dtype for pieces in weights.values()}
    widest = types.pop() if len(types) == 1 else torch.float32
    own = {key: value for key, value in settings.items() if key != "dtype"}
    return {
        **own,
        "architectures": ["OPTForCausalLM"],
        "tie_word_embeddings": True,
        "torch_dtype": str(widest).removeprefix("torch."),
    }


def _remove_others(folder: Path, shards: list[WeightShard]) -> None:
    """Remove everything but finished weight files, that is, what an interrupted attempt left unfinished."""
    names = {shard.name for shard in shards}
    for file in folder.iterdir():
        if file.name not in names:
            file.unlink()


def _count(pieces: ConcatenatedTensor) -> int:
    return pieces.nbytes // pieces.dtype.itemsize
