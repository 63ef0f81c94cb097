"""What to pass if memory is too small: the smallest `--max-memory` that works, and other settings that would fit."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from tcf.common.units import as_bytes
from tcf.extract.plan.plan_inputs import PlanInputs

__all__ = ["memory_advice", "smallest_limits"]

_MiB, _GiB = 2**20, 2**30
_UNLIMITED = 2**55
_FIRST = 16 * _MiB  # the first limit tried; doubled until it fits
_PRECISION = 64  # a limit is at most 1/64 larger than needed
_MARGIN = 16 * _MiB  # added, because the program itself does not take the same amount in every process
_FEW = 256  # tokens per micro-batch, or texts per shard

Fits = Callable[[PlanInputs], bool]


def memory_advice(inputs: PlanInputs, fits: Fits) -> str:
    """What to pass instead of settings that need more memory than they may use.

    Args:
        inputs: model, catalogue, machine and settings that do not fit.
        fits: whether a schedule fits.
    """
    others = _other_settings(inputs, fits)
    limits = smallest_limits(inputs, fits)
    if limits is None:
        return _either(["free disk space", "name an --out on another disk", *_passed(others)])
    smallest = "--max-memory " + ",".join(f"{place}={_as_option(size)}" for place, size in limits.items())
    short = _short(inputs, limits)
    if short is None:
        return f"pass {_either([f'{smallest} or more', *others])}"
    return f"it works from about {smallest} on, but {short}; {_either(['free some memory', *_passed(others)])}"


def smallest_limits(inputs: PlanInputs, fits: Fits) -> dict[str, int] | None:
    """The smallest memory with which a schedule fits.

    Args:
        inputs: model, catalogue, machine and settings.
        fits: whether a schedule fits.

    Returns:
        Bytes for each place that `--max-memory` names: `gpu`, which is each GPU, and `cpu`. They are rounded up so that
        a second process fits as well. None if no amount of memory is enough.
    """
    limits = dict.fromkeys(["cpu"] if inputs.on_cpu else ["gpu", "cpu"], _UNLIMITED)
    if not fits(_limited(inputs, limits)):
        return None
    for place in limits:
        size = _FIRST
        while not fits(_limited(inputs, {**limits, place: size})):
            size *= 2
        too_few = size // 2
        while size - too_few > size // _PRECISION:
            middle = (size + too_few) // 2
            if fits(_limited(inputs, {**limits, place: middle})):
                size = middle
            else:
                too_few = middle
        limits[place] = _rounded(size + _MARGIN)
    return limits


def _limited(inputs: PlanInputs, limits: Mapping[str, int]) -> PlanInputs:
    """The same inputs on a machine of which this much may be used."""
    memory = {
        name: replace(found, limit=limits["cpu" if name == "cpu" else "gpu"])
        for name, found in inputs.machine.memory.items()
    }
    return replace(inputs, machine=replace(inputs.machine, memory=memory))


def _short(inputs: PlanInputs, limits: Mapping[str, int]) -> str | None:
    """The first place with less free memory than needed, in words; None if there is enough."""
    for name, memory in inputs.machine.memory.items():
        if memory.free < limits["cpu" if name == "cpu" else "gpu"]:
            return f"only {as_bytes(memory.free)} is free on {name}"
    return None


def _other_settings(inputs: PlanInputs, fits: Fits) -> list[str]:
    """Settings that need less memory, in words; all but a smaller type are known to fit."""
    config = inputs.config
    changes = {"--schedule auto": replace(config, schedule="auto")} if config.schedule != "auto" else {}
    if (config.tokens_per_batch or 0) > _FEW:
        changes["a lower --tokens-per-batch"] = replace(config, tokens_per_batch=_FEW)
    if inputs.shard_rows > _FEW:
        changes["fewer --shard-rows"] = replace(config, shard_rows=_FEW)
    found = [words for words, changed in changes.items() if fits(replace(inputs, config=changed))]
    is_wide = inputs.geometry.dtype.itemsize > 2 and inputs.geometry.family != "words"
    return [*found, *(["a 16-bit --dtype"] if is_wide else [])]


def _rounded(size: int) -> int:
    """The size rounded up to whole MiB, or from 10 GiB on to tenths of a GiB."""
    step = _MiB if size < 10 * _GiB else _GiB / 10
    return math.ceil(math.ceil(size / step) * step)


def _as_option(size: int) -> str:
    """A rounded size as `--max-memory` reads it."""
    return f"{size // _MiB}MiB" if size < 10 * _GiB else f"{size / _GiB:.1f}GiB"


def _passed(settings: Sequence[str]) -> list[str]:
    return [f"pass {setting}" for setting in settings]


def _either(remedies: Sequence[str]) -> str:
    *first, last = remedies
    return f"{', '.join(first)} or {last}" if first else last
