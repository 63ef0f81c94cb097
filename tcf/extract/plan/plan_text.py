"""A plan in lines for people."""

from tcf.common.units import as_bytes, as_count, as_seconds
from tcf.extract.plan.plan import Plan

__all__ = ["plan_text"]

_STATES = {"device": "on the device", "memory": "in RAM", "disk": "on disk"}
_DOES = {
    "resident": "the whole model on each device",
    "pipeline": "layer ranges laid over the devices",
    "sweep": "one block after the other, for many texts at once",
    "dispatch": "accelerate's own",
}


def plan_text(plan: Plan) -> str:
    """The plan, one line for each of its subjects."""
    lines = {
        "model": f"{plan.model}: {as_count(plan.parameters)} parameters, computed in {plan.dtype}; checkpoint "
        f"{as_bytes(plan.checkpoint_bytes)}",
        "schedule": f"{plan.schedule} on {', '.join(plan.devices)} ({_DOES[plan.schedule]}): {plan.reason}",
        "weights": _where(plan),
        "texts": f"{plan.items:,} items, {_about(plan)}{plan.sequences:,} token sequences to compute, "
        f"{_about(plan)}{plan.tokens:,} tokens",
        "batches": _batches(plan),
        **{f"memory of {place}": _memory(plan, place) for place in plan.memory_parts},
        "reading": f"{as_bytes(plan.weight_bytes_read)} of weights, {as_seconds(plan.read_seconds)}",
        "computing": f"{plan.flops:.3g} FLOP, {as_seconds(plan.compute_seconds)}",
        "time": f"about {as_seconds(plan.seconds)}, {_rate(plan.items_per_second)} items a second"
        if plan.sequences
        else "none: everything is there",
        "output": _output(plan),
    }
    return "\n".join(f"{subject}: {line}" for subject, line in lines.items())


def _about(plan: Plan) -> str:
    return "" if plan.exact else "about "


def _where(plan: Plan) -> str:
    """Where the parts live; a map of modules is summed up."""
    if plan.dispatch_map:
        places = list(plan.dispatch_map.values())
        return ", ".join(f"{places.count(place)} modules {_at(place, plan)}" for place in dict.fromkeys(places))
    here = [f"{part} {_at(place, plan)}" for part, place in plan.places.items()]
    return ", ".join(here).replace("around ", "embeddings and norms around the blocks ")


def _at(place: str, plan: Plan) -> str:
    match place:
        case "disk":
            return "streamed from disk"
        case "cpu" if plan.devices[0] != "cpu":
            return "in RAM"
        case _:
            return f"on {place}"


def _batches(plan: Plan) -> str:
    micro = "as many tokens at once as a trial finds best"
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


def _memory(plan: Plan, place: str) -> str:
    parts = ", ".join(f"{name} {as_bytes(size)}" for name, size in plan.memory_parts[place].items() if size)
    peak = as_bytes(plan.peak_memory_bytes[place])
    return f"{peak} at most of {as_bytes(plan.memory_limits[place])} ({parts})"


def _rate(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.2g}"


def _output(plan: Plan) -> str:
    spill = f", and {as_bytes(plan.spill_bytes)} of hidden states for a time" if plan.spill_bytes else ""
    free = "" if plan.disk_free_bytes is None else f"; {as_bytes(plan.disk_free_bytes)} are free there"
    return f"{as_bytes(plan.output_bytes)}{spill}{free}"
