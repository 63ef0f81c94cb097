"""Estimates a sweep: the size of a macro-batch, and where its hidden states and the model's blocks are kept."""

import math
from contextlib import suppress
from dataclasses import dataclass, replace

from tcf.common.errors import ConfigError
from tcf.common.units import as_bytes
from tcf.extract.plan.estimates import CandidatePlan, MemoryTooSmall, Parts, too_small
from tcf.extract.plan.placement import place_blocks
from tcf.extract.plan.plan import StatesPlace
from tcf.extract.plan.plan_inputs import MOST_ROWS, PlanInputs

__all__ = ["sweep"]

# Reading may take this share of the computing time, so that it stays hidden even if storage is slower than measured.
_READING = 0.05
_FEWEST = 256  # tokens of the smallest micro-batch
_SLOTS = 2  # buffers for the largest block: one computes while the next is read


@dataclass(frozen=True)
class _Room:
    """Bytes left after the memory that every sweep needs.

    Attributes:
        device: on each GPU; 0 if the CPU computes.
        ram: in RAM.
        disk: on the disk that hidden states would be spilled to.
    """

    device: int
    ram: int
    disk: float


def sweep(inputs: PlanInputs) -> CandidatePlan:
    """Blocks outside, micro-batches inside: each block runs all micro-batches while the next block is read.

    Raises:
        ConfigError: the model's blocks are not recognised, or a device is too small for the memory always needed.
    """
    geometry = inputs.geometry
    if not geometry.blocks:
        other = "resident" if geometry.family == "words" else "dispatch"
        raise ConfigError(
            f"--schedule sweep: expected a model that can be run block by block, found {inputs.model}, whose blocks "
            f"are not recognised; pass --schedule {other}"
        )
    micro, packs, parts = _fitting_micro_batch(inputs)
    room = _room(inputs, parts)
    rows, place = _macro_batch(inputs, room)
    _put_states(inputs, parts, rows, place)
    blocks = _kept(inputs, parts) if inputs.macro_batches(rows) > 1 else ("disk",) * len(geometry.blocks)
    _put_kept(inputs, parts, blocks)
    return _candidate(inputs, micro, rows, place, blocks, parts, packs=packs)


def _fitting_micro_batch(inputs: PlanInputs) -> tuple[int, bool, Parts]:
    """Tokens of a micro-batch (halved until they fit, unless requested), whether to pack, and the memory needed.

    Raises:
        ConfigError: not even the smallest micro-batch fits.
    """
    micro = inputs.steady_tokens(inputs.ram.limit if inputs.on_cpu else inputs.gpu_limit)
    while micro >= 2 * _FEWEST and inputs.config.tokens_per_batch is None:
        with suppress(ConfigError):
            return micro, *_packed_if_it_fits(inputs, micro)
        micro //= 2
    return micro, *_packed_if_it_fits(inputs, micro)


def _packed_if_it_fits(inputs: PlanInputs, micro: int) -> tuple[bool, Parts]:
    """Whether weights are packed for oneDNN, and the memory needed for any macro-batch.

    Raises:
        ConfigError: it does not fit, even without packing.
    """
    if inputs.may_pack:
        with suppress(ConfigError):
            return True, _fixed_memory(inputs, micro, packs=True)
    return False, _fixed_memory(inputs, micro, packs=False)


def _fixed_memory(inputs: PlanInputs, micro: int, *, packs: bool) -> Parts:
    """Memory needed for any macro-batch.

    Raises:
        ConfigError: it does not fit.
    """
    geometry, copies = inputs.geometry, inputs.n_devices
    # If the CPU casts the weights, the buffer they were read into is free again at once.
    n_stored = 1 if inputs.on_cpu and geometry.casts else _SLOTS
    stored, compute = n_stored * geometry.largest_stored, _SLOTS * geometry.largest_compute
    rows = inputs.config.shard_rows or inputs.workload.sequences
    around, workspace = geometry.around.compute_bytes, inputs.workspace(inputs.largest_batch_tokens(micro, rows))
    if inputs.on_cpu:
        slots = stored + (compute if geometry.casts else 0) + (geometry.largest_compute if packs else 0)
        parts: Parts = {
            "cpu": {"slots": slots, "weights": around, "base": inputs.base, "workspace": workspace * copies}
        }
    else:
        on_device = compute + (geometry.largest_stored if geometry.casts else 0)
        parts = {name: {"slots": on_device, "weights": around, "workspace": workspace} for name in inputs.devices}
        parts["cpu"] = {"slots": stored, "base": inputs.base}
    lacking = too_small(inputs, parts)
    if lacking is not None:
        raise MemoryTooSmall(str(lacking))
    return parts


def _room(inputs: PlanInputs, parts: Parts) -> _Room:
    ram = inputs.ram.limit - sum(parts["cpu"].values())
    device = 0 if inputs.on_cpu else inputs.gpu_limit - sum(parts[inputs.devices[0]].values())
    disk = inputs.machine.disk_limit
    return _Room(device, ram, math.inf if disk is None else max(0, disk - inputs.output_bytes))


def _macro_batch(inputs: PlanInputs, room: _Room) -> tuple[int, StatesPlace]:
    """Texts of a macro-batch, and where their hidden states are kept between blocks."""
    # With several devices, any of them may take any micro-batch: its states must be where all can reach them.
    places: tuple[StatesPlace, ...] = ("memory",) if inputs.on_cpu or inputs.n_devices > 1 else ("device", "memory")
    everything = inputs.workload.sequences
    if inputs.config.shard_rows is not None:
        rows, alone = inputs.config.shard_rows, inputs.macro_batches(inputs.config.shard_rows) <= 1
        seen = min(rows, everything)
        unsaved = replace(room, disk=math.inf)  # disk space is checked once the plan is made
        return rows, next((place for place in places if _max_rows(inputs, unsaved, place, alone=alone) >= seen), "disk")
    if everything <= MOST_ROWS:
        for place in places:
            if _max_rows(inputs, room, place, alone=True) >= everything:
                return _power_above(everything), place
    balanced = _balanced_rows(inputs)
    wanted = min(MOST_ROWS, _power_above(max(inputs.shard_rows, balanced / _READING)))
    for place in places:
        if _max_rows(inputs, room, place, alone=False) >= wanted:
            return wanted, place
    best = max(places, key=lambda place: _max_rows(inputs, room, place, alone=False))
    held = _max_rows(inputs, room, best, alone=False)
    if held >= max(1, balanced):
        return _power_below(held), best
    return _spilled(inputs, room, wanted), "disk"


def _spilled(inputs: PlanInputs, room: _Room, wanted: int) -> int:
    """Texts of a macro-batch whose hidden states are kept on disk.

    Raises:
        ConfigError: there is no room for a single one.
    """
    most = _max_rows(inputs, room, "disk", alone=False)
    if most < 1:
        raise MemoryTooSmall(
            f"room for the hidden states of at least one text ({as_bytes(inputs.state_row)}), in RAM or on the disk of "
            f"--out, and for its results in RAM, found {as_bytes(max(0, room.ram))} of RAM and "
            f"{as_bytes(min(room.disk, 2**60))} of disk left"
        )
    return min(wanted, _power_below(most))


def _balanced_rows(inputs: PlanInputs) -> float:
    """The number of texts whose computing takes as long as reading all blocks from storage."""
    read = sum(block.stored_bytes for block in inputs.geometry.blocks) / inputs.rates.storage
    a_text = inputs.compute_seconds(inputs.rates.streamed_flops) / max(1, inputs.workload.sequences)
    return read / a_text if a_text else 1.0


def _max_rows(inputs: PlanInputs, room: _Room, place: StatesPlace, *, alone: bool) -> int:
    """The largest macro-batch, in texts, whose hidden states fit a place; its results are always in RAM.

    Args:
        inputs: model, catalogue, machine and settings.
        room: bytes left.
        place: where hidden states are kept.
        alone: it is the only macro-batch, so no block need be kept for the next and no other results are being saved.
    """
    share, results = (1.0, inputs.output_row) if alone else (0.5, 2 * inputs.output_row)
    states = max(1.0, inputs.state_row)
    match place:
        case "memory":
            found = share * room.ram / (states + results)
        case "device":
            found = min(share * room.device / states, share * room.ram / max(1.0, results))
        case "disk":
            found = min(room.disk / (2 * states), room.ram / max(1.0, results))
    if inputs.config.checkpoint_layers is not None:
        # The last checkpoint, and the one being written.
        found = min(found, room.disk / ((4 if place == "disk" else 2) * states))
    return max(0, int(min(found, 2**62)))


def _power_above(rows: float) -> int:
    """The next power of two: a little more or less free memory must not change how shards are cut."""
    return 1 << max(0, math.ceil(rows) - 1).bit_length()


def _power_below(rows: int) -> int:
    return min(MOST_ROWS, 1 << (rows.bit_length() - 1))


def _put_states(inputs: PlanInputs, parts: Parts, rows: int, place: StatesPlace) -> None:
    parts["cpu"]["outputs"] = inputs.outputs(rows)
    match place:
        case "memory":
            parts["cpu"]["states"] = inputs.states(rows)
        case "device":
            parts[inputs.devices[0]]["states"] = inputs.states(rows)
        case "disk":
            pass


def _kept(inputs: PlanInputs, parts: Parts) -> tuple[str, ...]:
    """Where blocks stay between macro-batches: on the devices, in RAM, or on disk."""
    stack, geometry = inputs.geometry.stack, inputs.geometry
    if stack is None:
        return ()
    ram = max(0, inputs.ram.limit - sum(parts["cpu"].values()))
    if inputs.on_cpu:
        return place_blocks(stack, [], {"cpu": ram})
    first = inputs.devices[0]
    left = max(0, inputs.gpu_limit - max(sum(parts[name].values()) for name in inputs.devices))
    # In RAM they are kept in the checkpoint's type, whereas accelerate counts them in the compute type.
    ratio = geometry.largest_compute / max(1, geometry.largest_stored)
    return place_blocks(stack, [first], {first: left, "cpu": int(ram * ratio)})


def _put_kept(inputs: PlanInputs, parts: Parts, blocks: tuple[str, ...]) -> None:
    for block, place in zip(inputs.geometry.blocks, blocks, strict=True):
        match place:
            case "disk":
                pass
            case "cpu":
                size = block.compute_bytes if inputs.on_cpu else block.stored_bytes
                parts["cpu"]["weights"] = parts["cpu"].get("weights", 0) + size
            case _:
                for name in inputs.devices:  # each device has its own copy
                    parts[name]["weights"] += block.compute_bytes


def _candidate(
    inputs: PlanInputs, micro: int, rows: int, place: StatesPlace, blocks: tuple[str, ...], parts: Parts, *, packs: bool
) -> CandidatePlan:
    geometry, passes = inputs.geometry, inputs.macro_batches(rows)
    from_disk = sum(b.stored_bytes for b, at in zip(geometry.blocks, blocks, strict=True) if at == "disk")
    from_ram = sum(b.stored_bytes for b, at in zip(geometry.blocks, blocks, strict=True) if at == "cpu")
    # States kept away from where they are computed are read and written once per block.
    moved = 2 * len(blocks) * inputs.workload.sequences * inputs.state_row
    spilled = moved if place == "disk" else 0.0
    reading = (passes * from_disk + spilled) / inputs.rates.storage
    copying = 0.0
    if inputs.rates.copy is not None:
        over_bus = passes * (from_disk + from_ram) + (0 if place == "device" else moved / inputs.n_devices)
        copying = over_bus / inputs.rates.copy
    once = geometry.stored_bytes - from_disk
    saves = inputs.config.checkpoint_layers is not None
    return CandidatePlan(
        schedule="sweep",
        around=inputs.devices[0],
        blocks=blocks,
        rows=rows,
        micro=micro,
        parts=parts,
        weight_bytes_read=once + passes * from_disk,
        start_seconds=once / inputs.rates.storage,
        compute_seconds=inputs.compute_seconds(inputs.rates.flops if packs else inputs.rates.streamed_flops),
        read_seconds=max(reading, copying),
        # Nothing computes while the first block of a macro-batch is read.
        slack_seconds=passes * geometry.largest_stored / inputs.rates.storage if from_disk else 0.0,
        packs=packs,
        hidden_states=place,
        hidden_state_bytes=inputs.states(rows),
        spill_bytes=inputs.states(rows) * ((place == "disk") + 2 * saves),
    )
