"""A small world: one of everything that tcf writes, made by its commands, unfinished work included."""

import contextlib
import json
import subprocess
import sys
from pathlib import Path

from small.encoders.models import made_up_texts, save_opt
from small.encoders.raw_opt import metaseq_parts, save_metaseq, save_settings, small_opt
from small.faults.in_this_process import InThisProcess
from small.faults.typed import killed_at_rename, typed
from small.train.runs import walks
from tcf.common.files import this_machine
from tcf.launch.search.search import run_search
from tcf.launch.search.search_file import read_search

__all__ = ["COMBINE", "CONVERT", "EXTRACT", "RECOMMEND", "SWEEP", "TRAIN", "build", "write_raw"]

EXTRACT = "extract --model model --devices cpu --tokens-per-batch 256 --shard-rows 8"
SWEEP = "extract --data data --model model --devices cpu --tokens-per-batch 64 --schedule sweep --checkpoint-layers 1"
TRAIN = "train --width 8 --batch-size 16 --epochs 2 --devices cpu --save-minutes 0"
CONVERT = "convert parts"
COMBINE = "combine runs/text runs/id --baseline co-occurrence --device cpu"
RECOMMEND = "recommend runs/text --device cpu --k 3"
SEARCH = """
out = "search"
data = "data"
[search]
trials = 2
sampler = "grid"
pruning = "none"
[train]
items = "id"
epochs = 1
devices = "cpu"
[space]
width = [8, 16]
"""
COMMANDS = (
    "data prepare tcf raw --out data",
    "data prepare tcf more-raw --out more",
    f"{EXTRACT} --data data --out cache",
    f"{EXTRACT} --data data --out states --token-states 1",
    f"{EXTRACT} --data more --out other",
    f"{EXTRACT} --data more --out other-states --token-states 1",
    f"{TRAIN} --cache cache --items text --whiten 4 --out runs/text",
    f"{TRAIN} --data data --items id --out runs/id",
    f"{COMBINE} --out combined",
    "evaluate runs/text --out evaluations/text --device cpu --lists --vectors cache",
    "evaluate --baseline popularity --data data --out evaluations/popularity",
    f"{RECOMMEND} --out recommendations.parquet",
    f"{RECOMMEND} --out recommendations.csv",
    "cache export cache --data data --out vectors.npy",
    "cache export cache --data data --out vectors.parquet",
    "cache export cache --data data --out vectors.csv",
    f"{CONVERT} --out converted",
)


def build(folder: Path) -> None:
    """Fill a folder, which is the working directory; `TCF_HOME` is `home` in it."""
    _write_inputs(folder)
    for line in COMMANDS:
        done = typed(line)
        assert done.status == 0, f"{line}: {done}"
    with contextlib.chdir(folder):
        run_search(read_search(Path("search.toml")), starter=InThisProcess())
    _leave_unfinished(folder)
    (folder / "search" / "logs" / "worker-1.log").write_text("a training\n")


def write_raw(folder: Path, texts: int) -> None:
    """Raw files with sixty users, and so many titles for thirty items that some have the same."""
    folder.mkdir()
    titles = made_up_texts(texts)
    users = [f"u{user}\t{' '.join(f'i{item}' for item in history)}" for user, history in enumerate(walks())]
    (folder / "behaviors.tsv").write_text("\n".join(users) + "\n")
    (folder / "items.tsv").write_text("".join(f"i{item}\t{titles[item % texts]}\n" for item in range(30)))


def _write_inputs(folder: Path) -> None:
    write_raw(folder / "raw", 20)
    write_raw(folder / "more-raw", 26)
    save_opt(folder / "model", blocks=3)
    model = small_opt()
    save_metaseq(folder / "parts", metaseq_parts(model, 2))
    save_settings(model, folder / "parts")
    (folder / "search.toml").write_text(SEARCH)
    (folder / "users.txt").write_text("u0\nu5\n")


def _leave_unfinished(folder: Path) -> None:
    """Work that was cut off, with the claims of processes that are dead."""
    for line, place, number in (
        (f"{TRAIN} --cache cache --items text --out unfinished", "unfinished/state.safetensors", 6),
        (f"{SWEEP} --layers 0,-1 --token-states 1 --out swept", "block-2", 1),
        (f"{CONVERT} --out half", ".half.*.convert/manifest.json", 1),
    ):
        with killed_at_rename(place, number):
            typed(line)
    claim = json.dumps({"machine": this_machine(), "pid": _dead_process()})
    [shard, *_] = (folder / "cache" / "shards").iterdir()
    names = (
        "unfinished/.training.claim",
        f"cache/shards/.{shard.name}.claim",
        "search/.search.claim",
        f".fresh.{shard.name}.claim",
        ".half.convert.claim",
    )
    for name in names:
        (folder / name).write_text(claim)


def _dead_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid
