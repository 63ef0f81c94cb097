"""Small units of every stage that really do it, and a command that runs them in worker processes."""

import sys
from pathlib import Path
from typing import Literal

import numpy as np

from small.faults.trials import timeless
from small.launch.units import everywhere
from small.train.runs import walks
from tcf.common.logs import configure_logging
from tcf.config.evaluate import EvaluateConfig
from tcf.config.extract import ExtractConfig
from tcf.config.prepare import PrepareConfig
from tcf.config.train import TrainConfig
from tcf.launch.launchers.open_launcher import open_launcher
from tcf.launch.launchers.run_units import check_results, run_units
from tcf.launch.units.records import Records
from tcf.launch.units.tasks import EvaluateTask, ExtractTask, PrepareTask, TrainTask
from tcf.launch.units.unit import Unit

__all__ = ["COMMAND", "content", "real_units", "run", "write_inputs"]

_WORDS = "the a legend of super mario game boy world star war final quest dragon city racing".split()

COMMAND = "import sys; from small.launch.real_units import run; run(*sys.argv[1:])"
"""A program that runs the units of a folder: the folder, and the number of workers."""


def write_inputs(folder: Path, model: Literal["words", "opt"] = "words") -> None:
    """Raw files and a model: word vectors, which load quickly, or a transformer."""
    raw = folder / "raw"
    raw.mkdir(parents=True)
    draw = np.random.default_rng(0)
    titles = [" ".join(draw.choice(_WORDS, size=4).tolist()) for _ in range(30)]
    lines = [f"u{user}\t{' '.join(f'i{item}' for item in history)}\n" for user, history in enumerate(walks())]
    (raw / "behaviors.tsv").write_text("".join(lines))
    (raw / "items.tsv").write_text("".join(f"i{item}\t{title}\n" for item, title in enumerate(titles)))
    if model == "words":
        rows = [f"{word} {' '.join(map(str, draw.normal(size=12).round(3)))}\n" for word in _WORDS]
        (folder / "words.txt").write_text("".join(rows))
    else:
        from small.encoders.models import save_opt

        save_opt(folder / "model")


def real_units(folder: Path) -> list[Unit]:
    """A dataset, its vectors, two trainings, and what they and a baseline are worth."""
    data, cache = folder / "data", folder / "cache"
    model = next(path for path in (folder / "words.txt", folder / "model") if path.exists())
    vectors = ExtractConfig(devices="cpu", tokens_per_batch=512, shard_rows=4)
    cpu = EvaluateConfig(device="cpu")
    units = [
        Unit("prepare", PrepareTask("tcf", str(folder / "raw"), "", data, PrepareConfig())),
        Unit("extract", ExtractTask(data, str(model), cache, vectors), ("prepare",)),
    ]
    for seed in range(2):
        run = folder / "runs" / str(seed)
        settings = TrainConfig(items="text", width=8, batch_size=16, epochs=3, devices="cpu", seed=seed)
        units.append(Unit(f"train/{seed}", TrainTask(data, (cache,), run, settings), ("extract",)))
        out = folder / "evaluations" / str(seed)
        units.append(Unit(f"evaluate/{seed}", EvaluateTask(run, "", None, (), out, cpu), (f"train/{seed}",)))
    baseline = EvaluateTask(None, "popularity", data, (), folder / "evaluations" / "popularity", cpu)
    return [*units, Unit("evaluate/popularity", baseline, ("prepare",))]


def run(folder: str, workers: str) -> None:
    """Run the units of a folder, and fail if one does."""
    configure_logging()
    records, launch = Records(Path(folder) / "records"), everywhere(workers=int(workers))
    results = run_units(real_units(Path(folder)), records, open_launcher(launch, records), tries=20)
    check_results(results, records, "the same command")
    print(len(results.done), len(results.found), file=sys.stdout)


def content(folder: Path) -> dict[str, bytes]:
    """The files of all results by their places in a folder, hidden ones too, without those that hold times."""
    files = [file for part in ("data", "cache", "runs", "evaluations") for file in (folder / part).rglob("*")]
    return {
        str(file.relative_to(folder)): timeless(file.name, file.read_bytes())
        for file in files
        if file.is_file() and file.parent.name != "events"
    }
