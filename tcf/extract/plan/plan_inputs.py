"""Inputs of a plan, and the quantities that do not depend on the schedule: bytes per text, workspace, seconds."""

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

MOST_ROWS = 2**20  # of a macro-batch, which is lost if the work is interrupted
_MiB = 2**20
# Memory of torch and its threads while they compute, beyond tensors, with oneDNN and without (measured on 2 cores).
_TORCH, _TORCH_WITHOUT_ONEDNN = 100 * _MiB, 10 * _MiB
_TOKEN_BYTES = 2**30  # maximum size of a shard of token states
_KEY = 16  # bytes
# Of a node, and for each token of a text: keys, masks, paths, and rotary tables of a head of 128 numbers (measured).
_NODE, _NODE_AND_TOKEN = 600, 2
_CALIBRATION_SECONDS, _CALIBRATION_CALLS = 5.0, 3  # of the calibration run for the micro-batch


@dataclass(frozen=True)
class PlanInputs:
    """A model, a catalogue, a machine and settings.

    Attributes:
        model: the model's name, for messages.
        geometry: sizes of the model's parts.
        workload: what is to be computed.
        machine: devices, memory and disk space.
        rates: speed of the machine.
        config: settings.
        vector_widths: width of the vectors of each layer.
    """

    model: str
    geometry: Geometry
    workload: Workload
    machine: Machine
    rates: Rates
    config: ExtractConfig
    vector_widths: tuple[int, ...]

    @property
    def devices(self) -> tuple[str, ...]:
        """Names of the devices to compute on."""
        return self.machine.devices

    @property
    def n_devices(self) -> int:
        """Number of devices."""
        return len(self.machine.devices)

    @property
    def on_cpu(self) -> bool:
        """Whether the CPU computes."""
        return self.machine.on_cpu

    @property
    def may_pack(self) -> bool:
        """Whether a sweep may pack a block's weights for oneDNN: on one CPU, for tested families."""
        known = self.geometry.family not in ("other", "words")
        return self.uses_onednn and self.n_devices == 1 and known

    @property
    def uses_onednn(self) -> bool:
        """Whether the CPU computes and multiplies matrices of this type through oneDNN."""
        return self.on_cpu and self.geometry.dtype in self.machine.onednn_types

    @property
    def ram(self) -> Memory:
        """The machine's RAM."""
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
        """Floating-point operations of the whole extraction."""
        work = self.workload
        return self.geometry.flops(work.computed, work.squares - work.shared_squares)

    def compute_seconds(self, rate: float) -> float:
        """Seconds to compute with all devices at once; several `cpu` share one processor.

        Args:
            rate: floating-point operations per second of one device.
        """
        return self.flops / rate / (1 if self.on_cpu else self.n_devices)

    @property
    def state_row(self) -> float:
        """Bytes of the hidden states of a text, those that it shares left out if its model is known to share them."""
        work = self.workload
        tokens = work.tokens if self.geometry.family == "other" else work.computed
        state = self.geometry.width * self.geometry.dtype.itemsize
        if work.shared:  # a sweep also keeps the attention and the positions of every node
            state += _NODE + math.ceil(_NODE_AND_TOKEN * work.tokens_a_text)
        return tokens / max(1, work.sequences) * state

    @cached_property
    def vector_row(self) -> int:
        """Bytes of the vectors of a text, over all layers."""
        return sum(self.vector_widths) * _dtype(self.config.storage).itemsize

    @cached_property
    def token_row(self) -> float:
        """Bytes of the stored token states of a text."""
        if self.config.token_states is None:
            return 0.0
        width = self.geometry.last_width if self.config.token_states == LAST else self.geometry.width
        return self.workload.tokens_a_text * width * _dtype(self.config.token_storage).itemsize

    @property
    def output_row(self) -> float:
        """Bytes in memory of all results of a text."""
        return self.vector_row + self.token_row

    @property
    def output_bytes(self) -> int:
        """Bytes that the output will grow by: rows with their keys, text maps, and Parquet files."""
        caches = len(self.config.pooled_layers) + (self.config.token_states is not None)
        offsets = 8 * (self.config.token_states is not None)
        rows = self.workload.sequences * (self.output_row + _KEY * caches + offsets)
        text_maps = self.workload.texts * 2 * _KEY * caches
        parquet = self.workload.items * self.vector_row if self.config.parquet else 0
        return round(rows) + text_maps + parquet

    def largest_batch_tokens(self, micro: int, rows: int) -> int:
        """Tokens of the largest micro-batch that will occur; without shared prefixes, it holds texts of one length.

        Args:
            micro: maximum number of tokens of a micro-batch.
            rows: texts of a shard.
        """
        share = min(1.0, rows / max(1, self.workload.sequences))
        work = self.workload
        most = work.computed if work.shared else work.group_tokens
        return min(micro, max(work.longest, math.ceil(most * share)))

    def workspace(self, tokens: int) -> int:
        """Bytes that a block needs for a micro-batch: states, queries, keys, values and feed-forward, but no scores."""
        geometry = self.geometry
        numbers = 4 * geometry.width + 2 * geometry.inner_width
        if self.workload.shared:  # up to three keys and values for each node, and all of attention in another order
            numbers = max(numbers, 13 * geometry.width)
        return tokens * (numbers * geometry.dtype.itemsize + 4 * geometry.width)

    @property
    def shard_rows(self) -> int:
        """Default rows of a shard: enough texts of each length to keep a device busy."""
        if self.config.shard_rows is not None:
            return self.config.shard_rows
        rows = 8192 if self.on_cpu else 65_536
        if self.config.token_states is None:
            return rows
        text = self.config.max_tokens * self.geometry.width * _dtype(self.config.token_storage).itemsize
        return max(1, min(rows, _TOKEN_BYTES // text))

    def calibration_tokens(self, room: float) -> int | None:
        """The largest micro-batch, in tokens, that the calibration run will try.

        Args:
            room: bytes available for its workspace.

        Returns:
            The number of tokens; None if not even the smallest run fits.
        """
        size, last = (512, 8192) if self.on_cpu else (4096, 262_144)
        found, spent = None, 0.0
        while size <= last and self.workspace(size) <= room and spent <= _CALIBRATION_SECONDS:
            found = size
            spent += _CALIBRATION_CALLS * self.geometry.flops(size, 12 * size) / self.rates.flops
            size *= 2
        return found

    def steady_tokens(self, room: float) -> int:
        """Micro-batch tokens without a calibration run: enough to keep a device busy, in at most a tenth of its memory.

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
        """Number of macro-batches of `rows` texts each."""
        return -(-self.workload.sequences // rows)

    def states(self, rows: int) -> int:
        """Bytes of the hidden states of a macro-batch."""
        return math.ceil(min(rows, self.workload.sequences) * self.state_row)

    def outputs(self, rows: int) -> int:
        """Bytes of results in memory: one shard is saved while the next is computed."""
        at_once = min(2, self.macro_batches(rows))
        return math.ceil(at_once * min(rows, self.workload.sequences) * self.output_row)


def _dtype(name: str) -> torch.dtype:
    found: torch.dtype = getattr(torch, name)
    return found
