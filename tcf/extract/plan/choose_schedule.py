"""Chooses a schedule and builds its plan: a pure function of model, catalogue, machine and settings."""

from tcf.common.devices import dtype_name
from tcf.common.errors import ConfigError
from tcf.common.units import as_bytes
from tcf.extract.plan.estimates import CandidatePlan, MemoryTooSmall, dispatch, pipeline, resident, shortfall
from tcf.extract.plan.memory_advice import memory_advice
from tcf.extract.plan.plan import Plan
from tcf.extract.plan.plan_inputs import PlanInputs
from tcf.extract.plan.sweep_estimate import sweep

__all__ = ["make_plan"]


def make_plan(inputs: PlanInputs) -> Plan:
    """Choose a schedule, or use the requested one, and estimate what it takes.

    Args:
        inputs: model, catalogue, machine and settings.

    Raises:
        ConfigError: the machine is too small; the message says what would make it fit.
    """
    _check_disk(inputs, 0)
    candidate, reason = _chosen(inputs)
    _check_disk(inputs, candidate.spill_bytes)
    return _plan(inputs, candidate, reason)


def _chosen(inputs: PlanInputs) -> tuple[CandidatePlan, str]:
    """A schedule that fits, and the reason for choosing it."""
    try:
        return _fitting(inputs)
    except MemoryTooSmall as error:
        settings = f"--schedule {inputs.config.schedule}, {dtype_name(inputs.geometry.dtype)}"
        raise ConfigError(f"{inputs.model} ({settings}): expected {error}; {memory_advice(inputs, _fits)}") from None


def _fitting(inputs: PlanInputs) -> tuple[CandidatePlan, str]:
    candidate, reason = _automatic(inputs) if inputs.config.schedule == "auto" else (_requested(inputs), "as requested")
    lacking = shortfall(inputs, candidate)
    if lacking is not None:
        raise MemoryTooSmall(str(lacking))
    return candidate, reason


def _fits(inputs: PlanInputs) -> bool:
    try:
        _fitting(inputs)
    except ConfigError:
        return False
    return True


def _requested(inputs: PlanInputs) -> CandidatePlan:
    match inputs.config.schedule:
        case "pipeline":
            return pipeline(inputs)
        case "sweep":
            return sweep(inputs)
        case "dispatch":
            return dispatch(inputs)
        case _:
            return resident(inputs)


def _automatic(inputs: PlanInputs) -> tuple[CandidatePlan, str]:
    """Resident if the model fits on each device, pipeline if it fits on all of them together, else sweep.

    In place of pipeline and sweep, dispatch if the model cannot be loaded block by block.
    """
    whole = resident(inputs)
    lacking = shortfall(inputs, whole)
    # With a micro-batch of only a few texts, a GPU would mostly wait for its own memory.
    busy = inputs.on_cpu or whole.micro is None or inputs.config.tokens_per_batch is not None
    if (lacking is None and (busy or not inputs.geometry.separable)) or inputs.geometry.family == "words":
        return whole, "the model fits on the device" if inputs.n_devices == 1 else "the model fits on each device"
    if not inputs.geometry.blocks:
        return dispatch(inputs), "the model does not fit, and its blocks are not recognised"
    if inputs.geometry.quantised:
        return dispatch(inputs), "the model does not fit, and its weights are quantised"
    if inputs.n_devices > 1 and not inputs.on_cpu and shortfall(inputs, spread := pipeline(inputs)) is None:
        return spread, "the model fits on all devices together, but on no single one"
    if lacking is None:
        return sweep(inputs), "the model fits, but without room for micro-batches that keep the device busy"
    return sweep(
        inputs
    ), f"the whole model does not fit: it needs {lacking.needed}, and {lacking.available} are available"


def _check_disk(inputs: PlanInputs, spill_bytes: int) -> None:
    """Refuse results, and temporary hidden states, that do not fit on the output's disk."""
    limit = inputs.machine.disk_limit
    needed = inputs.output_bytes + spill_bytes
    if limit is None or needed <= limit:
        return
    spilled = f" and, temporarily, {as_bytes(spill_bytes)} of hidden states" if spill_bytes else ""
    remedies = ["free some", "name a folder on another disk"]
    remedies += ["pass --storage float16"] if inputs.config.storage == "float32" and inputs.config.pooled_layers else []
    remedies += ["pass fewer --layers"] if len(inputs.config.pooled_layers) > 1 else []
    raise ConfigError(
        f"--out: expected {as_bytes(needed)} of free disk space ({needed} bytes: {as_bytes(inputs.output_bytes)} of "
        f"results{spilled}), found {as_bytes(limit)} ({limit} bytes); {', '.join(remedies[:-1])}, or {remedies[-1]}"
    )


def _plan(inputs: PlanInputs, candidate: CandidatePlan, reason: str) -> Plan:
    work, geometry = inputs.workload, inputs.geometry
    nothing = not work.sequences
    # Tokenising overlaps with everything else, but the work ends no sooner than it does.
    seconds = 0.0 if nothing else max(candidate.seconds, work.tokenise_seconds)
    return Plan(
        model=inputs.model,
        schedule=candidate.schedule,
        reason=reason,
        dtype=dtype_name(geometry.dtype),
        devices=inputs.devices,
        around=candidate.around,
        blocks=candidate.blocks,
        dispatch_map=candidate.dispatch_map,
        parameters=geometry.parameters,
        checkpoint_bytes=geometry.checkpoint_bytes,
        weight_bytes_read=0 if nothing else candidate.weight_bytes_read,
        items=work.items,
        sequences=work.sequences,
        tokens=work.tokens,
        computed_tokens=work.computed,
        exact=work.exact,
        macro_batches=inputs.macro_batches(candidate.rows),
        macro_batch_rows=candidate.rows,
        micro_batch_tokens=candidate.micro,
        packs=candidate.packs,
        hidden_states=candidate.hidden_states,
        hidden_state_bytes=candidate.hidden_state_bytes,
        flops=inputs.flops,
        cost=geometry.cost,
        compute_seconds=candidate.compute_seconds,
        read_seconds=0.0 if nothing else candidate.start_seconds + candidate.read_seconds,
        seconds=seconds,
        items_per_second=work.items / seconds if seconds else 0.0,
        memory_parts=candidate.parts,
        memory_limits={name: memory.limit for name, memory in inputs.machine.memory.items()},
        output_bytes=inputs.output_bytes,
        spill_bytes=candidate.spill_bytes,
        disk_free_bytes=inputs.machine.disk_free,
    )
