"""The kinds of files that docs/formats.md describes."""

import re
from collections.abc import Iterator
from pathlib import Path

__all__ = ["documented_files", "documented_formats"]

ROOT = Path(__file__).parents[3]
_FROM = "## `dataset/`"
# Of others: model folders, and raw files before the first section.
_OTHERS = ("## Model folders", "## Folders of sentence encoders")
_ENDS = "sha256|safetensors|parquet|jsonl|claim|sweep|convert|json|toml|npy|csv|bin|log"
_FILE = re.compile(rf"`((?:[\w.-]+/)*(?:[\w.-]*\.(?:{_ENDS})|(?:trials|digests|downloads|events))/?)`")
_FORMAT = re.compile(r"\btcf-[a-z-]+(?=`?, version)")


def _sections() -> Iterator[str]:
    text = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
    for section in re.split(r"\n(?=## )", text[text.index(_FROM) :]):
        if not section.startswith(_OTHERS):
            yield section


def documented_files() -> set[str]:
    """Patterns of the files, from the right; capitals stand for anything, as in `shards/NAME/keys.npy`."""
    named = {file for section in _sections() for file in _FILE.findall(section)}
    return {re.sub(r"[A-Z]+", "*", _whole(file)) for file in named}


def _whole(file: str) -> str:
    """A file as it lies in the world; a suffix alone stands for files of any name, a folder for those in it."""
    file = file.replace("TCF_HOME", "home").rstrip("/")
    if file.endswith((".sweep", ".convert")) or "." not in file:
        return f"{file}/*"
    return f"*{file}" if re.fullmatch(r"\.\w+", file) else file


def documented_formats() -> set[str]:
    """The names in manifests."""
    return {format for section in _sections() for format in _FORMAT.findall(section)}
