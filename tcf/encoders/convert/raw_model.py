"""Raw weights of OPT become a model folder: weights, settings, tokenizer, in a folder beside it until all is there.

What an interrupted conversion has written is kept in `.NAME.DIGEST.convert` beside the place of the folder, and the
same command goes on from it. The digest is of source, tokenizer and layout, so nothing else is ever gone on with.
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

from tcf.common.errors import RunError
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
from tcf.encoders.folder.load_tokenizer import load_tokenizer
from tcf.encoders.folder.open_model_folder import open_model_folder

__all__ = ["RawModel", "check_room", "open_raw", "raw_digests", "working", "write_raw_model"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RawModel:
    """Raw weights that have been found whole, of which nothing has been copied yet.

    Attributes:
        source: where they come from.
        layout: their form and files.
        merged: the tensors of the model, by names without the leading `model.`.
        settings: the entries of its `config.json`.
        tokenizer: the files of its tokenizer, by their names in a model folder.
    """

    source: Path
    layout: CheckpointLayout
    merged: MergedWeights
    settings: Mapping[str, Any]
    tokenizer: Mapping[str, Path]

    @property
    def weights(self) -> dict[str, ConcatenatedTensor]:
        """The tensors by the names of a model with a head, as published OPT models have them."""
        return {f"model.{name}": pieces for name, pieces in self.merged.weights.items()}

    @property
    def metadata(self) -> dict[str, Any]:
        """What the manifest tells of them."""
        return {
            "dtype": self.settings["torch_dtype"],
            "parameters": sum(_count(pieces) for pieces in self.merged.weights.values()),
            "parts": len(self.layout.ranks),
            "left_out": dict(sorted(self.merged.left_out.items())),
            "parts_disagree": vars(self.merged.rank_difference),
        }


def raw_digests(layout: CheckpointLayout, tokenizer: Mapping[str, Path]) -> dict[str, str]:
    """Fingerprints of what a model folder is made from; checksums of large files are remembered below `TCF_HOME`."""
    sums = remembered_checksums(layout.files, home() / "digests")
    named = [[file.name, checksum] for file, checksum in zip(layout.files, sums, strict=True)]
    return {"source": digest(named), "tokenizer": tokenizer_digest(tokenizer)}


def open_raw(source: Path, layout: CheckpointLayout, tokenizer: Path | None) -> RawModel:
    """Read the headers of raw weights, and check that they are a whole OPT model with a tokenizer.

    Args:
        source: the file or folder.
        layout: its form.
        tokenizer: a folder with the tokenizer; None: it lies beside the weights.

    Raises:
        ModelError: something is missing, left over, damaged or of an odd shape.
    """
    files = tokenizer_files(source, tokenizer)
    merged = merge_ranks(read_raw_tensors(layout))
    settings = opt_settings(source, merged.weights)
    merged = replace(merged, weights=check_tensors(source, settings, merged.weights))
    difference = merged.rank_difference
    if difference.tensors:
        logger.warning(
            f"{source}: {difference.tensors} tensors that all parts should share differ, most {difference.name}, "
            f"by {difference.difference:g}; the first part's are taken"
        )
    return RawModel(source, layout, merged, _completed(settings, merged.weights), files)


def check_room(model: RawModel, out: Path) -> None:
    """Check that there is room for a model folder; what an interrupted attempt has written is room: kept or removed.

    Raises:
        RunError: there is not.
    """
    begun = out.parent.glob(f".{glob.escape(out.name)}.*.convert/*.safetensors")
    there = sum(file.stat().st_size for file in begun)
    check_space(sum(pieces.nbytes for pieces in model.merged.weights.values()) - there, out.parent)


def write_raw_model(model: RawModel, into: Path) -> None:
    """Write config.json, tokenizer and weights into a folder that may have some of them from an earlier attempt.

    Raises:
        ModelError: the tokenizer does not belong to OPT, or a source cannot be read.
        RunError: there is too little space.
        OSError: the folder cannot be written.
    """
    shards = in_shards(model.weights, SHARD)
    _remove_others(into, shards)
    publish_file(into / "config.json", (json.dumps(dict(model.settings), indent=2) + "\n").encode())
    copy_tokenizer(model.tokenizer, into)
    load_tokenizer(open_model_folder(into))  # before hours of copying: OPT's begins with its token 2
    write_shards(shards, into)


@contextmanager
def working(out: Path, asked: Mapping[str, str]) -> Iterator[Path]:
    """A folder beside `out` to make a model folder in; it stays when the block fails, for the next attempt.

    Args:
        out: where the model folder will appear.
        asked: fingerprints of what it is made from.

    Raises:
        RunError: another process is making the same, or the folder cannot be written.
    """
    place = out.with_name(f".{out.name}.{digest([dict(asked), SHARD])[:16]}.convert")
    mark = out.with_name(f".{out.name}.convert.claim")
    with writing(out):
        if not acquire(mark):
            raise RunError(f"{out}: another process is converting to it; wait for it, or name another folder")
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
    """Settings as they stand in `config.json`: with the type of the weights, and a head that is the embedding."""
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
    """Remove all but finished files of weights: what an earlier attempt has left half made."""
    names = {shard.name for shard in shards}
    for file in folder.iterdir():
        if file.name not in names:
            file.unlink()


def _count(pieces: ConcatenatedTensor) -> int:
    return pieces.nbytes // pieces.dtype.itemsize
