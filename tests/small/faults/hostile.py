"""Inputs that mean harm: endless, deep, giant or foreign ones, and places that are not the user's to write to."""

import gzip
import json
import os
import shutil
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from small.faults.world import CONVERT, EXTRACT, RECOMMEND, TRAIN

__all__ = ["CONTROLS", "HOSTILE", "Hostile", "with_controls"]

# ESC, BEL, a C1 character, and two that turn the direction of writing.
CONTROLS = "\x1b]0;x\x07\x9b31m\u202e\u2066"
DEEP = 100_000
DIGITS = "9" * 5000
NEW = f"{EXTRACT} --data data --out new"


@dataclass(frozen=True)
class Hostile:
    """A command and what it is given.

    Attributes:
        name: of the input.
        line: what is typed after `tcf`.
        prepare: makes the input in the working directory.
        named: a part of the message.
        harmless: nothing is wrong with it after all.
    """

    name: str
    line: str
    prepare: Callable[[Path], None]
    named: str
    harmless: bool = False


def _text(file: str, content: str | bytes) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(content.encode() if isinstance(content, str) else content)

    return write


def _nothing(folder: Path) -> None:
    """The line says it all."""


def _link(name: str, to: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        (folder / name).symlink_to(to)

    return make


def _in_model(file: str, change: Callable[[Path], None]) -> Callable[[Path], None]:
    """A copy of the model with a changed file."""

    def prepare(folder: Path) -> None:
        shutil.copytree(folder / "model", folder / "bad")
        change(folder / "bad" / file)

    return prepare


def _entries(**entries: object) -> Callable[[Path], None]:
    def change(file: Path) -> None:
        file.write_text(json.dumps({**json.loads(file.read_text()), **entries}))

    return change


def _content(content: bytes) -> Callable[[Path], None]:
    def change(file: Path) -> None:
        file.write_bytes(content)

    return change


def _giant_header(file: Path) -> None:
    """A header of 2 GiB, of a file that is as long but holds nothing."""
    with file.open("wb") as stream:
        stream.write(struct.pack("<Q", 2**31))
        stream.truncate(2**31 + 4096)


def _giant_array(folder: Path) -> None:
    """A GGUF with one entry, an array of 2^60 numbers."""
    key = b"tokenizer.ggml.tokens"
    entry = struct.pack("<Q", len(key)) + key + struct.pack("<IIQ", 9, 4, 2**60)
    (folder / "bad.gguf").write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + entry)


def _packed(folder: Path) -> None:
    """A line of half a GiB in half a MiB."""
    shutil.copytree(folder / "raw", folder / "bad")
    with gzip.open(folder / "bad" / "behaviors.tsv", "wb", compresslevel=1) as stream:
        for _ in range(1 << 9):
            stream.write(b"a" * (1 << 20))


def _outside(folder: Path) -> None:
    """A checkpoint as a zip whose entry has a place elsewhere."""
    (folder / "bad").mkdir()
    for file in ("config.json", "gpt2-merges.txt", "gpt2-vocab.json"):
        shutil.copy(folder / "parts" / file, folder / "bad" / file)
    with zipfile.ZipFile(folder / "bad" / "reshard-model_part-0.pt", "w") as archive:
        archive.writestr("../../outside/data.pkl", b"\x80\x02}q\x00.")


def _nested(folder: Path) -> None:
    """A thousand and a half folders, one in another."""
    here = Path.cwd()
    os.chdir(folder)
    for _ in range(1500):
        Path("n").mkdir()
        os.chdir("n")
    os.chdir(here)


def _manifest(content: bytes) -> Callable[[Path], None]:
    def prepare(folder: Path) -> None:
        shutil.copytree(folder / "data", folder / "bad")
        (folder / "bad" / "manifest.json").write_bytes(content)

    return prepare


def _array_file(folder: Path) -> None:
    """An archive of arrays in place of one."""
    shutil.copytree(folder / "data", folder / "bad")
    with zipfile.ZipFile(folder / "bad" / "history_items.npy", "w") as archive:
        archive.writestr("a.npy", b"")


def with_controls(folder: Path) -> None:
    """Raw files whose ids and titles would move a terminal's cursor, ring its bell and turn its writing around."""
    shutil.copytree(folder / "raw", folder / "bad")
    for file in (folder / "bad").iterdir():
        lines = file.read_text().splitlines()
        file.write_text("\n".join(line.replace("i1", f"i{CONTROLS}1").replace("u1", f"u{CONTROLS}1") for line in lines))
    items = folder / "bad" / "items.tsv"
    items.write_text("".join(f"{line}{CONTROLS}\n" for line in items.read_text().splitlines()))


_BAD = f"{EXTRACT.replace('model model', 'model bad')} --data data --out new"
_TOML = "a = " + "[" * DEEP + "]" * DEEP
_JSON = b"[" * DEEP + b"]" * DEEP
_LONG = "x" * 300
HOSTILE = (
    # Structured texts.
    Hostile("deep TOML", "train --config bad.toml --out new", _text("bad.toml", _TOML), "bad.toml"),
    Hostile("deep search", "search bad.toml", _text("bad.toml", _TOML), "bad.toml"),
    Hostile("deep pipeline", "pipeline bad.toml", _text("bad.toml", _TOML), "bad.toml"),
    Hostile("digits in TOML", "train --config bad.toml --out new", _text("bad.toml", f"width = {DIGITS}"), "bad.toml"),
    Hostile("digits of an option", f"{TRAIN} --data data --out new --seed {DIGITS}", _nothing, "--seed"),
    Hostile("deep manifest", "data describe bad", _manifest(_JSON), "bad"),
    Hostile("digits in a manifest", "data describe bad", _manifest(f'{{"version": {DIGITS}}}'.encode()), "bad"),
    Hostile("archive for an array", f"{TRAIN} --data bad --items id --out new", _array_file, "bad"),
    # Models.
    Hostile("blocks", _BAD, _in_model("config.json", _entries(num_hidden_layers=10**9)), "bad"),
    Hostile("width", _BAD, _in_model("config.json", _entries(hidden_size=10**9)), "bad"),
    Hostile("vocabulary", _BAD, _in_model("config.json", _entries(vocab_size=10**12)), "bad"),
    Hostile("deep config", _BAD, _in_model("config.json", _content(_JSON)), "bad"),
    Hostile("digits in config", _BAD, _in_model("config.json", _content(f'{{"a": {DIGITS}}}'.encode())), "bad"),
    Hostile("giant header", _BAD, _in_model("model.safetensors", _giant_header), "bad"),
    Hostile("deep vocabulary", _BAD, _in_model("vocab.json", _content(_JSON)), "bad"),
    Hostile("giant array", "convert bad.gguf --out new", _giant_array, "bad.gguf"),
    Hostile("archive of weights", "convert bad --out new", _outside, "bad"),
    # Raw files.
    Hostile("packed line", "data prepare tcf bad --out new", _packed, "bad"),
    # Places.
    Hostile("long name", f"data prepare tcf raw --out {_LONG}", _nothing, "xxx"),
    Hostile("long name of a run", f"{TRAIN} --data data --items id --out {_LONG}", _nothing, "xxx"),
    Hostile("long name of a cache", f"{EXTRACT} --data data --out {_LONG}", _nothing, "xxx"),
    Hostile("nested folders", "runs n", _nested, "n", harmless=True),
    Hostile("loop", "data describe loop", _link("loop", "loop"), "loop"),
    Hostile(
        "loop to write to",
        "data prepare tcf raw --out loop",
        lambda folder: (folder / "loop").symlink_to("loop"),
        "loop",
    ),
    Hostile("file for a cache", f"{EXTRACT} --data data --out users.txt", _nothing, "users.txt"),
    Hostile("file for a run", f"{TRAIN} --data data --items id --out users.txt", _nothing, "users.txt"),
    Hostile("file for a model", f"{CONVERT} --out users.txt", _nothing, "users.txt"),
    Hostile("dangling link", NEW.replace("new", "bad"), _link("bad", "nowhere"), "bad"),
    Hostile("foreign file", f"{RECOMMEND} --out bad.csv", _text("bad.csv", "a,b\n1,2\n"), "bad.csv"),
    Hostile("foreign vectors", "cache export cache --data data --out bad.npy", _text("bad.npy", "mine"), "bad.npy"),
)
