"""A plan: where the parts of a model are placed, in which order the work is done, and the resources it takes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tcf.assets.models import model_label
from tcf.common.units import as_bytes, as_count, as_rate, as_time

__all__ = ["FlopCost", "Plan", "Schedule", "StatesPlace", "memory_in_words", "places_in_words", "plan_text"]

Schedule = Literal["resident", "pipeline", "sweep", "dispatch"]
StatesPlace = Literal["device", "memory", "disk"]
_STATES = {"device": "on the device", "memory": "in RAM", "disk": "on disk"}
_DOES = {
    "resident": "the whole model on each device",
    "pipeline": "layer ranges distributed over the devices",
    "sweep": "blocks outside, micro-batches inside",
    "dispatch": "accelerate's offloading",
}
_PURPOSES = {
    "base": "program",
    "slots": "block buffers",
    "weights": "weights",
    "workspace": "activations",
    "states": "hidden states",
    "outputs": "results",
}


@dataclass(frozen=True)
class FlopCost:
    """Floating-point operations of a model.

    Attributes:
        per_token: two for each matrix parameter that a token is multiplied by.
        per_pair: attention's scores and values, for each pair of tokens of a text.
    """

    per_token: float
    per_pair: float

    def of(self, tokens: float, squares: float) -> float:
        """Floating-point operations of texts.

        Args:
            tokens: tokens of all texts.
            squares: sum over the texts of the squared number of tokens.

        Example:
            >>> FlopCost(per_token=10, per_pair=2).of(tokens=3 + 4, squares=9 + 16)
            120
        """
        return self.per_token * tokens + self.per_pair * squares


@dataclass(frozen=True)
class Plan:
    """How an extraction will be done, and the resources it will take.

    Attributes:
        model: the language model's name, for messages.
        schedule: resident (the whole model on each device), pipeline (layer ranges distributed over the devices), sweep
            (blocks outside, micro-batches inside) or dispatch (accelerate's offloading).
        reason: why this schedule was chosen, for messages.
        dtype: type to compute in.
        devices: names of the devices to compute on; `cpu` may occur several times.
        around: the device of the embeddings and of everything else outside the blocks; of a pipeline the first one,
            while what follows the blocks is on its last.
        blocks: where each block is kept, in order: the name of a device, `cpu` (in RAM) or `disk` (read whenever it is
            needed). In a sweep over several devices, the name of the first stands for all of them.
        dispatch_map: accelerate's map from module names to places; empty for other schedules.
        parameters: number of parameters of everything that is run.
        checkpoint_bytes: size of the checkpoint.
        weight_bytes_read: bytes of weights read from storage in the whole extraction.
        items: number of items of the catalogue.
        sequences: number of token sequences to compute.
        tokens: their number of tokens.
        computed_tokens: those of them that are computed, because no other text begins with the same tokens.
        exact: whether sequences and tokens were counted; otherwise they were estimated from a sample.
        macro_batches: number of shards, computed one after the other; a sweep streams the weights once for each.
        macro_batch_rows: maximum number of token sequences in a shard.
        micro_batch_tokens: tokens that a device runs at once; None if a calibration run will choose them.
        packs: in a sweep, the weights of a block are packed for oneDNN before it runs.
        hidden_states: where the hidden states of a macro-batch are kept between blocks.
        hidden_state_bytes: their size.
        flops: floating-point operations of the whole extraction.
        cost: floating-point operations of any texts.
        compute_seconds: time to compute all of them.
        read_seconds: time to read and copy weights, and hidden states kept elsewhere.
        seconds: time of the whole extraction; computing and reading overlap where the schedule allows.
        items_per_second: items of the catalogue per second.
        memory_parts: by place and purpose, the peak in bytes. `cpu` is all memory of the process that is not mapped
            from a file.
        memory_limits: by place, bytes that may be used.
        output_bytes: bytes that the caches will grow by.
        spill_bytes: disk space needed temporarily, for hidden states.
        disk_free_bytes: free space on the disk of the output; None if no output was named.
    """

    model: str
    schedule: Schedule
    reason: str
    dtype: str
    devices: tuple[str, ...]
    around: str
    blocks: tuple[str, ...]
    dispatch_map: Mapping[str, str]
    parameters: int
    checkpoint_bytes: int
    weight_bytes_read: int
    items: int
    sequences: int
    tokens: int
    computed_tokens: int
    exact: bool
    macro_batches: int
    macro_batch_rows: int
    micro_batch_tokens: int | None
    packs: bool
    hidden_states: StatesPlace
    hidden_state_bytes: int
    flops: int
    cost: FlopCost
    compute_seconds: float
    read_seconds: float
    seconds: float
    items_per_second: float
    memory_parts: Mapping[str, Mapping[str, int]]
    memory_limits: Mapping[str, int]
    output_bytes: int
    spill_bytes: int
    disk_free_bytes: int | None

    @property
    def peak_memory_bytes(self) -> dict[str, int]:
        """The peak in bytes, by place."""
        return {place: sum(parts.values()) for place, parts in self.memory_parts.items()}

    @property
    def places(self) -> dict[str, str]:
        """Where every part is kept: accelerate's names for dispatch, else `around` and ranges of blocks."""
        if self.dispatch_map:
            return dict(self.dispatch_map)
        return {"around": self.around, **dict(places_in_words(self.blocks))}

    def __str__(self) -> str:
        """The plan, one line for each of its subjects."""
        return plan_text(self)

    def as_json(self) -> dict[str, Any]:
        """The plan as JSON values."""
        return {
            "model": self.model,
            "schedule": self.schedule,
            "reason": self.reason,
            "dtype": self.dtype,
            "devices": list(self.devices),
            "places": self.places,
            "parameters": self.parameters,
            "checkpoint_bytes": self.checkpoint_bytes,
            "weight_bytes_read": self.weight_bytes_read,
            "items": self.items,
            "sequences": self.sequences,
            "tokens": self.tokens,
            "computed_tokens": self.computed_tokens,
            "exact": self.exact,
            "macro_batches": self.macro_batches,
            "macro_batch_rows": self.macro_batch_rows,
            "micro_batch_tokens": self.micro_batch_tokens,
            "packs": self.packs,
            "hidden_states": self.hidden_states,
            "hidden_state_bytes": self.hidden_state_bytes,
            "flops": self.flops,
            "compute_seconds": self.compute_seconds,
            "read_seconds": self.read_seconds,
            "seconds": self.seconds,
            "items_per_second": self.items_per_second,
            "peak_memory_bytes": self.peak_memory_bytes,
            "memory_parts": {place: dict(parts) for place, parts in self.memory_parts.items()},
            "memory_limit_bytes": dict(self.memory_limits),
            "output_bytes": self.output_bytes,
            "spill_bytes": self.spill_bytes,
            "disk_free_bytes": self.disk_free_bytes,
        }


def places_in_words(blocks: tuple[str, ...]) -> list[tuple[str, str]]:
    """Ranges of blocks in the same place, such as `blocks 1-12`, with that place; counted from 1, like layers."""
    ranges: list[tuple[int, int, str]] = []
    for number, place in enumerate(blocks, start=1):
        if ranges and ranges[-1][2] == place:
            ranges[-1] = (ranges[-1][0], number, place)
        else:
            ranges.append((number, number, place))
    return [(f"block {a}" if a == b else f"blocks {a}-{b}", place) for a, b, place in ranges]


def memory_in_words(parts: Mapping[str, int]) -> str:
    """What a place's memory is for, such as `weights 240 MiB, activations 12.0 MiB`."""
    return ", ".join(f"{_PURPOSES[purpose]} {as_bytes(size)}" for purpose, size in parts.items() if size)


def plan_text(plan: Plan) -> str:
    """The plan as text, one line per subject."""
    lines = {
        "model": f"{model_label(plan.model)}: {as_count(plan.parameters)} parameters, computed in {plan.dtype}; "
        f"checkpoint {as_bytes(plan.checkpoint_bytes)}",
        "schedule": f"{plan.schedule} on {', '.join(plan.devices)} ({_DOES[plan.schedule]}), {_why(plan)}",
        "weights": _weights(plan),
        "texts": f"{plan.items:,} items, {_about(plan)}{plan.sequences:,} token sequences to compute, "
        f"{_about(plan)}{plan.tokens:,} tokens{_shared(plan)}",
        "batches": _batches(plan),
        **{_memory_of(place): _memory(plan, place) for place in plan.memory_parts},
        "reading": f"{as_bytes(plan.weight_bytes_read)} of weights, {as_time(plan.read_seconds)}",
        "computing": f"{plan.flops:.3g} FLOPs, {as_time(plan.compute_seconds)}",
        "time": f"about {as_time(plan.seconds)}, {_pace(plan)}"
        if plan.sequences
        else "none: everything is in the cache already",
        "output": _output(plan),
    }
    return "\n".join(f"{subject}: {line}" for subject, line in lines.items())


def _about(plan: Plan) -> str:
    return "" if plan.exact else "about "


def _shared(plan: Plan) -> str:
    """The share of tokens that need not be computed, as they begin another text as well."""
    if plan.computed_tokens == plan.tokens:
        return ""
    share = 1 - plan.computed_tokens / plan.tokens
    return f", {'' if plan.exact else 'at least '}{share:.0%} of them shared with other texts"


def _why(plan: Plan) -> str:
    return plan.reason if plan.reason == "as requested" else f"because {plan.reason}"


def _weights(plan: Plan) -> str:
    """Where the weights are kept; accelerate's map is summed up."""
    if plan.dispatch_map:
        places = list(plan.dispatch_map.values())
        return ", ".join(f"{places.count(place)} modules {_at(place, plan)}" for place in dict.fromkeys(places))
    found = [f"{part} {_at(place, plan)}" for part, place in plan.places.items()]
    return ", ".join(found).replace("around ", "embeddings and norms around the blocks ")


def _at(place: str, plan: Plan) -> str:
    match place:
        case "disk":
            return "streamed from disk"
        case "cpu" if plan.devices[0] != "cpu":
            return "in RAM"
        case _:
            return f"on {place}"


def _batches(plan: Plan) -> str:
    micro = "tokens per batch chosen by a calibration run"
    if plan.micro_batch_tokens is not None:
        micro = f"{plan.micro_batch_tokens:,} tokens at once"
    if plan.schedule == "sweep":
        states = f", hidden states {_STATES[plan.hidden_states]} ({as_bytes(plan.hidden_state_bytes)})"
    else:
        states = ""
    kind = "macro-batch" if plan.schedule == "sweep" else "shard"
    if plan.macro_batches != 1:
        kind += "es" if kind.endswith("ch") else "s"
    return f"{plan.macro_batches:,} {kind} of at most {plan.macro_batch_rows:,} texts, {micro}{states}"


def _memory_of(place: str) -> str:
    return "CPU memory" if place == "cpu" else f"{place} memory"


def _memory(plan: Plan, place: str) -> str:
    peak, limit = as_bytes(plan.peak_memory_bytes[place]), as_bytes(plan.memory_limits[place])
    return f"up to {peak} of {limit} ({memory_in_words(plan.memory_parts[place])})"


def _pace(plan: Plan) -> str:
    """Items per second; if they take longer, the time per item."""
    if plan.items_per_second >= 1:
        return f"{as_rate(plan.items_per_second)} items per second"
    seconds = plan.seconds / plan.items
    if seconds < 100:
        return f"{seconds:.1f} s per item"
    return f"{seconds / 60:.0f} min per item" if seconds < 6_000 else f"{as_time(seconds)} per item"


def _output(plan: Plan) -> str:
    spill = f", and temporarily {as_bytes(plan.spill_bytes)} of hidden states" if plan.spill_bytes else ""
    free = "" if plan.disk_free_bytes is None else f"; {as_bytes(plan.disk_free_bytes)} free on its disk"
    return f"{as_bytes(plan.output_bytes)}{spill}{free}"
