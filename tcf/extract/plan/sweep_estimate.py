"""The sweep before it is run: how many texts pass through each block together, and which blocks stay where."""

import math
from contextlib import suppress
from dataclasses import dataclass, replace

from tcf.common.errors import ConfigError
from tcf.common.units import as_bytes
from tcf.extract.plan.estimates import Draft, Parts
from tcf.extract.plan.placement import place_blocks
from tcf.extract.plan.plan import StatesPlace
from tcf.extract.plan.plan_inputs import MOST_ROWS, Case

__all__ = ["sweep"]

_READING = 0.05  # of the computing time, at most, so that it costs nothing even where it is slower than measured
_FEWEST = 256  # tokens at once
_SLOTS = 2  # of the largest block: one computes while the next is read


@dataclass(frozen=True)
class _Room:
    """Bytes left beside what a sweep always needs.

    Attributes:
        device: on each GPU; none where the processor computes.
        ram: in the machine's own memory.
        disk: where states would be spilled.
    """

    device: int
    ram: int
    disk: float


def sweep(case: Case) -> Draft:
    """One block after the other, each for all micro-batches of a macro-batch while the next one is read.

    Raises:
        ConfigError: the blocks cannot be told, or a device has too little room for what is always needed.
    """
    geometry = case.geometry
    if not geometry.blocks:
        other = "resident" if geometry.family == "words" else "dispatch"
        raise ConfigError(
            f"--schedule sweep: expected a model whose blocks can be told, found {case.model}; pass --schedule {other}"
        )
    micro, packs, parts = _smaller_if_need_be(case)
    room = _room(case, parts)
    rows, place = _rows(case, room)
    _put_states(case, parts, rows, place)
    blocks = _kept(case, parts) if case.macro_batches(rows) > 1 else ("disk",) * len(geometry.blocks)
    _put_kept(case, parts, blocks)
    return _draft(case, micro, rows, place, blocks, parts, packs=packs)


def _smaller_if_need_be(case: Case) -> tuple[int, bool, Parts]:
    """Tokens at once, as few as fit unless a number is asked for; and what is needed with these.

    Raises:
        ConfigError: not even the fewest fit.
    """
    micro = case.steady_tokens(case.ram.limit if case.on_cpu else case.gpu_limit)
    while micro >= 2 * _FEWEST and case.config.tokens_per_batch is None:
        with suppress(ConfigError):
            return micro, *_packed_if_it_fits(case, micro)
        micro //= 2
    return micro, *_packed_if_it_fits(case, micro)


def _packed_if_it_fits(case: Case, micro: int) -> tuple[bool, Parts]:
    """Whether weights are laid out anew, and what is needed whatever the macro-batch.

    Raises:
        ConfigError: it does not fit, even as the weights come.
    """
    if case.may_pack:
        with suppress(ConfigError):
            return True, _always(case, micro, packs=True)
    return False, _always(case, micro, packs=False)


def _always(case: Case, micro: int, *, packs: bool) -> Parts:
    """What is needed whatever the macro-batch.

    Raises:
        ConfigError: it does not fit.
    """
    geometry, copies = case.geometry, case.n_devices
    # Where a processor casts, what was read is free again at once.
    n_stored = 1 if case.on_cpu and geometry.casts else _SLOTS
    stored, compute = n_stored * geometry.largest_stored, _SLOTS * geometry.largest_compute
    rows = case.config.shard_rows or case.workload.sequences
    around, workspace = geometry.around.compute_bytes, case.workspace(case.met_tokens(micro, rows))
    if case.on_cpu:
        slots = stored + (compute if geometry.casts else 0) + (geometry.largest_compute if packs else 0)
        parts: Parts = {"cpu": {"slots": slots, "weights": around, "base": case.base, "workspace": workspace * copies}}
    else:
        on_device = compute + (geometry.largest_stored if geometry.casts else 0)
        parts = {name: {"slots": on_device, "weights": around, "workspace": workspace} for name in case.devices}
        parts["cpu"] = {"slots": stored, "base": case.base}
    for name, needed in parts.items():
        _check_fits(case, name, needed, micro)
    return parts


def _check_fits(case: Case, name: str, needed: dict[str, int], micro: int) -> None:
    """Say what is too large for a place: a block, the embeddings, or all together."""
    there = case.machine.memory[name].limit
    together = 0
    largest = as_bytes(case.geometry.largest_compute)
    for part, what, remedy in (
        ("slots", f"{_SLOTS} blocks of {largest} each as they stream through it", "a smaller --dtype"),
        ("weights", f"the embeddings of {as_bytes(needed.get('weights', 0))} beside them", "a smaller --dtype"),
        ("base", f"{as_bytes(needed.get('base', 0))} of the program itself beside them", "a smaller --dtype"),
        ("workspace", f"a micro-batch of {micro} tokens beside them", "a lower --tokens-per-batch"),
    ):
        together += needed.get(part, 0)
        if together > there:
            raise ConfigError(
                f"{name}: expected {as_bytes(together)} for {what}, found {as_bytes(there)} to use; "
                f"pass {remedy}, more --max-memory if the machine has it, or use a larger device"
            )


def _room(case: Case, parts: Parts) -> _Room:
    ram = case.ram.limit - sum(parts["cpu"].values())
    device = 0 if case.on_cpu else case.gpu_limit - sum(parts[case.devices[0]].values())
    disk = case.machine.disk_limit
    return _Room(device, ram, math.inf if disk is None else max(0, disk - case.output_bytes))


def _rows(case: Case, room: _Room) -> tuple[int, StatesPlace]:
    """Texts of a macro-batch, and where their states are kept between blocks."""
    # Several devices take the states of any micro-batch, so that these are where all can reach them.
    places: tuple[StatesPlace, ...] = ("memory",) if case.on_cpu or case.n_devices > 1 else ("device", "memory")
    everything = case.workload.sequences
    if case.config.shard_rows is not None:
        rows, alone = case.config.shard_rows, case.macro_batches(case.config.shard_rows) <= 1
        met = min(rows, everything)
        unsaved = replace(room, disk=math.inf)  # whether the disk has room for them is asked in the end
        return rows, next((place for place in places if _most(case, unsaved, place, alone=alone) >= met), "disk")
    if everything <= MOST_ROWS:
        for place in places:
            if _most(case, room, place, alone=True) >= everything:
                return _power_above(everything), place
    balanced = _balanced_rows(case)
    wanted = min(MOST_ROWS, _power_above(max(case.shard_rows, balanced / _READING)))
    for place in places:
        if _most(case, room, place, alone=False) >= wanted:
            return wanted, place
    best = max(places, key=lambda place: _most(case, room, place, alone=False))
    held = _most(case, room, best, alone=False)
    if held >= max(1, balanced):
        return _power_below(held), best
    return _spilled(case, room, wanted), "disk"


def _spilled(case: Case, room: _Room, wanted: int) -> int:
    """Texts of a macro-batch whose states are kept on disk.

    Raises:
        ConfigError: there is no room for a single one.
    """
    most = _most(case, room, "disk", alone=False)
    if most < 1:
        raise ConfigError(
            f"expected room for the hidden states of some texts, {as_bytes(case.state_row)} each, in RAM or on the "
            f"disk of --out, and for their results in RAM, found {as_bytes(max(0, room.ram))} of RAM and "
            f"{as_bytes(min(room.disk, 2**60))} of disk; raise --max-memory, or free some disk space"
        )
    return min(wanted, _power_below(most))


def _balanced_rows(case: Case) -> float:
    """Texts for which computing takes as long as reading all blocks from storage."""
    read = sum(block.stored_bytes for block in case.geometry.blocks) / case.rates.storage
    a_text = case.compute_seconds(case.rates.passing_flops) / max(1, case.workload.sequences)
    return read / a_text if a_text else 1.0


def _most(case: Case, room: _Room, place: StatesPlace, *, alone: bool) -> int:
    """Texts that a macro-batch can have if their states are kept in a place; their results are in RAM in any case.

    Args:
        case: what is planned.
        room: what is left.
        place: where states are kept.
        alone: it is the only macro-batch, for which nothing else has to stay, and no other's results are being saved.
    """
    share, results = (1.0, case.output_row) if alone else (0.5, 2 * case.output_row)
    states = max(1.0, case.state_row)
    match place:
        case "memory":
            found = share * room.ram / (states + results)
        case "device":
            found = min(share * room.device / states, share * room.ram / max(1.0, results))
        case "disk":
            found = min(room.disk / (2 * states), room.ram / max(1.0, results))
    if case.config.checkpoint_layers is not None:
        # Those that were saved last, and those being saved.
        found = min(found, room.disk / ((4 if place == "disk" else 2) * states))
    return max(0, int(min(found, 2**62)))


def _power_above(rows: float) -> int:
    """Powers of two, so that a little more or less free memory does not cut other shards."""
    return 1 << max(0, math.ceil(rows) - 1).bit_length()


def _power_below(rows: int) -> int:
    return min(MOST_ROWS, 1 << (rows.bit_length() - 1))


def _put_states(case: Case, parts: Parts, rows: int, place: StatesPlace) -> None:
    parts["cpu"]["outputs"] = case.outputs(rows)
    match place:
        case "memory":
            parts["cpu"]["states"] = case.states(rows)
        case "device":
            parts[case.devices[0]]["states"] = case.states(rows)
        case "disk":
            pass


def _kept(case: Case, parts: Parts) -> tuple[str, ...]:
    """Blocks that stay on the devices, or in RAM, because they will be needed again."""
    stack, geometry = case.geometry.stack, case.geometry
    if stack is None:
        return ()
    ram = max(0, case.ram.limit - sum(parts["cpu"].values()))
    if case.on_cpu:
        return place_blocks(stack, [], {"cpu": ram})
    first = case.devices[0]
    left = max(0, case.gpu_limit - max(sum(parts[name].values()) for name in case.devices))
    # In RAM they are kept as stored, whereas accelerate counts them as they compute.
    ratio = geometry.largest_compute / max(1, geometry.largest_stored)
    return place_blocks(stack, [first], {first: left, "cpu": int(ram * ratio)})


def _put_kept(case: Case, parts: Parts, blocks: tuple[str, ...]) -> None:
    for block, place in zip(case.geometry.blocks, blocks, strict=True):
        match place:
            case "disk":
                pass
            case "cpu":
                size = block.compute_bytes if case.on_cpu else block.stored_bytes
                parts["cpu"]["weights"] = parts["cpu"].get("weights", 0) + size
            case _:
                for name in case.devices:  # each has its own copy
                    parts[name]["weights"] += block.compute_bytes


def _draft(
    case: Case, micro: int, rows: int, place: StatesPlace, blocks: tuple[str, ...], parts: Parts, *, packs: bool
) -> Draft:
    geometry, passes = case.geometry, case.macro_batches(rows)
    from_disk = sum(b.stored_bytes for b, at in zip(geometry.blocks, blocks, strict=True) if at == "disk")
    from_ram = sum(b.stored_bytes for b, at in zip(geometry.blocks, blocks, strict=True) if at == "cpu")
    # States that are not where they are computed come and go once a block.
    moved = 2 * len(blocks) * case.workload.sequences * case.state_row
    spilled = moved if place == "disk" else 0.0
    reading = (passes * from_disk + spilled) / case.rates.storage
    copying = 0.0
    if case.rates.copy is not None:
        over_bus = passes * (from_disk + from_ram) + (0 if place == "device" else moved / case.n_devices)
        copying = over_bus / case.rates.copy
    once = geometry.stored_bytes - from_disk
    saves = case.config.checkpoint_layers is not None
    return Draft(
        schedule="sweep",
        around=case.devices[0],
        blocks=blocks,
        rows=rows,
        micro=micro,
        parts=parts,
        weight_bytes_read=once + passes * from_disk,
        start_seconds=once / case.rates.storage,
        compute_seconds=case.compute_seconds(case.rates.flops if packs else case.rates.passing_flops),
        read_seconds=max(reading, copying),
        # Nothing computes while the first block of a macro-batch is read.
        slack_seconds=passes * geometry.largest_stored / case.rates.storage if from_disk else 0.0,
        packs=packs,
        hidden_states=place,
        hidden_state_bytes=case.states(rows),
        spill_bytes=case.states(rows) * ((place == "disk") + 2 * saves),
    )
