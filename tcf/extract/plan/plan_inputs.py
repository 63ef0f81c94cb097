"""What a plan is made from, and what follows from it whatever the schedule: bytes a text, workspace, seconds."""

import math
from dataclasses import dataclass
from functools import cached_property

import torch

from tcf.config.extract import ExtractConfig
from tcf.encoders.blocks import LAST
from tcf.extract.plan.machine import Machine, Memory
from tcf.extract.plan.measured_rates import Rates
from tcf.extract.plan.model_size import Geometry
from tcf.extract.plan.workload import Workload

__all__ = ["MOST_ROWS", "PlanInputs"]

MOST_ROWS = 2**20  # of a macro-batch: what is lost if the work is interrupted
_MiB = 2**20
# What torch and its threads take once they compute, beyond tensors, with oneDNN and without (measured on 2 cores).
_TORCH, _TORCH_WITHOUT_ONEDNN = 100 * _MiB, 10 * _MiB
_TOKEN_BYTES = 2**30  # of a shard of token states, at most
_KEY = 16
_CALIBRATION_SECONDS, _CALIBRATION_CALLS = 5.0, 3  # as of the calibration run for the micro-batch


@dataclass(frozen=True)
class PlanInputs:
    """A model, a catalogue, a machine and settings.

    Attributes:
        model: the model's name, for people.
        geometry: sizes of its parts.
        workload: what there is to compute.
        machine: what there is to compute with.
        rates: how fast that is.
        config: settings.
    """

    model: str
    geometry: Geometry
    workload: Workload
    machine: Machine
    rates: Rates
    config: ExtractConfig

    @property
    def devices(self) -> tuple[str, ...]:
        """To compute on."""
        return self.machine.devices

    @property
    def n_devices(self) -> int:
        """How many."""
        return len(self.machine.devices)

    @property
    def on_cpu(self) -> bool:
        """Whether they are the machine's own processor."""
        return self.machine.on_cpu

    @property
    def may_pack(self) -> bool:
        """Whether a sweep may lay out a block's weights for oneDNN: on one CPU, for families that are tested."""
        known = self.geometry.family not in ("other", "words")
        return self.uses_onednn and self.n_devices == 1 and known

    @property
    def uses_onednn(self) -> bool:
        """Whether the processor computes, and oneDNN multiplies matrices of this type on it."""
        return self.on_cpu and self.geometry.dtype in self.machine.onednn_types

    @property
    def ram(self) -> Memory:
        """The machine's own memory."""
        return self.machine.memory["cpu"]

    @property
    def gpu_limit(self) -> int:
        """Bytes that may be used on every GPU."""
        return min(self.machine.memory[name].limit for name in self.devices)

    @property
    def base(self) -> int:
        """Bytes of RAM for the program itself."""
        return self.machine.base + (_TORCH if self.uses_onednn or not self.on_cpu else _TORCH_WITHOUT_ONEDNN)

    @cached_property
    def flops(self) -> int:
        """Of the whole extraction."""
        return self.geometry.flops(self.workload.tokens, self.workload.squares)

    def compute_seconds(self, rate: float) -> float:
        """Of all devices working at once; names of the one processor share it.

        Args:
            rate: floating-point operations a second of one.
        """
        return self.flops / rate / (1 if self.on_cpu else self.n_devices)

    @property
    def state_row(self) -> float:
        """Bytes of the hidden states of a text."""
        return self.workload.tokens_a_text * self.geometry.width * self.geometry.dtype.itemsize

    def _width(self, layer: int) -> int:
        return self.geometry.last_width if layer == LAST else self.geometry.width

    @cached_property
    def vector_row(self) -> int:
        """Bytes of the vectors of a text, of all layers."""
        return sum(map(self._width, self.config.pooled_layers)) * _dtype(self.config.storage).itemsize

    @cached_property
    def token_row(self) -> float:
        """Bytes of the stored token states of a text."""
        if self.config.token_states is None:
            return 0.0
        width = self._width(self.config.token_states) * _dtype(self.config.token_storage).itemsize
        return self.workload.tokens_a_text * width

    @property
    def output_row(self) -> float:
        """Bytes of all that is stored of a text, while it is in memory."""
        return self.vector_row + self.token_row

    @property
    def output_bytes(self) -> int:
        """What the caches will grow by: rows with their keys, text maps, and Parquet files."""
        caches = len(self.config.pooled_layers) + (self.config.token_states is not None)
        offsets = 8 * (self.config.token_states is not None)
        rows = self.workload.sequences * (self.output_row + _KEY * caches + offsets)
        text_maps = self.workload.texts * 2 * _KEY * caches
        parquet = self.workload.items * self.vector_row if self.config.parquet else 0
        return round(rows) + text_maps + parquet

    def largest_batch_tokens(self, micro: int, rows: int) -> int:
        """Tokens of the largest micro-batch that there will be: texts of one length are no more.

        Args:
            micro: tokens that it may have.
            rows: texts of a shard.
        """
        share = min(1.0, rows / max(1, self.workload.sequences))
        return min(micro, max(self.workload.longest, math.ceil(self.workload.group_tokens * share)))

    def workspace(self, tokens: int) -> int:
        """Bytes that a block needs for a micro-batch: states, queries, keys and values, feed-forward; no scores."""
        geometry = self.geometry
        numbers = 4 * geometry.width + 2 * geometry.inner_width
        return tokens * (numbers * geometry.dtype.itemsize + 4 * geometry.width)

    @property
    def shard_rows(self) -> int:
        """Rows of a shard where nothing else asks for more: many texts of each length keep a device busy."""
        if self.config.shard_rows is not None:
            return self.config.shard_rows
        rows = 8192 if self.on_cpu else 65_536
        if self.config.token_states is None:
            return rows
        text = self.config.max_tokens * self.geometry.width * _dtype(self.config.token_storage).itemsize
        return max(1, min(rows, _TOKEN_BYTES // text))

    def calibration_tokens(self, room: float) -> int | None:
        """Most tokens that the calibration run for the micro-batch will take at once.

        Args:
            room: bytes that its workspace may have.

        Returns:
            None if not even the smallest run fits.
        """
        size, last = (512, 8192) if self.on_cpu else (4096, 262_144)
        found, spent = None, 0.0
        while size <= last and self.workspace(size) <= room and spent <= _CALIBRATION_SECONDS:
            found = size
            spent += _CALIBRATION_CALLS * self.geometry.flops(size, 12 * size) / self.rates.flops
            size *= 2
        return found

    def steady_tokens(self, room: float) -> int:
        """Tokens at once without a calibration run: enough to keep a device busy, and within a tenth of its memory.

        Args:
            room: bytes of the device.
        """
        if self.config.tokens_per_batch is not None:
            return self.config.tokens_per_batch
        tokens = 2048 if self.on_cpu else 16_384
        while tokens > 256 and self.workspace(tokens) > room / 10:
            tokens //= 2
        return tokens

    def macro_batches(self, rows: int) -> int:
        """How many, of so many rows each."""
        return -(-self.workload.sequences // rows)

    def states(self, rows: int) -> int:
        """Bytes of the hidden states of a macro-batch."""
        return math.ceil(min(rows, self.workload.sequences) * self.state_row)

    def outputs(self, rows: int) -> int:
        """Bytes of results in memory: one shard is being saved while the next is computed."""
        at_once = min(2, self.macro_batches(rows))
        return math.ceil(at_once * min(rows, self.workload.sequences) * self.output_row)


def _dtype(name: str) -> torch.dtype:
    found: torch.dtype = getattr(torch, name)
    return found
