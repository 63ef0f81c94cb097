"""A metric, a loss, a pooling and a raw format are added to a copy of tcf by the edits that CONTRIBUTING.md names."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import tcf

PACKAGE = Path(tcf.__file__).parent
ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "CONTRIBUTING.md"


@dataclass(frozen=True)
class Extension:
    """What is added to tcf.

    Attributes:
        title: what CONTRIBUTING.md calls it.
        lines: what is put behind a line, by file and by the line's beginning, or the end of its text.
        files: new files.
        names: a part of a line and what it becomes, by file.
    """

    title: str
    lines: dict[tuple[str, str], str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    names: dict[str, tuple[str, str]] = field(default_factory=dict)

    @property
    def touched(self) -> set[str]:
        """The files that are there already."""
        return {path for path, _ in self.lines} | {*self.names}

    def apply(self, root: Path) -> None:
        for path, content in self.files.items():
            (root / path).write_text(content)
        for path, (before, after) in self.names.items():
            self._replace(root / path, before, after)
        for (path, anchor), line in self.lines.items():
            self._replace(root / path, anchor, anchor + line)

    def _replace(self, file: Path, before: str, after: str) -> None:
        content = file.read_text()
        assert content.count(before) == 1, f"{file}: {before!r}"
        file.write_text(content.replace(before, after))


METRIC = Extension(
    "a metric",
    {
        ("tcf/ranking/metrics.py", '    _Kind("mrr", reciprocal_rank, whole=True),\n'): (
            '    _Kind("first", first_place, shown=lambda value: f"{value:.3f}", validated=True),\n'
        ),
        ("tcf/ranking/metrics.py", "len(ranks) == len(single_T) else first_target(ranks, gains, single_T)\n"): (
            "\n\ndef first_place(ranks: Ranks, k: int) -> npt.NDArray[np.float64]:\n"
            "    return ((ranks.greater == 0) & ranks.is_candidate) / (ranks.equal + 1)\n"
        ),
    },
)

TOY_LOSS = '''"""The squared distance of each target's score from 1."""

from dataclasses import dataclass

from torch import Tensor

from tcf.train.batch.batch import Batch
from tcf.train.batch.candidates import OwnItems


@dataclass(frozen=True)
class Toy:
    @property
    def candidates(self) -> OwnItems:
        return OwnItems()

    def __call__(self, states_PD: Tensor, vectors_UD: Tensor, batch: Batch) -> Tensor:
        scores_P = (states_PD * vectors_UD[batch.targets_P]).sum(1)
        return (1 - scores_P).square().sum() / batch.n_targets
'''

LOSS = Extension(
    "a loss",
    {
        ("tcf/config/losses.py", 'reads_catalogue=True, instead=("in-batch", "sampled")),\n'): (
            '    LossInfo("toy", "squared distance of scores from 1"),\n'
        ),
        ("tcf/train/loss/losses.py", "import Columns, Masks, softmax_loss\n"): "from tcf.train.loss.toy import Toy\n",
        ("tcf/train/loss/losses.py", "            return FullSoftmax.build(data)\n"): (
            '        case "toy":\n            return Toy()\n'
        ),
    },
    files={"tcf/train/loss/toy.py": TOY_LOSS},
    names={"tcf/config/losses.py": ('"full", "sampled"', '"full", "toy", "sampled"')},
)

POOLING = Extension(
    "a pooling",
    {
        ("tcf/encoders/pooling.py", "            return kept_BTD[:, -1].float()\n"): (
            '        case "least":\n            return kept_BTD.float().amin(dim=1)\n'
        ),
    },
    names={"tcf/config/extract.py": ('"first", "last", ', '"first", "last", "least", ')},
)

TOY_FORMAT = '''"""A file of lines `user item`, oldest first; the text of an item is its id."""

from pathlib import Path
from typing import Literal

from tcf.data.events.group_events import group_events
from tcf.data.raw.any_table.table_items import items_of_events
from tcf.data.raw.raw_log import RawLog
from tcf.data.tables.bad_rows import BadRows
from tcf.data.tables.engine import Engine
from tcf.data.tables.text_form import TextForm
from tcf.data.tables.text_table import TextTable
from tcf.data.text_template import Template, joined_columns

_FORM = TextForm(" ", quoting=False, header=("user", "item"))


def toy_files(raw: Path) -> tuple[Path, ...]:
    return (raw / "toy.txt",)


def read_toy(
    engine: Engine, raw: Path, *, template: Template | None, unescape_html: bool, bad_rows: Literal["error", "skip"]
) -> RawLog:
    (file,), bad = toy_files(raw), BadRows(bad_rows)
    rows = TextTable(file, _FORM).load(engine, ("user", "item"), bad)
    items = items_of_events(rows, "item", template or joined_columns(["item"]), bad, unescape_html)
    return RawLog.of(items, group_events(rows, "user", "item", None, items, bad), bad.skipped, [rows])
'''

RAW_FORMAT = Extension(
    "a raw format",
    {
        ("tcf/config/raw_formats.py", 'options=("min_label", "min_rating")),\n'): (
            '    RawFormatInfo("toy", "toy.txt"),\n'
        ),
        ("tcf/data/raw/formats.py", "from tcf.data.raw.study.read_study import read_tcf\n"): (
            "from tcf.data.raw.toy import read_toy, toy_files\n"
        ),
        ("tcf/data/raw/formats.py", "    match format:\n"): (
            '        case "toy":\n            return RawReader(partial(toy_files, raw), partial(read_toy, raw=raw))\n'
        ),
    },
    files={"tcf/data/raw/toy.py": TOY_FORMAT},
    names={"tcf/config/raw_formats.py": ('"recbole", "mind"', '"recbole", "toy", "mind"')},
)
EXTENSIONS = (METRIC, LOSS, POOLING, RAW_FORMAT)

SCRIPT = """
import json
from pathlib import Path
import torch
from typer.testing import CliRunner
from tcf.commands.app import app
from tcf.config.extract import ExtractConfig
from tcf.encoders.pooling import pool
from tcf.evaluate.evaluation_table import EvaluationTable
from tcf.evaluate.evaluation import open_evaluation

def run(line):
    done = CliRunner().invoke(app, line.split(), env={"COLUMNS": "1000"})
    assert done.exit_code == 0, (line, done.output, done.exception)
    return done.stdout

run("data prepare toy raw --out data --min-history 4")
trained = run("train --data data --items id --loss toy --out run --width 8 --epochs 2 --devices cpu")
run("evaluate run --out evaluation --device cpu")
run("evaluate --baseline popularity --data data --out popularity")
opened = {name: open_evaluation(Path(name)) for name in ("evaluation", "popularity")}
told = {
    "trained": trained,
    "runs": run("runs run"),
    "opened": {name: dict(found.metrics) for name, found in opened.items()},
    "table": str(EvaluationTable(opened)),
    "intervals": {name: found.intervals for name, found in opened.items()},
    "pooled": pool(torch.tensor([[[1.0, 5.0], [3.0, 2.0]]]), ExtractConfig(pooling="least").pooling).tolist(),
    "help": {name: run(name + " --help") for name in ("data prepare", "train", "extract")},
}
Path("told.json").write_text(json.dumps(told))
"""


def sections() -> dict[str, str]:
    """What CONTRIBUTING.md says about adding things, by their names."""
    guide = GUIDE.read_text(encoding="utf-8").partition("## How to add")[2].partition("\n## ")[0]
    _, *parts = guide.split("\n**")
    return {title: text for title, _, text in (part.partition("**") for part in parts)}


@pytest.mark.parametrize("extension", EXTENSIONS, ids=lambda extension: extension.title)
def test_the_guide_names_every_file_that_is_touched(extension: Extension) -> None:
    text = sections()[extension.title]
    assert {path for path in extension.touched if f"`{path}`" not in text} == set()


def test_every_file_that_the_guide_names_is_there() -> None:
    named = {word for text in sections().values() for word in text.split("`")[1::2] if word.endswith((".py", ".md"))}
    assert len(named) > 8
    assert {word for word in named if "NAME" not in word and not (ROOT / word).exists()} == set()


def test_what_is_added_is_used_everywhere(tmp_path: Path) -> None:
    shutil.copytree(PACKAGE, tmp_path / "tcf", ignore=shutil.ignore_patterns("__pycache__"))
    for extension in EXTENSIONS:
        extension.apply(tmp_path)
    (tmp_path / "raw").mkdir()
    walks = [(user, (7 * user + step) % 20) for user in range(30) for step in range(8)]
    (tmp_path / "raw" / "toy.txt").write_text("".join(f"u{user} i{item}\n" for user, item in walks))
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads((tmp_path / "told.json").read_text())
    check_format_and_pooling(tmp_path, told)
    check_loss_and_log(tmp_path, told)
    check_metric(tmp_path, told)


def check_format_and_pooling(here: Path, told: dict[str, Any]) -> None:
    prepared = json.loads((here / "data" / "manifest.json").read_text())
    assert prepared["config"]["format"] == "toy"
    assert [*prepared["inputs"]] == ["toy.txt"]
    assert ".item), toy (toy.txt), mind (" in " ".join(told["help"]["data prepare"].split())
    assert told["pooled"] == [[1.0, 2.0]]
    assert "[auto|mean|first|last|least|max|" in told["help"]["extract"]


def check_loss_and_log(here: Path, told: dict[str, Any]) -> None:
    trained = json.loads((here / "run" / "manifest.json").read_text())
    assert trained["config"]["loss"] == "toy"
    assert "toy: squared distance of scores from 1; sampled: " in " ".join(told["help"]["train"].split())
    epochs = [json.loads(line) for line in (here / "run" / "epochs.jsonl").read_text().splitlines()]
    assert [list(epoch) for epoch in epochs] == [["epoch", "loss", "hr@10", "ndcg@10", "first@10"]] * 2
    assert all(0 <= epoch["first@10"] <= epoch["hr@10"] for epoch in epochs)
    assert list(dict(line.split(": ") for line in told["trained"].splitlines()))[1:5] == [
        "best epoch",
        "validation hr@10",
        "validation ndcg@10",
        "validation first@10",
    ]
    head = re.split("  +", told["runs"].splitlines()[0])
    assert head[:6] == ["run", "state", "best", "validation hr@10", "validation ndcg@10", "validation first@10"]


def check_metric(here: Path, told: dict[str, Any]) -> None:
    for name in ("evaluation", "popularity"):
        written = json.loads((here / name / "metrics.json").read_text())
        assert list(written)[:5] == ["hr@10", "ndcg@10", "mrr@10", "first@10", "mrr"]
        assert told["intervals"][name] == written.pop("intervals")
        assert told["opened"][name] == written
        assert 0 <= written["first@10"] <= written["mrr"] <= 1
    head, *lines, _ = told["table"].splitlines()
    assert head.split() == ["ranking", "hr@10", "ndcg@10", "mrr@10", "first@10", "mrr", "users", "items"]
    shown = [f"{told['opened'][name]['first@10']:.3f}" for name in ("evaluation", "popularity")]
    # Each metric has its mean and `low to high`.
    assert [line.split()[1 + 4 * 3] for line in lines] == shown
    assert told["intervals"]["popularity"]["first@10"][0] <= told["opened"]["popularity"]["first@10"]
