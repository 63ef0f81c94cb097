"""Which schedule serves, and the plan that comes of it: a pure function of model, catalogue, machine and settings."""

from tcf.common.devices import dtype_name
from tcf.common.errors import ConfigError
from tcf.common.units import as_bytes
from tcf.extract.plan.estimates import Draft, dispatch, pipeline, resident, shortfall
from tcf.extract.plan.plan import Plan
from tcf.extract.plan.plan_inputs import Case
from tcf.extract.plan.sweep_estimate import sweep

__all__ = ["make_plan"]


def make_plan(case: Case) -> Plan:
    """Choose a schedule, or take the one that is asked for, and say what it will take.

    Args:
        case: model, catalogue, machine and settings.

    Raises:
        ConfigError: it cannot be done on this machine; the message says what would make it fit.
    """
    _check_disk(case, 0)
    draft, reason = _chosen(case)
    _check_disk(case, draft.spill_bytes)
    return _plan(case, draft, reason)


def _chosen(case: Case) -> tuple[Draft, str]:
    """A schedule that fits, and why this one."""
    draft, reason = _automatic(case) if case.config.schedule == "auto" else (_asked(case), "asked for")
    lacking = shortfall(case, draft)
    if lacking is not None:
        auto = "" if case.config.schedule == "auto" else "--schedule auto, "
        raise ConfigError(
            f"{draft.schedule} schedule of {case.model}: expected {lacking}; pass {auto}a smaller --dtype, fewer "
            "--shard-rows, or more --max-memory if the machine has it"
        )
    return draft, reason


def _asked(case: Case) -> Draft:
    match case.config.schedule:
        case "pipeline":
            return pipeline(case)
        case "sweep":
            return sweep(case)
        case "dispatch":
            return dispatch(case)
        case _:
            return resident(case)


def _automatic(case: Case) -> tuple[Draft, str]:
    """Resident where the model fits each device, pipeline where it fits them together, else sweep."""
    whole = resident(case)
    lacking = shortfall(case, whole)
    # With a micro-batch of a few texts a GPU would mostly wait for its own memory.
    busy = case.on_cpu or whole.micro is None or case.config.tokens_per_batch is not None
    if (lacking is None and (busy or not case.geometry.blocks)) or case.geometry.family == "words":
        return whole, "the model fits on the device" if case.n_devices == 1 else "the model fits on each device"
    if not case.geometry.blocks:
        return dispatch(case), "the model does not fit, and its blocks cannot be told"
    if case.n_devices > 1 and not case.on_cpu and shortfall(case, laid := pipeline(case)) is None:
        return laid, "the model fits on the devices together, and on none alone"
    return sweep(case), f"the model does not fit: all of it would take {lacking or 'what a micro-batch needs'}"


def _check_disk(case: Case, spill_bytes: int) -> None:
    """Refuse results, and hidden states for a time, that the disk of the output has no room for."""
    limit = case.machine.disk_limit
    needed = case.output_bytes + spill_bytes
    if limit is None or needed <= limit:
        return
    spilled = f" and {as_bytes(spill_bytes)} of hidden states for a time" if spill_bytes else ""
    remedies = ["free some", "name another disk"]
    remedies += ["pass --storage float16"] if case.config.storage == "float32" and case.config.pooled_layers else []
    remedies += ["ask for fewer --layers"] if len(case.config.pooled_layers) > 1 else []
    raise ConfigError(
        f"--out: expected {as_bytes(needed)} of free disk space ({needed} bytes: {as_bytes(case.output_bytes)} of "
        f"results{spilled}), found {as_bytes(limit)} ({limit} bytes); {', '.join(remedies[:-1])}, or {remedies[-1]}"
    )


def _plan(case: Case, draft: Draft, reason: str) -> Plan:
    work, geometry = case.workload, case.geometry
    nothing = not work.sequences
    # Tokens are made beside everything else, but no text is computed before.
    seconds = 0.0 if nothing else max(draft.seconds, work.tokenise_seconds)
    return Plan(
        model=case.model,
        schedule=draft.schedule,
        reason=reason,
        dtype=dtype_name(geometry.dtype),
        devices=case.devices,
        around=draft.around,
        blocks=draft.blocks,
        dispatch_map=draft.dispatch_map,
        parameters=geometry.parameters,
        checkpoint_bytes=geometry.checkpoint_bytes,
        weight_bytes_read=0 if nothing else draft.weight_bytes_read,
        items=work.items,
        sequences=work.sequences,
        tokens=work.tokens,
        exact=work.exact,
        macro_batches=case.macro_batches(draft.rows),
        macro_batch_rows=draft.rows,
        micro_batch_tokens=draft.micro,
        packs=draft.packs,
        hidden_states=draft.hidden_states,
        hidden_state_bytes=draft.hidden_state_bytes,
        flops=case.flops,
        compute_seconds=draft.compute_seconds,
        read_seconds=0.0 if nothing else draft.start_seconds + draft.read_seconds,
        seconds=seconds,
        items_per_second=work.items / seconds if seconds else 0.0,
        memory_parts=draft.parts,
        memory_limits={name: memory.limit for name, memory in case.machine.memory.items()},
        output_bytes=case.output_bytes,
        spill_bytes=draft.spill_bytes,
        disk_free_bytes=case.machine.disk_free,
    )
