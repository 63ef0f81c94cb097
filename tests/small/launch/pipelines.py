"""Pipeline files, with small raw files and models beside them."""

from pathlib import Path
from typing import Literal

from small.encoders.models import made_up_texts, save_bert, save_opt
from small.train.runs import walks

__all__ = [
    "FILE",
    "TITLES",
    "change",
    "workplace",
    "write_recbole",
    "write_tcf",
]


TITLES = [made_up_texts(15)[item // 2] for item in range(30)]  # every title twice


FILE = """
out = "out"
[data]
raw = "raw"
format = "FORMAT"
[extract]
model = "model"
devices = "cpu"
tokens_per_batch = 512
[train.text]
items = "text"
width = 8
epochs = 2
devices = "cpu"
[train.id]
items = "id"
width = 8
epochs = 2
devices = "cpu"
[evaluate]
baselines = ["popularity", "random", "co-occurrence"]
recommend = 4
device = "cpu"
"""


def write_tcf(folder: Path) -> None:
    folder.mkdir()
    lines = [f"u{user}\t{' '.join(f'i{item}' for item in history)}" for user, history in enumerate(walks())]
    (folder / "behaviors.tsv").write_text("\n".join(lines) + "\n")
    (folder / "items.tsv").write_text("".join(f"i{item}\t{title}\n" for item, title in enumerate(TITLES)))


def write_recbole(folder: Path) -> None:
    """The same users and items, events out of order."""
    folder.mkdir()
    events = [(t, u, i) for u, history in enumerate(walks()) for t, i in enumerate(history)]
    lines = [f"u{user}\ti{item}\t{time}" for time, user, item in sorted(events)]
    header = "user_id:token\titem_id:token\ttimestamp:float"
    (folder / "x.inter").write_text("\n".join([header, *lines]) + "\n")
    items = [f"i{item}\t{title}" for item, title in enumerate(TITLES)]
    (folder / "x.item").write_text("\n".join(["item_id:token\tmovie_title:token_seq", *items]) + "\n")


def workplace(folder: Path, format: Literal["tcf", "recbole"] = "tcf", model: Literal["opt", "bert"] = "opt") -> Path:
    """A raw folder, a model and a pipeline file; returns the file."""
    (write_tcf if format == "tcf" else write_recbole)(folder / "raw")
    (save_opt if model == "opt" else save_bert)(folder / "model")
    (folder / "p.toml").write_text(FILE.replace("FORMAT", format))
    return folder / "p.toml"


def change(file: Path, old: str, new: str) -> Path:
    """Replace a part of a file; returns the file."""
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))
    return file
