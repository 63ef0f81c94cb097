"""A worker that runs units one after the other, as its parent process requests.

The parent sends units; for each, the worker sends how it ended, and whether this process can run another one. It
imports what units need once. When it is asked to end, by SIGTERM, the unit cleans up as if it had failed.
"""

import gc
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from tcf.common.errors import TcfError
from tcf.launch.units.records import Records
from tcf.launch.units.run_unit import UnitEnd, run_unit
from tcf.launch.units.tasks import Stage
from tcf.launch.units.unit import Unit, decode_unit
from tcf.launch.workers.worker_process import MessageChannel, run_conversation

__all__ = ["free_memory", "main", "prepare_process"]

_WITHOUT_TORCH: tuple[Stage, ...] = ("download", "prepare", "compare")


def main() -> None:
    """Run the units that arrive as messages."""
    signal.signal(signal.SIGTERM, _exit_on_signal)
    run_conversation(_run_units)


def _run_units(channel: MessageChannel) -> None:
    while True:
        message = channel.receive()
        unit, records = decode_unit(message["unit"]), Records(Path(message["records"]))
        prepare_process(unit, message["threads"])
        try:
            end = run_unit(unit, records)
        except TcfError as error:
            end = UnitEnd(unit.name, "failed", " ".join(str(error).split()))
        channel.send(_answer(end))
        free_memory()


def _answer(end: UnitEnd) -> dict[str, Any]:
    return {"ended": end.ended, "reason": end.reason, "usable": not end.defect}


def prepare_process(unit: Unit, threads: int) -> None:
    """Make this process what it would be if the unit were its first, whatever has run in it before."""
    if unit.stage in _WITHOUT_TORCH:
        return
    import torch

    from tcf.common.torch_internals import limit_onednn_caches

    limit_onednn_caches()  # an extraction does so, but after a training it would be too late
    if threads:
        torch.set_num_threads(threads)


def free_memory() -> None:
    """Free what the unit has used, before the next one asks for memory."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def _exit_on_signal(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)
