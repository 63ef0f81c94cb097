"""What `tcf.encoders.accelerate_internals` leans on is there and behaves as tcf uses it."""

import logging

import accelerate
import pytest
import torch
from accelerate import PartialState
from torch import nn

from tcf.encoders import accelerate_internals as internals

ACCELERATE = f"accelerate {accelerate.__version__}"
HERE = "tcf/encoders/accelerate_internals.py"


def blocks(n: int) -> nn.ModuleList:
    """Blocks of 400 bytes."""
    with torch.device("meta"):
        return nn.ModuleList(nn.Sequential(nn.Linear(10, 10, bias=False)) for _ in range(n))


def test_the_largest_module_is_reserved_on_the_first_device_and_in_ram() -> None:
    stack = blocks(7)
    found = internals.infer_device_map(stack, {0: 3 * 400, 1: 2 * 400, "cpu": 2 * 400}, frozenset({"Sequential"}))
    assert found == {"0": 0, "1": 0, "2": 1, "3": 1, "4": "cpu", "5": "disk", "6": "disk"}, (
        f"{ACCELERATE}: infer_auto_device_map lays modules out otherwise: {found}; {HERE} and "
        "tcf/extract/plan/placement.py make up for the room that it reserves"
    )


def test_it_warns_of_no_device(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        internals.infer_device_map(blocks(2), {7: 10_000, "cpu": 10_000}, frozenset({"Sequential"}))
    assert caplog.records == [], f"{ACCELERATE}: it logs {caplog.messages} under another name than {HERE} silences"


def test_its_loggers_have_its_name() -> None:
    from accelerate.utils import modeling

    assert modeling.logger.name == "accelerate.utils.modeling", f"{ACCELERATE}: another logger; see {HERE}"
    logger, before = logging.getLogger("accelerate"), logging.getLogger("accelerate").level
    try:
        internals.silence()
        assert not modeling.logger.isEnabledFor(logging.WARNING), f"{ACCELERATE}: {HERE} does not silence it"
    finally:
        logger.setLevel(before)


def test_the_variable_that_names_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PartialState, "_shared_state", {})  # as in a process that has not asked yet
    monkeypatch.setenv(internals.DEVICE_VARIABLE, "meta")
    found = PartialState().device
    assert found == torch.device("meta"), (
        f"{ACCELERATE}: PartialState no longer computes on the device that {internals.DEVICE_VARIABLE} names, but on "
        f"{found}; {HERE} gives each process of a training its device so"
    )


def test_whether_gpus_reach_one_another_can_be_asked() -> None:
    assert internals.can_reach_other_gpus() in (True, False), f"{ACCELERATE}: see {HERE}"
