"""Which forms of a recommender pay: each form is searched with equally many trials, then trained with three seeds.

Plain texts and plain ids have four trials each. Every other form starts from the best of them and has two trials of its
own; so have `text again` and `id again`, plain once more, which say what two more trials are worth by themselves.
Trials are compared on validation targets alone; `benchmarks/forms_combined.py` evaluates test targets. Every command
that is run is printed and can be repeated: what is finished is not done again, so all can be interrupted at any moment.

    python benchmarks/forms.py --data games --minilm caches/minilm --smollm2 caches/smollm2 --epochs 12 --out forms

`--minilm` and `--smollm2` are folders with a cache for each layer, as `tcf extract --layers 2,4,6` makes them. A search
file that is in the folder of a form already is kept.
"""

import argparse
import json
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomli_w

__all__ = ["FORMS", "SEEDS", "Form", "Place", "options", "place_of", "run", "runs_of"]

TRIALS = 2
BASE_TRIALS = 4
SEEDS = (1, 2)  # beside that of the trials, 0


@dataclass(frozen=True)
class Form:
    """A form of recommender.

    Attributes:
        name: its name.
        base: the form whose best settings it starts from; empty for plain texts and plain ids.
        caches: what it reads; one entry is a folder of minilm or smollm2 with a layer, such as `minilm/layer6`.
        train: settings that make it this form.
        space: the settings of its trials.
        sampler: how the trials are drawn.
    """

    name: str
    base: str = ""
    caches: tuple[str, ...] = ("minilm/layer6",)
    train: Mapping[str, Any] = field(default_factory=dict)
    space: Mapping[str, Any] = field(default_factory=dict)
    sampler: str = "grid"


_PLAIN = {
    "learning_rate": {"low": 5e-4, "high": 3e-3, "log": True},
    "dropout": [0.05, 0.1, 0.2, 0.3],
    "weight_decay": [0.01, 0.1],
    "batch_size": [16, 32, 64],
}
_FULL = {"whiten": "full", "whiten_form": "zca"}
_SHRINKAGE = [0.03, 0.3]
_RESIDUAL = {"items": "text+id", "id_init": "zero"}
_RATES = [7e-4, 1.5e-3]

FORMS = (
    Form("text", train={"items": "text"}, space={**_PLAIN, "whiten": ["none", "full"]}, sampler="random"),
    Form("id", caches=(), train={"items": "id"}, space=_PLAIN, sampler="random"),
    Form("text again", "text", space={"learning_rate": _RATES}),
    Form("id again", "id", (), space={"learning_rate": _RATES}),
    Form("shrinkage", "text", train={"whiten": "full"}, space={"whiten_epsilon": _SHRINKAGE}),
    Form("zca", "text", train=_FULL, space={"whiten_epsilon": _SHRINKAGE}),
    Form(
        "whitened twice",
        "text",
        train={**_FULL, "whiten_sum": True, "whiten_epsilon": 0.1},
        space={"whiten_groups": [4, 16]},
    ),
    Form(
        "mixed layers",
        "text",
        ("minilm/layer2", "minilm/layer4", "minilm/layer6"),
        {**_FULL, "mix": "weights"},
        {"whiten_epsilon": _SHRINKAGE},
    ),
    Form("smollm2, layer 15", "text", ("smollm2/layer15",), {"whiten": "full"}, {"whiten_epsilon": _SHRINKAGE}),
    Form("smollm2, last layer", "text", ("smollm2/layer-1",), {"whiten": "full"}, {"whiten_epsilon": _SHRINKAGE}),
    Form("id from text", "id", train={"id_init": "text"}, space={"learning_rate": _RATES}),
    Form("text+id", "text", train={"items": "text+id"}, space={"dropout": [0.1, 0.3]}),
    Form("residual", "text", train=_RESIDUAL, space={"dropout": [0.1, 0.3]}),
    Form("gate", "text", train={**_RESIDUAL, "dropout": 0.2}, space={"id_gate": [5.0, 50.0]}),
    Form("dropped ids", "text", train={**_RESIDUAL, "dropout": 0.2}, space={"id_dropout": [0.1, 0.3]}),
    Form("ligr, text", "text", train={"block": "ligr"}, space={"learning_rate": _RATES}),
    Form("ligr, id", "id", (), {"block": "ligr"}, {"learning_rate": _RATES}),
    Form("rotary, text", "text", train={"position": "rotary"}, space={"learning_rate": _RATES}),
    Form("rotary, id", "id", (), {"position": "rotary"}, {"learning_rate": _RATES}),
    Form("cosine, id", "id", (), {"similarity": "cosine"}, {"temperature": [0.05, 0.1]}),
)
"""The forms, plain ones first."""


@dataclass(frozen=True)
class Place:
    """Where everything is.

    Attributes:
        data: the dataset.
        caches: folder of the layers of each encoder, by its name.
        epochs: of every training.
        out: folder of the results.
    """

    data: Path
    caches: Mapping[str, Path]
    epochs: int
    out: Path

    def folder(self, form: Form) -> Path:
        """The folder of a form's search, runs and evaluations."""
        return self.out / form.name.replace(" ", "-").replace(",", "")

    def best(self, form: Form) -> Path:
        """The file with the settings of a form's best trial."""
        return self.folder(form) / "search" / "best.toml"

    def search(self, form: Form) -> Mapping[str, Any]:
        """The content of a form's search file."""
        trials = TRIALS if form.base else BASE_TRIALS
        return {
            "out": str(self.folder(form) / "search"),
            "data": str(self.data),
            **({"cache": [str(self._cache(name)) for name in form.caches]} if form.caches else {}),
            "search": {"trials": trials, "seed": 1, "sampler": form.sampler, "pruning": "none"},
            "train": self._settings(form),
            "space": dict(form.space),
        }

    def _cache(self, name: str) -> Path:
        encoder, layer = name.split("/")
        return self.caches[encoder] / layer

    def _settings(self, form: Form) -> dict[str, Any]:
        """A form's fixed settings: its base's best ones, and its own."""
        common = {"width": 128, "epochs": self.epochs, "patience": self.epochs, "schedule": "cosine"}
        common |= {"loss": "in-batch", "monitor": "ndcg@10", "devices": "cpu"}
        base = next((other for other in FORMS if other.name == form.base), None)
        if base is not None:
            found = tomllib.loads(self.best(base).read_text(encoding="utf-8"))
            kept = {"items", "whiten", "whiten_epsilon", *base.space} - set(form.space)
            common |= {name: found[name] for name in kept if name in found}
        return {**common, **form.train}


def train(form: Form, place: Place) -> None:
    """Search a form's settings, and train the best ones with the other seeds."""
    folder = place.folder(form)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "search.toml"
    if not file.exists():
        file.write_text(tomli_w.dumps(place.search(form)), encoding="utf-8")
    run("search", str(file), log=folder / "log")
    for seed in SEEDS:
        words = ("train", "--config", str(place.best(form)), "--seed", str(seed), "--out", str(folder / f"seed-{seed}"))
        run(*words, log=folder / "log")


def run(*words: str, log: Path) -> None:
    """Run a command of tcf; what it says goes to the log.

    Raises:
        SystemExit: it failed.
    """
    print(shlex.join(("tcf", *words)), flush=True)
    with log.open("a", encoding="utf-8") as stream:
        ended = subprocess.run([sys.executable, "-m", "tcf", *words], stdout=stream, stderr=stream)
    if ended.returncode:
        raise SystemExit(f"{shlex.join(words)}: failed; see {log}")


def runs_of(form: Form, place: Place) -> Sequence[Path]:
    """A form's run of each seed, the best trial first."""
    trials = (place.folder(form) / "search" / "trials").iterdir()
    found = tomllib.loads(place.best(form).read_text(encoding="utf-8"))
    best = max(sorted(trials), key=lambda trial: _validation(trial) if _same(trial, found) else 0.0)
    return [best, *(place.folder(form) / f"seed-{seed}" for seed in SEEDS)]


def _validation(trial: Path) -> float:
    return float(json.loads((trial / "manifest.json").read_text(encoding="utf-8"))["facts"]["ndcg@10"])


def _same(trial: Path, settings: Mapping[str, Any]) -> bool:
    config = tomllib.loads((trial / "config.toml").read_text(encoding="utf-8"))
    return all(config.get(name) == value for name, value in settings.items() if name not in ("inputs", "devices"))


def options(words: str) -> argparse.ArgumentParser:
    """The options of this benchmark and of those that read what it made."""
    parser = argparse.ArgumentParser(description=words, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--minilm", type=Path, required=True)
    parser.add_argument("--smollm2", type=Path, required=True)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    return parser


def place_of(given: argparse.Namespace) -> Place:
    """Where these options say that everything is."""
    return Place(given.data, {"minilm": given.minilm, "smollm2": given.smollm2}, given.epochs, given.out)


def main() -> None:
    """Train the forms."""
    parser = options(__doc__ or "")
    parser.add_argument("--forms", nargs="*", default=[form.name for form in FORMS], help="only these")
    parser.add_argument("--workers", type=int, default=2, help="trainings at the same time")
    given = parser.parse_args()
    place = place_of(given)
    chosen = [form for form in FORMS if form.name in given.forms]
    with ThreadPoolExecutor(given.workers) as pool:
        for bases in (True, False):  # whose best settings the others start from
            list(pool.map(lambda form: train(form, place), [form for form in chosen if (not form.base) == bases]))


if __name__ == "__main__":
    main()
