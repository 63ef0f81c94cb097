"""Recognising the published format of raw weights, and the files to read."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tcf.common.errors import ModelError, os_error_words
from tcf.encoders.folder.lfs_pointer import refuse_pointers

__all__ = ["CheckpointLayout", "Kind", "recognise"]

Kind = Literal["gguf", "metaseq", "numpy", "bin"]

# Names of the published shards of OPT-175B: checkpoint_last-model_part-[0-7]-shard[0-123].pt (facebookresearch/metaseq
# at 1a3c642, metaseq/scripts/download_opt175b.sh, line 8), and after resharding: reshard-model_part-0.pt (at 13351b2,
# metaseq/scripts/reshard_mp.py, _save_shards_to_disk).
_PART = re.compile(r"(?P<prefix>.+)-model_part-(?P<part>\d+)(?:-shard(?P<shard>\d+))?\.pt")
_SHARD = re.compile(r"(?P<prefix>.+)-shard(?P<shard>\d+)\.pt")
_NUMPY = "decoder.embed_tokens.weight"
_EXPECTED = (
    "a GGUF file, metaseq's *-model_part-N.pt or one .pt, pytorch_model*.bin, or one NumPy file per tensor "
    f"({_NUMPY}, ...)"
)


@dataclass(frozen=True)
class CheckpointLayout:
    """Format and files of raw weights.

    Attributes:
        kind: the format.
        ranks: the files of each model-parallel rank, in order; other formats have one rank.
    """

    kind: Kind
    ranks: tuple[tuple[Path, ...], ...]

    @property
    def files(self) -> list[Path]:
        """All files that are read."""
        return [file for rank in self.ranks for file in rank]


def recognise(source: Path) -> CheckpointLayout:
    """Recognise the format of a source.

    Raises:
        ModelError: the source does not exist, has no known format, or is incomplete.
    """
    if not source.exists():
        raise ModelError(f"{source}: expected {_EXPECTED} or a folder with these, found nothing; check the path")
    if not source.is_dir():
        return _one_file(source)
    names = sorted(file for file in source.iterdir() if file.is_file())
    for pattern in (_PART, _SHARD):
        if any(pattern.fullmatch(file.name) for file in names):
            return CheckpointLayout("metaseq", _parts(source, names, pattern))
    if (source / _NUMPY).is_file() or (source / f"model.{_NUMPY}").is_file():
        return CheckpointLayout(
            "numpy", (tuple(file for file in names if re.match(r"(model\.)?(decoder|lm_head)\.", file.name)),)
        )
    bins = tuple(file for file in names if re.fullmatch(r"pytorch_model.*\.bin", file.name))
    if bins:
        _check_numbered(source, bins)
        return CheckpointLayout("bin", (bins,))
    return _one_file(_only(source, names))


def _only(folder: Path, names: list[Path]) -> Path:
    """Return the only .pt or .gguf file of a folder."""
    files = [file for file in names if file.suffix in (".pt", ".gguf")]
    if len(files) != 1:
        found = ", ".join(file.name for file in files[:3]) or "none of these"
        raise ModelError(f"{folder}: expected {_EXPECTED}, found {found}; pass the file itself or another folder")
    return files[0]


def _one_file(file: Path) -> CheckpointLayout:
    refuse_pointers([file])
    try:
        with file.open("rb") as stream:
            start = stream.read(4)
    except OSError as error:
        raise ModelError(
            f"{file}: cannot be read ({os_error_words(error)}); check the path and its permissions"
        ) from None
    match start:
        case b"GGUF":
            return CheckpointLayout("gguf", ((file,),))
        case b"PK\x03\x04" if not _PART.fullmatch(file.name):
            return CheckpointLayout("bin" if file.suffix == ".bin" else "metaseq", ((file,),))
        case b"PK\x03\x04":
            raise ModelError(
                f"{file}: expected all parts of a checkpoint, found one; pass the folder that has them all"
            )
        case _:
            found = f"one that begins with the bytes {start.hex(' ')}" if start else "an empty one"
            raise ModelError(
                f"{file}: expected a GGUF file or one of torch.save (torch 1.6 or newer), found {found}; download it "
                "again"
            )


def _check_numbered(folder: Path, bins: Iterable[Path]) -> None:
    """Refuse Hugging Face files if one is missing; their names say how many there are."""
    found = [(int(one[1]), int(one[2])) for file in bins if (one := re.search(r"-(\d+)-of-(\d+)\.bin$", file.name))]
    for n in {n for _, n in found}:
        for number in sorted(set(range(1, n + 1)) - {number for number, _ in found}):
            raise ModelError(f"{folder}: expected {n} weight files, found no number {number}; download it")


def _parts(folder: Path, names: Iterable[Path], pattern: re.Pattern[str]) -> tuple[tuple[Path, ...], ...]:
    """Return the files of each model-parallel rank and of each shard, in the order of their numbers."""
    found: dict[tuple[int, int], Path] = {}
    prefixes: dict[str, Path] = {}
    for file in names:
        if matched := pattern.fullmatch(file.name):
            groups = matched.groupdict()
            found[int(groups.get("part") or 0), int(groups["shard"] or 0)] = file
            prefixes[groups["prefix"]] = file
    if len(prefixes) > 1:
        listed = " and ".join(file.name for file in list(prefixes.values())[:2])
        raise ModelError(
            f"{folder}: expected one checkpoint, found several ({listed}); put each into a folder of its own"
        )
    n_parts = 1 + max(part for part, _ in found)
    n_shards = 1 + max(shard for _, shard in found)
    for place in ((part, shard) for part in range(n_parts) for shard in range(n_shards)):
        if place not in found:
            raise ModelError(
                f"{folder}: expected parts 0 to {n_parts - 1} with {n_shards} files each, found no file of part "
                f"{place[0]}{f', shard {place[1]}' if n_shards > 1 else ''}; download it"
            )
    return tuple(tuple(found[part, shard] for shard in range(n_shards)) for part in range(n_parts))
