"""Forms of a recommender combined, after `benchmarks/forms.py`: weights and choices are frozen before test is seen.

    python benchmarks/forms_combined.py --data games ... --out forms --frozen games.toml              # as for forms.py
    python benchmarks/forms_combined.py --data games ... --out forms --frozen games.toml --evaluate

The first combines runs of each seed, and runs of all seeds, on validation, and writes the file: every form's and every
combination's validation metrics and weights. The second evaluates what is in the file on the test targets, once, and
compares. Both can be interrupted and run again.
"""

import json
import statistics
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w
from forms import FORMS, SEEDS, Form, Place, options, place_of, run, runs_of

__all__ = ["COMBINATIONS", "Combination"]

_N = 1 + len(SEEDS)


@dataclass(frozen=True)
class Combination:
    """Forms whose runs are combined.

    Attributes:
        name: its name.
        forms: names of its forms; `best text` and `best id` are those with the best validation metric of their kind.
        baselines: the baselines that are members as well.
        all_seeds: one combination of the runs of all seeds, instead of one for each.
    """

    name: str
    forms: tuple[str, ...] = ("text", "id")
    baselines: tuple[str, ...] = ("co-occurrence",)
    all_seeds: bool = False


COMBINATIONS = (
    Combination("text + id", baselines=()),
    Combination("text + id + co-occurrence"),
    Combination("text + id, all seeds", baselines=(), all_seeds=True),
    Combination("text + id + co-occurrence, all seeds", all_seeds=True),
    Combination("two encoders + id + co-occurrence", ("text", "smollm2, last layer", "id")),
    Combination("best forms + co-occurrence", ("best text", "best id")),
    Combination("best forms + co-occurrence, all seeds", ("best text", "best id"), all_seeds=True),
)


def main() -> None:
    """Combine and freeze, or evaluate what is frozen."""
    parser = options(__doc__ or "")
    parser.add_argument("--frozen", type=Path, required=True, help="The file of what was chosen on validation.")
    parser.add_argument("--evaluate", action="store_true", help="Evaluate what is in the file on the test targets.")
    given = parser.parse_args()
    place = place_of(given)
    if given.evaluate:
        _evaluate(place, tomllib.loads(given.frozen.read_text(encoding="utf-8")))
        return
    trained = [form for form in FORMS if all((path / "manifest.json").is_file() for path in _runs(form, place))]
    found = {form.name: [_metrics(path) for path in runs_of(form, place)] for form in trained}
    combined = {each.name: _combine(each, trained, found, place) for each in COMBINATIONS}
    frozen = {
        "forms": [_form(form, found[form.name], place) for form in trained],
        "combinations": [{"name": name, **entry} for name, entry in combined.items() if entry],
    }
    given.frozen.write_text(tomli_w.dumps(frozen), encoding="utf-8")
    print(f"{given.frozen}: {len(trained)} forms, {len(frozen['combinations'])} combinations")


def _runs(form: Form, place: Place) -> Sequence[Path]:
    return runs_of(form, place) if place.best(form).is_file() else [place.best(form)]


def _metrics(path: Path) -> Mapping[str, float]:
    facts = json.loads((path / "manifest.json").read_text(encoding="utf-8"))["facts"]
    return {name: float(facts[name]) for name in ("hr@10", "ndcg@10")}


def _form(form: Form, metrics: Sequence[Mapping[str, float]], place: Place) -> dict[str, Any]:
    settings = tomllib.loads(place.best(form).read_text(encoding="utf-8"))
    chosen = {name: settings[name] for name in (*form.train, *form.space) if name in settings}
    return {"name": form.name, **_means(metrics), "settings": chosen}


def _means(metrics: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """Validation metrics in percent: NDCG@10 and HR@10 of each seed, and their means."""
    found: dict[str, Any] = {}
    for name in ("ndcg@10", "hr@10"):
        values = [round(100 * each[name], 3) for each in metrics]
        found |= {f"validation_{name}": round(statistics.fmean(values), 3), f"validation_{name}_of_seeds": values}
    return found


def _combine(
    each: Combination, trained: Sequence[Form], found: Mapping[str, Sequence[Mapping[str, float]]], place: Place
) -> dict[str, Any]:
    """Combine a combination's runs; returns what is to be frozen, nothing if a form has not been trained."""
    by_name = {form.name: form for form in trained}
    names = [_named(name, trained, found) for name in each.forms]
    if not all(name in by_name for name in names):
        return {}
    runs = {name: runs_of(by_name[name], place) for name in names}
    baselines = [word for name in each.baselines for word in ("--baseline", name)]
    paths = []
    for seeds in [range(_N)] if each.all_seeds else [[seed] for seed in range(_N)]:
        members = [f"{_word(name)}-{seed}={runs[name][seed]}" for name in names for seed in seeds]
        paths.append(place.out / "combinations" / _word(each.name) / f"seed-{'all' if each.all_seeds else seeds[0]}")
        run("combine", *members, *baselines, "--out", str(paths[-1]), log=place.out / "combinations.log")
    facts = [json.loads((path / "manifest.json").read_text(encoding="utf-8"))["facts"]["members"] for path in paths]
    weights = [{member["name"]: round(member["weight"], 4) for member in members} for members in facts]
    return {
        "forms": names,
        **_means([_metrics(path) for path in paths]),
        "weights": weights,
        "runs": [str(path.relative_to(place.out)) for path in paths],
    }


def _named(name: str, trained: Sequence[Form], found: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    """The form that a name such as `best text` stands for: plain ids and texts with ids are not texts alone."""
    kind = name.removeprefix("best ")
    if kind == name:
        return name
    forms = [form.name for form in trained if kind in (form.name, form.base)]
    # Forms of texts with ids start from texts.
    alone = [form for form in forms if kind != "text" or form not in ("text+id", "residual", "gate", "dropped ids")]
    return max(alone, key=lambda form: statistics.fmean(each["ndcg@10"] for each in found[form]))


def _word(name: str) -> str:
    return name.replace(" + ", "+").replace(", ", "-").replace(" ", "-")


def _evaluate(place: Place, frozen: Mapping[str, Any]) -> None:
    """Evaluate what is frozen, a group for each form and each combination, and compare all groups."""
    log = place.out / "evaluations.log"
    groups = {}
    by_name = {form.name: form for form in FORMS}
    for entry in frozen["forms"]:
        groups[entry["name"]] = [str(path) for path in runs_of(by_name[entry["name"]], place)]
    for entry in frozen["combinations"]:
        groups[entry["name"]] = [str(place.out / path) for path in entry["runs"]]
    for name, paths in groups.items():
        for number, path in enumerate(paths):
            out = place.out / "evaluations" / _word(name) / f"seed-{number}"
            run("evaluate", path, "--out", str(out), log=log)
    for name in ("co-occurrence", "popularity"):
        out = place.out / "evaluations" / name
        run("evaluate", "--data", str(place.data), "--baseline", name, "--out", str(out), log=log)
    plain = ["text", "id", "co-occurrence", "popularity"]
    combined = [entry["name"] for entry in frozen["combinations"]]
    _compare("combinations", [*combined, *plain], place)
    for entry in frozen["forms"]:
        base = by_name[entry["name"]].base
        if base:
            _compare(entry["name"], [entry["name"], base], place)


def _compare(name: str, groups: Sequence[str], place: Place) -> None:
    folder = place.out / "comparisons"
    folder.mkdir(exist_ok=True)
    words = [f"{_word(group)}={place.out / 'evaluations' / _word(group)}" for group in groups]
    out = folder / f"{_word(name)}.json"
    metrics = ("--metrics", "hr@10,ndcg@10", "--by", "cold", "--by", "warm:5,20,50,200")
    run("compare", *words, *metrics, "--out", str(out), log=place.out / "comparisons.log")


if __name__ == "__main__":
    main()
