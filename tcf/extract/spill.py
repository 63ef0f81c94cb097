"""Unfinished work of a sweep, saved so that a kill does not undo the blocks done: states, and what lower layers gave.

A directory `block-N` in the macro-batch's scratch directory holds all that is needed to go on with block N, counted
from 0. It is published like every other directory, so it is complete or not there; the one before is then removed.
"""

import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tcf.errors import CacheError, TcfError
from tcf.extract.batches import MicroBatch
from tcf.extract.passing import Passage
from tcf.extract.sinks import Sink
from tcf.extract.states import read_file, write_file
from tcf.files import publishing, remove_leftovers
from tcf.manifest import Format, Manifest, differences, read_manifest, seal, verify_files
from tcf.models.calls import Made

__all__ = ["SPILL", "Spill"]

SPILL = Format(
    name="tcf-sweep",
    version=1,
    error=CacheError,
    made_by="tcf extract --checkpoint-layers",
    required={"facts.block": int, "facts.dtype": str},
)


@dataclass(frozen=True)
class Spill:
    """Saves and restores what the passages of a macro-batch have done.

    Attributes:
        folder: the macro-batch's scratch directory.
        settings: what else decides the numbers; work that was saved with other settings is not taken up.
        passages: one a lane.
        sinks: those of each layer.
    """

    folder: Path
    settings: Mapping[str, Any]
    passages: Sequence[Passage]
    sinks: Mapping[int, Sequence[Sink]]

    def save(self, block: int) -> None:
        """Save all that is needed to go on with a block; earlier savings are removed.

        Raises:
            RunError: the disk is full or cannot be written.
        """
        place = self.folder / f"block-{block}"
        with publishing(place, duplicate_is_harmless=True) as staging:
            with _opened(staging / "states.bin", os.O_WRONLY | os.O_CREAT) as file:
                for passage, batch in self._batches():
                    write_file(file, self._states(passage, batch), self._offset(passage, batch))
            for name, rows in self._rows(block):
                with _opened(staging / name, os.O_WRONLY | os.O_CREAT) as file:
                    write_file(file, rows, 0)
            save_file(dict(self._made()), staging / "made.safetensors")
            facts = {"block": block, "dtype": _name(self.passages[0].entering)}
            seal(staging, SPILL, inputs={}, config=dict(self.settings), facts=facts)
        for other in self._saved():
            if other != place:
                shutil.rmtree(other, ignore_errors=True)

    def restore(self) -> int:
        """Take up the newest work that was saved; returns the block to go on with, 0 where there is none.

        What was saved with other settings, or is damaged, is removed with a line on standard error.
        """
        remove_leftovers(self.folder)
        for place in sorted(self._saved(), key=lambda place: -int(place.name.removeprefix("block-"))):
            try:
                manifest = read_manifest(place, SPILL)
                differing = differences(manifest.config, self.settings)
                if differing:
                    raise CacheError(f"{place}: saved with other settings: {differing}")
                verify_files(place, manifest, SPILL, remedy="the blocks are computed anew")
            except TcfError as error:
                print(f"sweep: unfinished work is not taken up, and removed: {error}", file=sys.stderr)
                shutil.rmtree(place, ignore_errors=True)
                continue
            self._load(place, manifest)
            return int(manifest.facts["block"])
        return 0

    def _load(self, place: Path, manifest: Manifest) -> None:
        dtype: torch.dtype = getattr(torch, manifest.facts["dtype"])
        for passage in self.passages:
            passage.entering = dtype
        file = place / "states.bin"
        with _opened(file, os.O_RDONLY) as descriptor:
            for passage, batch in self._batches():
                states = torch.empty((len(batch.rows), batch.length, passage.width), dtype=dtype)
                read_file(descriptor, states, self._offset(passage, batch), file)
                passage.states.put(batch, states)
        for name, rows in self._rows(int(manifest.facts["block"])):
            with _opened(place / name, os.O_RDONLY) as descriptor:
                read_file(descriptor, rows, 0, place / name)
        made = load_file(place / "made.safetensors")
        for passage in self.passages:
            passage.made = [_of(batch, made, passage.lane.device) for batch in passage.batches]

    def _saved(self) -> list[Path]:
        return list(self.folder.glob("block-*"))

    def _batches(self) -> Iterator[tuple[Passage, MicroBatch]]:
        for passage in self.passages:
            for batch in passage.batches:
                yield passage, batch

    def _offset(self, passage: Passage, batch: MicroBatch) -> int:
        return batch.tokens_before * passage.width * passage.entering.itemsize

    def _states(self, passage: Passage, batch: MicroBatch) -> Tensor:
        # Through the passage's own device, where copying to and fro is in order.
        return passage.states.get(batch, passage.lane.device).to("cpu", passage.entering)

    def _rows(self, block: int) -> Iterator[tuple[str, Tensor]]:
        """What the sinks of all layers up to the block have, by file."""
        for layer, sinks in sorted(self.sinks.items()):
            for number, sink in enumerate(sinks if 0 <= layer <= block else ()):
                yield f"layer{layer}-{number}.bin", sink.rows

    def _made(self) -> Iterator[tuple[str, Tensor]]:
        for passage in self.passages:
            for batch, made in zip(passage.batches, passage.made, strict=True):
                for key, value in made.items():
                    yield f"{batch.tokens_before}.{key.block}.{key.place}", value.to("cpu").contiguous()


def _of(batch: MicroBatch, made: Mapping[str, Tensor], device: torch.device) -> dict[Made, Tensor]:
    """What blocks made for a micro-batch."""
    keys = {name: [int(part) for part in name.split(".")] for name in made}
    return {
        Made(block, place): made[name].to(device)
        for name, (tokens_before, block, place) in keys.items()
        if tokens_before == batch.tokens_before
    }


@contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    descriptor = os.open(path, flags, 0o666)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
