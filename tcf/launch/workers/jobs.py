"""Jobs of workers, and their encoding as messages: JSON objects, one per line."""

import dataclasses
import json
import os
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tcf.common.parsing import parse_json
from tcf.config.evaluate import EvaluateConfig
from tcf.config.extract import ExtractConfig
from tcf.config.fields import from_mapping, to_mapping
from tcf.config.train import TrainConfig

__all__ = ["EvaluationJob", "ExtractionJob", "Job", "TrainingJob", "decode_message", "encode_message"]


def encode_message(message: Mapping[str, Any]) -> bytes:
    """Encode a message to another process as a JSON object on one line.

    Args:
        message: JSON values by name.
    """
    return f"{json.dumps(message)}\n".encode()


def decode_message(line: bytes) -> dict[str, Any] | None:
    """Decode such a line; None if it is empty or incomplete, as it is when the sender has ended.

    Args:
        line: the bytes read up to the end of the line or of the stream.
    """
    message: dict[str, Any] | None = parse_json(line) if line.endswith(b"\n") else None
    return message


class Job:
    """Base of frozen dataclasses whose fields are paths, tuples of paths, a stage's settings, strings and numbers."""

    def as_message(self) -> dict[str, Any]:
        """The job as JSON values."""
        entries = dataclasses.fields(typing.cast(Any, self))
        return {entry.name: _encoded(getattr(self, entry.name)) for entry in entries}

    @classmethod
    def from_message(cls, message: Mapping[str, Any]) -> Self:
        """Build the job from such values."""
        hints = typing.get_type_hints(cls)
        return cls(**{name: _decoded(hints[name], value, name) for name, value in message.items()})


@dataclass(frozen=True)
class ExtractionJob(Job):
    """An extraction on one device.

    Attributes:
        data: a dataset directory.
        model: a local model folder, or a file of word vectors.
        out: the cache, or the folder of several.
        name: the model's name, for messages.
        config: settings, with one device.
        threads: number of torch threads.
    """

    data: Path
    model: Path
    out: Path
    name: str
    config: ExtractConfig
    threads: int


@dataclass(frozen=True)
class TrainingJob(Job):
    """A training: one rank of several, whose number is in the environment, or a trial of a search.

    Attributes:
        data: a dataset directory.
        caches: cache directories for items as text, or the one that ids start from.
        out: the run's directory.
        config: settings, with the devices of all ranks.
        threads: number of torch threads; 0 for torch's default.
    """

    data: Path
    caches: tuple[Path, ...]
    out: Path
    config: TrainConfig
    threads: int


@dataclass(frozen=True)
class EvaluationJob(Job):
    """One of the evaluations that a worker makes one after the other.

    Attributes:
        source: directory of a run; of a dataset for a baseline.
        baseline: the baseline's name; empty for a run.
        data: where the run's dataset is.
        caches: where the run's caches are.
        out: directory to create.
        config: settings, with the worker's device.
        vectors: where the vectors for the diversity of lists are; None without.
        seed: seed of the random ranking.
        threads: number of torch threads.
    """

    source: Path
    baseline: str
    data: Path
    caches: tuple[Path, ...]
    out: Path
    config: EvaluateConfig
    vectors: Path | None
    seed: int
    threads: int


def _encoded(value: Any) -> Any:
    match value:
        case Path():
            return os.fspath(value)
        case tuple():
            return [_encoded(part) for part in value]
        case _ if dataclasses.is_dataclass(value):
            return to_mapping(value)
        case _:
            return value


def _decoded(hint: Any, value: Any, name: str) -> Any:
    if hint in (Path, Path | None):
        return None if value is None else Path(value)
    if typing.get_origin(hint) is tuple:
        [kind, _] = typing.get_args(hint)  # tuple[kind, ...]
        return tuple(_decoded(kind, part, name) for part in value)
    return from_mapping(hint, value, name) if isinstance(value, dict) else value
