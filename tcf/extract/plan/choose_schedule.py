"""Which schedule serves, and the plan that comes of it: a pure function of model, catalogue, machine and settings."""

from tcf.common.devices import dtype_name
from tcf.common.errors import ConfigError
from tcf.common.units import as_bytes
from tcf.extract.plan.estimates import CandidatePlan, dispatch, pipeline, resident, shortfall
from tcf.extract.plan.plan import Plan
from tcf.extract.plan.plan_inputs import PlanInputs
from tcf.extract.plan.sweep_estimate import sweep

__all__ = ["make_plan"]


def make_plan(inputs: PlanInputs) -> Plan:
    """Choose a schedule, or take the one that is asked for, and say what it will take.

    Args:
        inputs: model, catalogue, machine and settings.

    Raises:
        ConfigError: it cannot be done on this machine; the message says what would make it fit.
    """
    _check_disk(inputs, 0)
    candidate, reason = _chosen(inputs)
    _check_disk(inputs, candidate.spill_bytes)
    return _plan(inputs, candidate, reason)


def _chosen(inputs: PlanInputs) -> tuple[CandidatePlan, str]:
    """A schedule that fits, and why this one."""
    candidate, reason = _automatic(inputs) if inputs.config.schedule == "auto" else (_requested(inputs), "asked for")
    lacking = shortfall(inputs, candidate)
    if lacking is not None:
        auto = "" if inputs.config.schedule == "auto" else "--schedule auto, "
        raise ConfigError(
            f"{candidate.schedule} schedule of {inputs.model}: expected {lacking}; pass {auto}a smaller --dtype, fewer "
            "--shard-rows, or more --max-memory if the machine has it"
        )
    return candidate, reason


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
    """Resident where the model fits each device, pipeline where it fits them together, else sweep."""
    whole = resident(inputs)
    lacking = shortfall(inputs, whole)
    # With a micro-batch of a few texts a GPU would mostly wait for its own memory.
    busy = inputs.on_cpu or whole.micro is None or inputs.config.tokens_per_batch is not None
    if (lacking is None and (busy or not inputs.geometry.blocks)) or inputs.geometry.family == "words":
        return whole, "the model fits on the device" if inputs.n_devices == 1 else "the model fits on each device"
    if not inputs.geometry.blocks:
        return dispatch(inputs), "the model does not fit, and its blocks cannot be told"
    if inputs.n_devices > 1 and not inputs.on_cpu and shortfall(inputs, laid := pipeline(inputs)) is None:
        return laid, "the model fits on the devices together, and on none alone"
    return sweep(inputs), f"the model does not fit: all of it would take {lacking or 'what a micro-batch needs'}"


def _check_disk(inputs: PlanInputs, spill_bytes: int) -> None:
    """Refuse results, and hidden states for a time, that the disk of the output has no room for."""
    limit = inputs.machine.disk_limit
    needed = inputs.output_bytes + spill_bytes
    if limit is None or needed <= limit:
        return
    spilled = f" and {as_bytes(spill_bytes)} of hidden states for a time" if spill_bytes else ""
    remedies = ["free some", "name another disk"]
    remedies += ["pass --storage float16"] if inputs.config.storage == "float32" and inputs.config.pooled_layers else []
    remedies += ["ask for fewer --layers"] if len(inputs.config.pooled_layers) > 1 else []
    raise ConfigError(
        f"--out: expected {as_bytes(needed)} of free disk space ({needed} bytes: {as_bytes(inputs.output_bytes)} of "
        f"results{spilled}), found {as_bytes(limit)} ({limit} bytes); {', '.join(remedies[:-1])}, or {remedies[-1]}"
    )


def _plan(inputs: PlanInputs, candidate: CandidatePlan, reason: str) -> Plan:
    work, geometry = inputs.workload, inputs.geometry
    nothing = not work.sequences
    # Tokens are made beside everything else, but no text is computed before.
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
