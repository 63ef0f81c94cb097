"""Everything in tcf that leans on private or undocumented parts of accelerate, gathered in one place.

Checked with accelerate 1.15. `tests/encoders/test_accelerate_internals.py` has a test for each, which names what broke.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import nn

__all__ = ["DEVICE_VARIABLE", "can_reach_other_gpus", "infer_device_map", "silence"]

DEVICE_VARIABLE = "ACCELERATE_TORCH_DEVICE"
"""Environment variable of a process that names the device on which `PartialState` is to compute.

It is undocumented. Without it a process computes on the CUDA device whose number is its local rank.
"""

_LOGGER = "accelerate"
_PLACEMENT_LOGGER = "accelerate.utils.modeling"


def silence() -> None:
    """Keep accelerate from writing warnings to the terminal and to log files.

    The name of its logger is that of the package, as usual but documented nowhere.
    """
    logging.getLogger(_LOGGER).setLevel(logging.ERROR)


def can_reach_other_gpus() -> bool:
    """Whether the GPUs of this machine can talk to one another directly; NCCL has to be told where they cannot.

    `accelerate.utils.check_cuda_p2p_ib_support` is undocumented. It holds a list of such GPUs.
    """
    from accelerate.utils import check_cuda_p2p_ib_support

    return bool(check_cuda_p2p_ib_support())


def infer_device_map(
    module: nn.Module, budget: Mapping[int | str, int], unsplit: frozenset[str]
) -> dict[str, int | str]:
    """Where accelerate puts the modules of a model, without a warning of devices that this machine has not.

    `infer_auto_device_map` is public. What is not: it warns, through a logger of its own module, of devices that are
    missing, although a plan may be for another machine; and it reserves the size of the largest module on the first
    device and in RAM, which callers make up for.

    Args:
        module: on the meta device.
        budget: bytes by the number of a GPU, and of `cpu`; at least 1, because 0 means a GPU without limit.
        unsplit: names of classes of modules that stay whole.

    Returns:
        The number of a GPU, `cpu` or `disk` for the names of modules; members of a list each have their own.
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
