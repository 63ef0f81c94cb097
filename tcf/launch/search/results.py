"""The results of a search: a table of its trials, and a configuration file with the best settings."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from tcf.common.files import publish_file
from tcf.common.text_table import text_table
from tcf.common.units import as_percent
from tcf.config.fields import to_mapping, write_toml
from tcf.config.sealed_toml import sealed_toml
from tcf.launch.search.search_file import SearchFile
from tcf.ranking.metrics import VALIDATION_METRICS
from tcf.train.inputs import Inputs

__all__ = [
    "BEST",
    "TABLE",
    "TrialRow",
    "best_row",
    "render_table",
    "trial_folder",
    "trial_rows",
    "trial_values",
    "write_results",
]

BEST = "best.toml"
TABLE = "trials.csv"
_SHOWN = 20
_STATES = ("trained", "pruned", "failed", "unfinished")
_COUNTS = ("best_epoch", "epochs", "parameters")


@dataclass(frozen=True)
class TrialRow:
    """A trial.

    Attributes:
        number: its number, from 0.
        state: trained to completion, pruned, failed, or not finished yet.
        value: the search's `monitor` on validation: in the best epoch, over all users; for a pruned trial, in its last
            epoch, over the users that are evaluated after each epoch. None if there is none.
        metadata: metadata of the run, by name; for a trial not trained to completion, only the number of epochs.
        params: its parameters, by name.
        same_as: the earlier trial with the same parameters whose result it shares; None if it was trained itself.
        reason: why it failed; empty if it did not.
    """

    number: int
    state: Literal["trained", "pruned", "failed", "unfinished"]
    value: float | None
    metadata: Mapping[str, Any]
    params: Mapping[str, Any]
    same_as: int | None
    reason: str

    @property
    def _order(self) -> tuple[int, float, int]:
        return _STATES.index(self.state), -(self.value or 0.0), self.number


def trial_rows(study: Study) -> list[TrialRow]:
    """All trials, the best first."""
    return sorted((_row(trial) for trial in study.get_trials(deepcopy=False)), key=lambda row: row._order)


def best_row(rows: Sequence[TrialRow]) -> TrialRow | None:
    """The best of sorted rows; None until a trial has been trained to completion."""
    return rows[0] if rows and rows[0].state == "trained" else None


def trial_folder(out: Path, number: int) -> Path:
    """The directory of a trial's run."""
    return out / "trials" / f"{number:04d}"


def write_results(search: SearchFile, rows: Sequence[TrialRow]) -> None:
    """Write the table of trials and the best settings, replacing earlier ones."""
    publish_file(search.out / TABLE, _as_csv(search, rows).encode())
    best = best_row(rows)
    if best is not None:
        publish_file(search.out / BEST, _as_configuration(search, best))


def render_table(search: SearchFile, rows: Sequence[TrialRow]) -> str:
    """The best trials as an aligned table, for people."""
    names = list(search.space)
    lines = [["trial", "state", *(f"validation {name}" for name in _metrics(search)), "epoch", *names]]
    for row in rows[:_SHOWN]:
        means = ["-" if mean is None else as_percent(mean) for mean in _means(search, row).values()]
        others = (row.metadata.get("best_epoch"), *map(search.read(row.params).get, names))
        lines.append([str(row.number), row.state, *means, *map(_shown, others)])
    more = f"\n... {len(rows) - _SHOWN:,} more in {search.out / TABLE}" if len(rows) > _SHOWN else ""
    return text_table(lines) + more


def trial_values(search: SearchFile, row: TrialRow) -> dict[str, Any]:
    """A trial as JSON values."""
    run = trial_folder(search.out, row.number if row.same_as is None else row.same_as)
    return {
        "trial": row.number,
        "state": row.state,
        **{f"validation_{name}": mean for name, mean in _means(search, row).items()},
        **{name: row.metadata.get(name) for name in _COUNTS},
        "settings": search.read(row.params),
        "run": str(run),
        "same_as": row.same_as,
        "reason": row.reason,
    }


def _means(search: SearchFile, row: TrialRow) -> dict[str, float | None]:
    """A trial's means on validation, by name."""
    return {name: row.value if name == search.monitor else row.metadata.get(name) for name in _metrics(search)}


def _metrics(search: SearchFile) -> list[str]:
    """Names of the validation metrics; the one that the search maximises comes first."""
    return sorted((metric.name for metric in VALIDATION_METRICS), key=lambda name: name != search.monitor)


def _row(trial: FrozenTrial) -> TrialRow:
    reason = trial.user_attrs.get("reason", "")
    facts = trial.user_attrs.get("facts", {} if trial.last_step is None else {"epochs": trial.last_step})
    return TrialRow(
        trial.number, _state(trial, reason), trial.value, facts, trial.params, trial.user_attrs.get("same_as"), reason
    )


def _state(trial: FrozenTrial, reason: str) -> Literal["trained", "pruned", "failed", "unfinished"]:
    match trial.state:
        case TrialState.COMPLETE:
            return "trained"
        case TrialState.PRUNED:
            return "failed" if reason else "pruned"
        case _:
            return "unfinished"


def _as_csv(search: SearchFile, rows: Sequence[TrialRow]) -> str:
    stream = io.StringIO()
    table = csv.writer(stream, lineterminator="\n")
    table.writerow(["trial", "state", *_metrics(search), *_COUNTS, *search.space, "run", "reason"])
    for row in rows:
        numbers = [*_means(search, row).values(), *(row.metadata.get(name) for name in _COUNTS)]
        run = trial_folder(search.out, row.number if row.same_as is None else row.same_as).relative_to(search.out)
        params = [*map(search.read(row.params).get, search.space)]
        table.writerow([row.number, row.state, *numbers, *params, run, row.reason])
    return stream.getvalue()


def _as_configuration(search: SearchFile, best: TrialRow) -> bytes:
    config = search.settings(best.params)
    inputs = Inputs.of_training(config, search.data, search.caches_for(config)).paths_from(search.out)
    values = {name: best.metadata[name] for name in _metrics(search)}
    metrics = ", ".join(f"{name} {value:.6f}" for name, value in values.items())
    words = (
        f"# Trial {best.number} of a search: {metrics} on validation.\n"
        f"# To train with them again: tcf train --config {BEST} --out RUN\n\n"
    )
    return sealed_toml(words.encode() + write_toml({**to_mapping(config), "inputs": inputs}))


def _shown(value: Any) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.4g}"
        case _:
            return str(value)
