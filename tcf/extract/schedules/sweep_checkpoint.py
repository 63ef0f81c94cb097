"""Checkpoints of a sweep, so that a killed process loses no finished blocks: hidden states and the results so far.

A directory `block-N` in the macro-batch's scratch directory holds everything needed to resume with block N, counted
from 0. It is published like every other directory, so it is complete or missing; the previous one is then removed.
"""

import logging
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from tcf.common.devices import dtype_name
from tcf.common.errors import CacheError, TcfError
from tcf.common.files import publishing, remove_leftovers
from tcf.common.integrity.verified_files import verify_files
from tcf.common.manifest import Format, Manifest, differences, read_manifest, seal
from tcf.encoders.split.block_calls import BlockOutput
from tcf.extract.micro_batches import MicroBatch
from tcf.extract.schedules.hidden_states import read_file, write_file
from tcf.extract.schedules.sweep_pass import ForwardPass
from tcf.extract.sinks import Sink

__all__ = ["SweepCheckpoint"]

logger = logging.getLogger(__name__)

_CHECKPOINT = Format(
    name="tcf-sweep",
    version=1,
    error=CacheError,
    made_by="tcf extract --checkpoint-layers",
    required={"facts.block": int, "facts.dtype": str},
)


@dataclass(frozen=True)
class SweepCheckpoint:
    """Saves and restores the state of a macro-batch's passes.

    Attributes:
        folder: the macro-batch's scratch directory.
        settings: settings that the saved work depends on; work saved with other settings is not resumed.
        tokens_per_batch: how micro-batches are cut. Without trees it does not affect the order of the saved states, so
            it must be equal only if blocks return something that later blocks need for the same micro-batch; for
            trees, `settings` say how states are ordered.
        passes: one per lane.
        sinks: the sinks of each layer.
    """

    folder: Path
    settings: Mapping[str, Any]
    tokens_per_batch: int
    passes: Sequence[ForwardPass]
    sinks: Mapping[int, Sequence[Sink]]

    def save(self, block: int) -> None:
        """Save everything needed to resume with a block, and remove earlier checkpoints.

        Raises:
            RunError: the disk is full or cannot be written.
        """
        place = self.folder / f"block-{block}"
        with publishing(place, duplicate_is_harmless=True) as staging:
            with _opened(staging / "states.bin", os.O_WRONLY | os.O_CREAT) as file:
                for forward_pass, batch in self._batches():
                    write_file(file, self._states(forward_pass, batch), self._offset(forward_pass, batch))
            for name, sink in self._given(block):
                with _opened(staging / name, os.O_WRONLY | os.O_CREAT) as file:
                    write_file(file, sink.rows, 0)
            made = dict(self._made())
            _save_tensors(made, staging / "made.safetensors")
            facts = {"block": block, "dtype": dtype_name(self.passes[0].entering)}
            seal(staging, _CHECKPOINT, inputs={}, config=self._config(bool(made)), facts=facts)
        for other in self._saved():
            if other != place:
                shutil.rmtree(other, ignore_errors=True)

    def restore(self) -> int:
        """Restore the newest checkpoint; returns the block to resume with, 0 if there is no checkpoint.

        Checkpoints that are damaged or were saved with other settings are removed with a warning.
        """
        remove_leftovers(self.folder)
        for place in sorted(self._saved(), key=lambda place: -int(place.name.removeprefix("block-"))):
            try:
                manifest = read_manifest(place, _CHECKPOINT)
                differing = differences(manifest.config, self._config("tokens_per_batch" in manifest.config))
                if differing:
                    raise CacheError(f"{place}: saved with other settings: {differing}")
                verify_files(place, manifest, _CHECKPOINT, remedy="its blocks are computed again")
            except TcfError as error:
                logger.warning(f"sweep: unfinished work cannot be resumed and was removed: {error}")
                shutil.rmtree(place, ignore_errors=True)
                continue
            self._load(place, manifest)
            block = int(manifest.facts["block"])
            logger.info(f"sweep: resuming with block {block + 1}; the blocks before it are saved in {place}")
            return block
        return 0

    def _config(self, made: bool) -> dict[str, Any]:
        return {**self.settings, "tokens_per_batch": self.tokens_per_batch} if made else dict(self.settings)

    def _load(self, place: Path, manifest: Manifest) -> None:
        dtype: torch.dtype = getattr(torch, manifest.facts["dtype"])
        for forward_pass in self.passes:
            forward_pass.entering = dtype
        file = place / "states.bin"
        with _opened(file, os.O_RDONLY) as descriptor:
            for forward_pass, batch in self._batches():
                states = torch.empty((*batch.shape, forward_pass.width), dtype=dtype)
                read_file(descriptor, states, self._offset(forward_pass, batch), file)
                forward_pass.states.put(batch, states)
        for name, sink in self._given(int(manifest.facts["block"])):
            with _opened(place / name, os.O_RDONLY) as descriptor:
                read_file(descriptor, sink.rows, 0, place / name)
            sink.mark_restored()
        made = load_file(place / "made.safetensors")
        for forward_pass in self.passes:
            forward_pass.restored = [_of(batch, made, forward_pass.lane.device) for batch in forward_pass.batches]

    def _saved(self) -> list[Path]:
        return list(self.folder.glob("block-*"))

    def _batches(self) -> Iterator[tuple[ForwardPass, MicroBatch]]:
        for forward_pass in self.passes:
            for batch in forward_pass.batches:
                yield forward_pass, batch

    def _offset(self, forward_pass: ForwardPass, batch: MicroBatch) -> int:
        return batch.states_before * forward_pass.width * forward_pass.entering.itemsize

    def _states(self, forward_pass: ForwardPass, batch: MicroBatch) -> Tensor:
        # Through the pass's own device, whose streams order the copies in both directions.
        return forward_pass.states.get(batch, forward_pass.lane.device).to("cpu", forward_pass.entering)

    def _given(self, block: int) -> Iterator[tuple[str, Sink]]:
        """The sinks of all layers up to the block, which are complete, with their file names."""
        for layer, sinks in sorted(self.sinks.items()):
            for number, sink in enumerate(sinks if 0 <= layer <= block else ()):
                yield f"layer{layer}-{number}.bin", sink

    def _made(self) -> Iterator[tuple[str, Tensor]]:
        for forward_pass in self.passes:
            for batch, forward in zip(forward_pass.batches, forward_pass.forwards, strict=True):
                for key, value in forward.made.items():
                    yield f"{batch.states_before}.{key.block}.{key.place}", value.to("cpu").contiguous()


def _of(batch: MicroBatch, made: Mapping[str, Tensor], device: torch.device) -> dict[BlockOutput, Tensor]:
    """What earlier blocks returned for later ones, for one micro-batch."""
    keys = {name: [int(part) for part in name.split(".")] for name in made}
    return {
        BlockOutput(block, place): made[name].to(device)
        for name, (states_before, block, place) in keys.items()
        if states_before == batch.states_before
    }


def _save_tensors(tensors: Mapping[str, Tensor], file: Path) -> None:
    try:
        save_file(dict(tensors), file)
    except SafetensorError as error:  # raised for a full disk
        raise OSError(" ".join(str(error).split())) from None


@contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    descriptor = os.open(path, flags, 0o666)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
