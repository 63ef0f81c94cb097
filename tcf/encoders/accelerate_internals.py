"""All code in tcf that relies on private or undocumented parts of accelerate.

Checked with accelerate 1.15. `tests/encoders/test_accelerate_internals.py` has a test for each, which says what broke.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import nn

__all__ = ["DEVICE_VARIABLE", "can_reach_other_gpus", "infer_device_map", "silence"]

DEVICE_VARIABLE = "ACCELERATE_TORCH_DEVICE"
"""Environment variable that names the device of `PartialState` in a process.

It is undocumented. Without it a process uses the CUDA device whose index is its local rank.
"""

_LOGGER = "accelerate"
_PLACEMENT_LOGGER = "accelerate.utils.modeling"


def silence() -> None:
    """Keep accelerate from writing warnings to the terminal and to log files.

    Its logger has the name of the package, which is usual but not documented.
    """
    logging.getLogger(_LOGGER).setLevel(logging.ERROR)


def can_reach_other_gpus() -> bool:
    """Whether the GPUs of this machine can communicate directly; NCCL must be configured if they cannot.

    `accelerate.utils.check_cuda_p2p_ib_support` is undocumented. It has a list of GPUs that cannot.
    """
    from accelerate.utils import check_cuda_p2p_ib_support

    return bool(check_cuda_p2p_ib_support())


def infer_device_map(
    module: nn.Module, budget: Mapping[int | str, int], unsplit: frozenset[str]
) -> dict[str, int | str]:
    """Return accelerate's placement of a model's modules, without warnings about devices that this machine lacks.

    `infer_auto_device_map` is public, but two things about it are not: it warns, through a logger of its own module,
    about missing devices, although a plan may be for another machine; and it reserves the size of the largest module
    on the first device and in RAM, which callers compensate for.

    Args:
        module: on the meta device.
        budget: bytes for each GPU index and for `cpu`; at least 1, because 0 means a GPU without limit.
        unsplit: names of module classes that are not split.

    Returns:
        The GPU index, `cpu` or `disk` of each module name; members of a module list each have their own entry.
    """
    from accelerate import infer_auto_device_map

    with _errors_only(_PLACEMENT_LOGGER):
        found: dict[str, Any] = infer_auto_device_map(
            module, max_memory=dict(budget), no_split_module_classes=sorted(unsplit), clean_result=False
        )
    return found


@contextmanager
def _errors_only(name: str) -> Iterator[None]:
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
