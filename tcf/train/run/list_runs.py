"""Lists the runs below a folder: their progress, their metrics, and the settings in which they differ."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from safetensors import SafetensorError, safe_open

from tcf.common.errors import RunError, TcfError, os_error_words
from tcf.common.files import MANIFEST
from tcf.common.integrity.sealed_json import unsealed_json
from tcf.common.integrity.verified_files import verify_files
from tcf.common.lease_file import is_held
from tcf.common.manifest import read_manifest
from tcf.common.output.folders import walk
from tcf.common.parsing import parse_json, read_json
from tcf.config.fields import read_toml
from tcf.ranking.metrics import VALIDATION_METRICS
from tcf.train.run.file_names import CONFIG, EPOCHS, IMPLIED, LEASE, RUN, SELECTION, STATE

__all__ = ["ListedRun", "differing_settings", "find_runs", "read_epochs"]

State = Literal["finished", "training", "resumable", "starts again", "damaged"]
_LEFT_BY_TRAINING = (EPOCHS, STATE, LEASE)


@dataclass(frozen=True)
class ListedRun:
    """A run found in a folder.

    Attributes:
        path: its directory.
        state: finished; being trained now; interrupted, so that the same command resumes from its saved state, or
            starts again if there is none; or damaged.
        epochs: number of finished epochs.
        best_epoch: the best epoch so far by the setting `monitor`; None if there is none yet, and for a refit, which
            measures no epoch.
        metrics: validation metrics of that epoch by name; in a finished run over all users. None for a metric that
            this run has not measured.
        settings: settings and inputs.
        problem: why it is considered damaged.
    """

    path: Path
    state: State
    epochs: int = 0
    best_epoch: int | None = None
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""


def find_runs(folder: Path) -> list[ListedRun]:
    """Every run in a folder and below it, by path; links and hidden folders are skipped.

    A finished run has a manifest of its format; an unfinished one has settings and the first files of a training.
    """
    return sorted(_found(folder), key=lambda run: run.path)


def differing_settings(runs: Sequence[ListedRun]) -> list[str]:
    """Names of the settings and inputs that are not equal in all runs; runs with unreadable settings are ignored."""
    known = [run.settings for run in runs if run.settings]
    names = sorted({name for settings in known for name in settings})
    return [name for name in names if any(settings.get(name) != known[0].get(name) for settings in known)]


def _found(folder: Path) -> Iterator[ListedRun]:
    for path, folders, files in walk(folder):
        run = _run_at(path, {*files})
        if run is not None:
            yield run
        if run is not None or MANIFEST in files:
            # A published directory contains no runs, but for that which chose a refit's number of epochs.
            folders[:] = [name for name in folders if run is not None and name == SELECTION]
        else:
            folders[:] = [name for name in folders if not name.startswith(".")]


def _run_at(path: Path, files: set[str]) -> ListedRun | None:
    """The run in a folder; None if it is not a run."""
    is_unfinished = CONFIG in files and not files.isdisjoint(_LEFT_BY_TRAINING)
    if MANIFEST not in files:
        is_run, listed = is_unfinished, _unfinished
    else:
        is_run, listed = _is_manifest_of_run(path) or is_unfinished, _finished
    if not is_run:
        return None
    try:
        return listed(path)
    except (TcfError, OSError, ValueError, KeyError, TypeError) as error:
        return ListedRun(path, "damaged", problem=_problem(path, error))


def _problem(path: Path, error: Exception) -> str:
    """Why a run cannot be read, in plain words."""
    match error:
        case OSError():
            return f"{error.filename or path}: cannot be read ({os_error_words(error)})"
        case KeyError():
            return f"{path}: its {EPOCHS} or {MANIFEST} lacks {error.args[0]}"
        case TcfError():
            return str(error)
        case _:
            return f"{path}: its {EPOCHS}, {CONFIG} or {MANIFEST} is damaged"


def _is_manifest_of_run(path: Path) -> bool:
    try:
        content = read_json(path / MANIFEST)
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and content.get("format") == RUN.name


def _finished(path: Path) -> ListedRun:
    manifest = read_manifest(path, RUN)
    for name, entry in manifest.files.items():
        found = (path / name).stat().st_size
        if found != entry["bytes"]:
            raise RunError(f"{path / name}: expected {entry['bytes']} bytes, found {found}")
    verify_files(path, manifest, RUN, names=(CONFIG,))
    settings = {**IMPLIED, **manifest.config, **_inputs(path, read_toml(path / CONFIG))}
    facts = manifest.facts
    if settings["refit"]:
        return ListedRun(path, "finished", facts["epochs"], settings=settings)
    return ListedRun(path, "finished", facts["epochs"], facts["best_epoch"], _metrics(facts, settings), settings)


def _unfinished(path: Path) -> ListedRun:
    settings = {**IMPLIED, **read_toml(path / CONFIG)}
    settings |= _inputs(path, settings)
    settings.pop("inputs", None)
    epochs = read_epochs(path / EPOCHS)
    if (path / STATE).exists():
        epochs = _confirmed_epochs(epochs, path, measured=not settings["refit"])
    best = max([] if settings["refit"] else epochs, key=lambda epoch: epoch[settings["monitor"]], default=None)
    if best is None:
        return ListedRun(path, _state(path), len(epochs), settings=settings)
    return ListedRun(path, _state(path), len(epochs), best["epoch"], _metrics(best, settings), settings)


def _metrics(measured: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, float | None]:
    """The metrics of an epoch or a run, which may have been trained before a metric was introduced."""
    if settings["monitor"] not in measured:
        raise KeyError(settings["monitor"])
    return {metric.name: measured.get(metric.name) for metric in VALIDATION_METRICS}


def _state(path: Path) -> State:
    if is_held(path / LEASE):
        return "training"
    return "resumable" if (path / STATE).exists() else "starts again"


def _confirmed_epochs(logged: list[dict[str, Any]], path: Path, measured: bool) -> list[dict[str, Any]]:
    """The epochs of the saved state, from which training resumes; the log, which is written after it, must agree."""
    saved = _saved_epochs(path / STATE, measured)
    if len(logged) < len(saved) - 1 or any(one != other for one, other in zip(logged, saved, strict=False)):
        raise RunError(f"{path / EPOCHS}: expected the epochs of {path / STATE}, found others; training writes it anew")
    return saved


def _saved_epochs(path: Path, measured: bool) -> list[dict[str, Any]]:
    """The finished epochs of a saved state, as in a log; the numbers of the model are not read.

    Args:
        path: the file of the state.
        measured: whether its run has a validation.

    Raises:
        RunError: the file is incomplete, or what it says has changed.
    """
    try:
        with safe_open(path, "numpy") as file:
            return [_as_logged(epoch, measured) for epoch in unsealed_json(file.metadata()["tcf"])["epochs"]]
    except FileNotFoundError:
        return []  # training has just finished
    except (SafetensorError, KeyError, TypeError, ValueError):
        raise RunError(f"{path}: damaged, or not written by tcf; remove it to train from the beginning") from None


def _as_logged(epoch: Mapping[str, Any], measured: bool) -> dict[str, Any]:
    return {
        "epoch": epoch["number"],
        "loss": epoch["loss"],
        **{metric.name: epoch[metric.key] for metric in VALIDATION_METRICS if measured},
    }


def read_epochs(path: Path) -> list[dict[str, Any]]:
    """The epochs of a log; a last line that is being written does not count."""
    if not path.exists():
        return []
    *lines, _ = path.read_text(encoding="utf-8").split("\n")
    return [parse_json(line) for line in lines]


def _inputs(path: Path, settings: Mapping[str, Any]) -> dict[str, str]:
    """The inputs' paths, by role."""
    inputs = settings.get("inputs", {})
    return {role: os.path.normpath(path.absolute() / str(place)) for role, place in inputs.items()}
