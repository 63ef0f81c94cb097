"""Estimates of what each schedule needs for a model on a machine, whether or not it fits."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from tcf.common.errors import ConfigError
from tcf.common.units import as_bytes
from tcf.extract.plan.placement import place_blocks, place_model
from tcf.extract.plan.plan import Schedule, StatesPlace, memory_in_words
from tcf.extract.plan.plan_inputs import PlanInputs

__all__ = [
    "CandidatePlan",
    "MemoryTooSmall",
    "Parts",
    "Shortfall",
    "dispatch",
    "pipeline",
    "resident",
    "shortfall",
    "too_small",
]

_WAITING = 3  # micro-batches queued before each device of a pipeline, including the one being handed over

Parts = dict[str, dict[str, int]]


class MemoryTooSmall(ConfigError):
    """A schedule does not fit the memory that it may use; the text says what it needs, and what there is."""


@dataclass(frozen=True)
class Shortfall:
    """A memory that is too small.

    Attributes:
        needed: what is needed, in words: bytes, place and purpose.
        available: the bytes that may be used, in words.
    """

    needed: str
    available: str

    def __str__(self) -> str:
        """What is needed and what there is, for an error."""
        return f"{self.needed}, found {self.available} to use"


@dataclass(frozen=True)
class CandidatePlan:
    """What one schedule would need; attributes are named as in `Plan`.

    Attributes:
        start_seconds: reading weights before anything is computed; not part of `read_seconds`.
        slack_seconds: time a device waits for other devices, or for the first streamed block.
    """

    schedule: Schedule
    around: str
    blocks: tuple[str, ...]
    rows: int
    micro: int | None
    parts: Parts
    weight_bytes_read: int
    start_seconds: float
    compute_seconds: float
    read_seconds: float = 0.0
    slack_seconds: float = 0.0
    overlaps: bool = True
    packs: bool = False
    hidden_states: StatesPlace = "device"
    hidden_state_bytes: int = 0
    spill_bytes: int = 0
    dispatch_map: Mapping[str, str] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """Duration of the whole extraction."""
        both = (self.compute_seconds, self.read_seconds)
        return self.start_seconds + self.slack_seconds + (max(both) if self.overlaps else sum(both))


def resident(inputs: PlanInputs) -> CandidatePlan:
    """The whole model on each device; the devices share the shards."""
    geometry, copies = inputs.geometry, inputs.n_devices
    limit = inputs.ram.limit // copies if inputs.on_cpu else inputs.gpu_limit
    room = limit - geometry.compute_bytes - (inputs.base if inputs.on_cpu else 0)
    calibration = None if geometry.family == "words" else inputs.calibration_tokens(room)
    # If even the smallest calibration run does not fit, a smaller micro-batch may.
    tokens = inputs.config.tokens_per_batch or calibration or inputs.steady_tokens(10 * room)
    steady = inputs.config.tokens_per_batch if calibration else tokens
    # The calibration run uses this many tokens, however short the texts are.
    largest = tokens if steady is None else inputs.largest_batch_tokens(tokens, inputs.shard_rows)
    outputs, workspace = inputs.outputs(inputs.shard_rows), inputs.workspace(largest)
    if inputs.on_cpu:
        # Blocks are packed into memory of their own; the weights around them stay mapped from the file, unless cast.
        mapped = geometry.around.compute_bytes if geometry.blocks and not geometry.casts else 0
        weights = geometry.compute_bytes - mapped
        parts: Parts = {"cpu": _times(copies, inputs.base, weights, workspace, outputs)}
    else:
        # Weights pass through RAM on their way to a device.
        parts = {name: {"weights": geometry.compute_bytes, "workspace": workspace} for name in inputs.devices}
        parts["cpu"] = _times(copies, inputs.base, geometry.compute_bytes, 0, outputs)
    return CandidatePlan(
        schedule="resident",
        around=inputs.devices[0],
        blocks=(inputs.devices[0],) * len(geometry.blocks),
        rows=inputs.shard_rows,
        micro=None if geometry.family == "words" else steady,
        parts=parts,
        weight_bytes_read=geometry.stored_bytes,
        start_seconds=geometry.stored_bytes / inputs.rates.storage,
        compute_seconds=inputs.compute_seconds(inputs.rates.flops),
        hidden_state_bytes=math.ceil(tokens * geometry.width * geometry.dtype.itemsize),
    )


def _times(copies: int, base: int, weights: int, workspace: int, outputs: int) -> dict[str, int]:
    """Memory of several processes with a copy of the model each."""
    one = {"base": base, "weights": weights, "workspace": workspace, "outputs": outputs}
    return {name: size * copies for name, size in one.items() if size}


def pipeline(inputs: PlanInputs) -> CandidatePlan:
    """Layer ranges distributed over several devices, through which micro-batches flow.

    Raises:
        ConfigError: there is only one device, or the model's blocks are not recognised.
    """
    geometry, n = inputs.geometry, inputs.n_devices
    if n < 2:
        raise ConfigError(
            f"--schedule pipeline: expected several --devices, found {inputs.devices[0]} alone; pass --schedule sweep"
        )
    _need_blocks(inputs, "pipeline")
    names = [f"{number}" for number in range(n)]  # numbers, as a device name may occur twice
    limit = inputs.ram.limit // n if inputs.on_cpu else inputs.gpu_limit
    micro = inputs.steady_tokens(limit)
    # The first and the last device run what lies around the blocks; a few micro-batches wait before each device.
    around = geometry.around.compute_bytes
    waiting = _WAITING * micro * geometry.width * geometry.dtype.itemsize
    working = inputs.workspace(inputs.largest_batch_tokens(micro, inputs.shard_rows)) + waiting
    room = limit - working - around - (inputs.base if inputs.on_cpu else 0)
    stages = _spread_evenly(inputs, names, room)
    blocks = tuple(inputs.devices[int(stage)] if stage in names else stage for stage in stages)
    on_device = [
        {"weights": _stage_bytes(inputs, stages, name) + around * (name in (names[0], names[-1])), "workspace": working}
        for name in names
    ]
    outputs = inputs.outputs(inputs.shard_rows)
    if inputs.on_cpu:
        parts = {"cpu": {**_summed(on_device), "base": inputs.base, "outputs": outputs}}
    else:
        parts = dict(zip(inputs.devices, on_device, strict=True))
        loading = max(geometry.largest_stored, geometry.around.stored_bytes)
        parts["cpu"] = {"base": inputs.base, "slots": loading, "outputs": outputs}
    micro_batches = max(1, inputs.workload.computed // micro)
    slowest = n * max(stages.count(name) for name in names) / max(1, len(stages))
    compute = inputs.compute_seconds(inputs.rates.streamed_flops) * (1 if inputs.on_cpu else slowest)
    return CandidatePlan(
        schedule="pipeline",
        around=inputs.devices[0],
        blocks=blocks,
        rows=inputs.shard_rows,
        micro=micro,
        parts=parts,
        weight_bytes_read=geometry.stored_bytes,
        start_seconds=geometry.stored_bytes / inputs.rates.storage,
        compute_seconds=compute,
        # Once per macro-batch, the last device waits until the first micro-batch has passed the others.
        slack_seconds=compute * min(1.0, (n - 1) * inputs.macro_batches(inputs.shard_rows) / micro_batches),
        hidden_state_bytes=math.ceil(2 * micro * geometry.width * geometry.dtype.itemsize),
    )


def _spread_evenly(inputs: PlanInputs, names: list[str], room: int) -> tuple[str, ...]:
    """The stage of each block: equally many blocks per stage if they fit, else the first stages filled up."""
    stack = inputs.geometry.stack
    if stack is None:
        return ()
    each = -(-len(stack) // len(names)) * inputs.geometry.largest_compute
    for most in (min(room, each), room):
        stages = place_blocks(stack, names, {**dict.fromkeys(names, most), "cpu": 0})
        if set(stages) <= set(names):
            break
    return stages


def _stage_bytes(inputs: PlanInputs, stages: tuple[str, ...], name: str) -> int:
    return sum(b.compute_bytes for b, stage in zip(inputs.geometry.blocks, stages, strict=True) if stage == name)


def _summed(parts: list[dict[str, int]]) -> dict[str, int]:
    return {name: sum(part[name] for part in parts) for name in parts[0]}


def dispatch(inputs: PlanInputs) -> CandidatePlan:
    """Accelerate's offloading: its hooks fetch weights that are not on a device, for every micro-batch."""
    geometry = inputs.geometry
    limit = inputs.ram.limit if inputs.on_cpu else inputs.gpu_limit
    micro = inputs.steady_tokens(limit)
    gpus = [] if inputs.on_cpu else list(dict.fromkeys(inputs.devices))
    outputs, workspace = (
        inputs.outputs(inputs.shard_rows),
        inputs.workspace(inputs.largest_batch_tokens(micro, inputs.shard_rows)),
    )
    room = {name: inputs.machine.memory[name].limit - workspace for name in gpus}
    room["cpu"] = inputs.ram.limit - inputs.base - outputs - (workspace if inputs.on_cpu else 0)
    found = {} if geometry.model is None else place_model(geometry.model, gpus, room)
    modules = _bytes_of(inputs, found)
    sizes = {at: sum(modules[name] for name in found if found[name] == at) for at in (*gpus, "cpu", "disk")}
    streamed = sizes["disk"] + (0 if inputs.on_cpu else sizes["cpu"])
    passes = max(1, -(-inputs.workload.computed // micro))
    parts: Parts = {name: {"weights": sizes[name], "workspace": workspace} for name in gpus}
    parts["cpu"] = {"base": inputs.base, "weights": sizes["cpu"], "outputs": outputs}
    if streamed:
        here = gpus[0] if gpus else "cpu"
        parts[here]["slots"] = _largest_fetched(inputs, found, here)
    if inputs.on_cpu:
        parts["cpu"]["workspace"] = workspace
    ratio = geometry.stored_bytes / max(1, geometry.compute_bytes)
    from_disk = round(sizes["disk"] * ratio)
    copied = streamed / inputs.rates.copy if inputs.rates.copy else 0.0
    return CandidatePlan(
        schedule="dispatch",
        around=inputs.devices[0],
        blocks=(),
        rows=inputs.shard_rows,
        micro=micro,
        parts=parts,
        weight_bytes_read=geometry.stored_bytes + from_disk * (passes - 1),
        start_seconds=(geometry.stored_bytes - from_disk) / inputs.rates.storage,
        compute_seconds=inputs.flops / inputs.rates.streamed_flops,
        read_seconds=passes * (from_disk / inputs.rates.storage + copied),
        overlaps=False,
        dispatch_map=found,
    )


def _largest_fetched(inputs: PlanInputs, found: Mapping[str, str], here: str) -> int:
    """Bytes of the largest module that accelerate's hooks fetch at once; submodules are fetched separately."""
    sizes: dict[str, int] = {}
    for full, weight in inputs.geometry.model.named_parameters() if inputs.geometry.model is not None else ():
        if found[_entry(full, found)] != here:
            owner = full.rpartition(".")[0]
            sizes[owner] = sizes.get(owner, 0) + weight.numel() * weight.dtype.itemsize
    return max(sizes.values(), default=0)


def _entry(weight: str, found: Mapping[str, str]) -> str:
    """The entry of accelerate's map that covers a weight."""
    return next(name for name in found if weight == name or weight.startswith(f"{name}.") or not name)


def _bytes_of(inputs: PlanInputs, found: Mapping[str, str]) -> dict[str, int]:
    """Bytes of the weights of each entry of accelerate's map; tied weights count once."""
    model, seen = inputs.geometry.model, set[int]()
    sizes = dict.fromkeys(found, 0)
    for full, weight in model.named_parameters() if model is not None else ():
        sizes[_entry(full, found)] += weight.numel() * weight.dtype.itemsize * (id(weight) not in seen)
        seen.add(id(weight))
    return sizes


def _need_blocks(inputs: PlanInputs, schedule: Schedule) -> None:
    if not inputs.geometry.blocks:
        other = "resident" if inputs.geometry.family == "words" else "resident or dispatch"
        raise ConfigError(
            f"--schedule {schedule}: expected a model that can be run block by block, found {inputs.model}, whose "
            f"blocks are not recognised; pass --schedule {other}"
        )


def shortfall(inputs: PlanInputs, candidate: CandidatePlan) -> Shortfall | None:
    """Which memory is too small; None if everything fits."""
    if candidate.schedule == "pipeline" and not set(candidate.blocks) <= set(inputs.devices):
        needed = inputs.geometry.compute_bytes
        limits = ", ".join(as_bytes(inputs.machine.memory[name].limit) for name in inputs.devices)
        return Shortfall(f"{as_bytes(needed)} for all blocks together on {', '.join(inputs.devices)}", limits)
    return too_small(inputs, candidate.parts)


def too_small(inputs: PlanInputs, parts: Parts) -> Shortfall | None:
    """The first place that is too small for its parts; None if all are large enough."""
    for place, needed in parts.items():
        total, limit = sum(needed.values()), inputs.machine.memory[place].limit
        if total > limit:
            return Shortfall(f"{as_bytes(total)} on {place} ({memory_in_words(needed)})", as_bytes(limit))
    return None
