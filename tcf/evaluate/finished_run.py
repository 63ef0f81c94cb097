"""What is evaluated and recommended from: a finished training run, or a combination of several.

All that depends on which of them it is, is decided here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from tcf.common.devices import resolve_device
from tcf.common.errors import ConfigError
from tcf.common.integrity.checksums import Verify
from tcf.common.manifest import read_manifest
from tcf.config.evaluate import CataloguePolicy
from tcf.data.split import Part
from tcf.evaluate.combination.combined_run import CombinedRun, opened_combination
from tcf.evaluate.combination.recorded_combination import RecordedCombination, is_combination, read_combination
from tcf.ranking.engines import Engine
from tcf.train.batch.training_data import trained_users
from tcf.train.run.file_names import RUN, SELECTION
from tcf.train.run.open_inputs import OpenInputs
from tcf.train.run.open_run import Run
from tcf.train.run.recorded_run import RecordedRun, n_caches_of, read_run

__all__ = [
    "FinishedRun",
    "RecordedFinishedRun",
    "caches_of",
    "check_search",
    "check_split",
    "fingerprints_of",
    "is_refit",
    "learned_users",
    "members_of",
    "on_device",
    "open_finished_run",
    "opened_finished_run",
    "ranking_of",
    "read_finished_run",
    "reads_caches",
    "usual_catalogue",
]

FinishedRun: TypeAlias = Run | CombinedRun
RecordedFinishedRun: TypeAlias = RecordedRun | RecordedCombination
"""The same with inputs that are not open."""


def read_finished_run(
    path: Path,
    *,
    data: Path | None = None,
    caches: Sequence[Path] = (),
    members: Mapping[str, Path] | None = None,
) -> RecordedFinishedRun:
    """Read what the directory of a run or a combination says of it; their inputs are not opened.

    Args:
        path: the directory.
        data: where the dataset is now; the recorded place if None.
        caches: where the caches are now, in the order of training, those of a combination run by run; the recorded
            places if empty.
        members: where runs of a combination that have moved are now, by their names as members.

    Raises:
        ConfigError: members are named, and there is no combination.
        RunError: there is neither, it is damaged, or an input or a member is no longer at its recorded place.
    """
    if is_combination(path):
        return read_combination(path, data=data, caches=caches, runs=members)
    if members:
        name, place = next(iter(members.items()))
        raise ConfigError(
            f"--run {name}={place}: expected a combination, whose run {name} has moved, found {path}, which is "
            "none; leave out --run"
        )
    return read_run(path, data=data, caches=caches)


def caches_of(run: RecordedFinishedRun) -> tuple[Path, ...]:
    """Return where the caches are, in the order of training, those of a combination run by run."""
    match run:
        case RecordedRun():
            return run.caches
        case RecordedCombination():
            return tuple(cache for member in run.runs for cache in member.caches)


def reads_caches(path: Path) -> bool:
    """Whether `--cache` may be for this directory, by its manifest: not for a run on ids alone.

    Raises:
        RunError: there is neither a run nor a combination, or it is damaged.
    """
    return is_combination(path) or n_caches_of(read_manifest(path, RUN)) > 0


def opened_finished_run(recorded: RecordedFinishedRun, inputs: OpenInputs, device: str = "auto") -> FinishedRun:
    """Open a run or a combination with these inputs.

    Raises:
        TcfError: see `OpenInputs.run` and `opened_combination`.
    """
    match recorded:
        case RecordedRun():
            return inputs.run(recorded, device)
        case RecordedCombination():
            return opened_combination(recorded, inputs, device)


def open_finished_run(
    path: Path,
    *,
    data: Path | None = None,
    caches: Sequence[Path] = (),
    members: Mapping[str, Path] | None = None,
    device: str = "auto",
    verify: Verify = "once",
) -> FinishedRun:
    """Open a finished run, or a combination.

    Args:
        path: the directory.
        data: where the dataset is now; the recorded place if None.
        caches: where the caches are now, in the order of training, those of a combination run by run; the recorded
            places if empty.
        members: where runs of a combination that have moved are now, by their names as members.
        device: where to compute.
        verify: whether large files that this machine has verified are verified again.

    Raises:
        TcfError: see `read_finished_run` and `opened_finished_run`.
    """
    recorded = read_finished_run(path, data=data, caches=caches, members=members)
    return opened_finished_run(recorded, OpenInputs(verify), device)


def on_device(run: FinishedRun, device: str) -> FinishedRun:
    """Return an open run as it is on another device; it stays where it is for `auto`.

    Raises:
        ConfigError: the device does not exist.
    """
    if device in ("auto", str(run.device)):
        return run
    place = resolve_device(device)
    match run:
        case Run():
            return replace(run, device=place)
        case CombinedRun():
            runs = tuple(replace(member, device=place) for member in run.runs)
            return replace(run, device=place, runs=runs)


def fingerprints_of(run: RecordedFinishedRun | FinishedRun) -> dict[str, str]:
    """Return the fingerprints of a run or a combination and of all that it was made from, by role."""
    match run:
        case RecordedRun() | Run():
            return {"run": run.manifest.fingerprint, **run.manifest.inputs}
        case RecordedCombination() | CombinedRun():
            return {"combination": run.manifest.fingerprint, **run.manifest.inputs}


def ranking_of(run: RecordedFinishedRun | FinishedRun) -> str:
    """Say what ranks: the kind of a run, or the members of a combination."""
    match run:
        case RecordedRun() | Run():
            return f"{run.config.backbone}, items as {run.config.items}{', refit' if run.config.refit else ''}"
        case RecordedCombination() | CombinedRun():
            return f"combination of {', '.join(_names(run))}{', refit' if is_refit(run) else ''}"


def check_split(run: RecordedFinishedRun | FinishedRun, split: Part) -> None:
    """Refuse to measure refits on the validation targets, which they were trained on.

    Raises:
        ConfigError: the split is validation, and the run is a refit or a combination of refits.
    """
    if split != "validation" or not is_refit(run):
        return
    match run:
        case RecordedRun() | Run():
            found = f"a refit on {run.manifest.facts['trained_on']} items"
            remedy = f"evaluate {run.path / SELECTION}, which chose its number of epochs"
        case RecordedCombination() | CombinedRun():
            found = "a combination of refits"
            remedy = f"evaluate a combination of the runs in their {SELECTION} folders"
    raise ConfigError(
        f"--split validation: expected a run that was not trained on the validation targets, found {run.path}, "
        f"{found}; {remedy}, or use --split test"
    )


def is_refit(run: RecordedFinishedRun | FinishedRun) -> bool:
    """Whether the validation targets were trained on."""
    match run:
        case RecordedRun() | Run():
            return run.config.refit
        case RecordedCombination() | CombinedRun():
            return run.runs[0].config.refit  # all are, or none


def check_search(run: RecordedFinishedRun | FinishedRun, engine: Engine) -> None:
    """Refuse FAISS, which ranks by products alone, for a combination with a member that adds scores to these.

    Raises:
        ConfigError: FAISS is to search, and a member is co-occurrence.
    """
    match run:
        case RecordedCombination() | CombinedRun() if engine == "faiss":
            added = [member.name for member in run.members if member.kind == "co-occurrence"]
        case _:
            added = []
    if added:
        raise ConfigError(
            f"--search faiss: expected scores that are inner products, found the member {added[0]} of {run.path}, "
            "whose scores are added to these; use --search torch"
        )


def learned_users(run: FinishedRun) -> npt.NDArray[np.bool_]:
    """Which users are represented by what was learned, in every member of a combination, (n_users,)."""
    match run:
        case Run():
            return trained_users(run.dataset.split, run.config)
        case CombinedRun() if run.learns_users:
            return np.asarray(run.dataset.split.training > 0)
        case CombinedRun():
            return np.ones(run.dataset.n_users, np.bool_)


def usual_catalogue(run: FinishedRun) -> CataloguePolicy:
    """Which items are recommended by default: without texts, an untrained item's vector is a random one."""
    match run:
        case Run():
            reads_text = run.config.reads_text
        case CombinedRun():
            reads_text = run.reads_text
    return "all" if reads_text else "trained"


def members_of(run: FinishedRun) -> tuple[str, ...]:
    """Return the names of a combination's members.

    Raises:
        ConfigError: it is no combination.
    """
    match run:
        case CombinedRun():
            return _names(run)
        case Run():
            raise ConfigError(
                f"--shares: expected a combination, made by `tcf combine`, whose members share in a score, found "
                f"{run.path}, a training run by itself; leave out --shares"
            )


def _names(run: RecordedCombination | CombinedRun) -> tuple[str, ...]:
    return tuple(member.name for member in run.members)
