"""What short trials found out about this machine, remembered below `TCF_HOME` in a small JSON file each."""

import json
import platform
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from tcf.common.errors import RunError
from tcf.common.files import publish_file
from tcf.common.manifest import digest

__all__ = ["device_name", "remembered_number"]


def remembered_number(folder: Path, what: Mapping[str, Any], measure: Callable[[], float]) -> float:
    """What an earlier trial found, else what one finds now.

    Args:
        folder: where trials are remembered.
        what: all that the number depends on.
        measure: the trial; gives a number above 0.
    """
    file = folder / f"{digest(dict(what))[:32]}.json"
    try:
        known = json.loads(file.read_text(encoding="utf-8"))["found"]
        if type(known) in (int, float) and 0 < known < float("inf"):
            return float(known)
    except (OSError, ValueError, KeyError, TypeError):
        pass  # not tried yet, or unreadable: tried now
    found = measure()
    try:
        publish_file(file, json.dumps({**what, "found": found}, indent=2).encode())
    except RunError as error:
        print(f"the trial will be repeated next time: {error}", file=sys.stderr)
    return found


def device_name(device: torch.device) -> str:
    """What a device is, so that trials of another one, on whatever machine, are not taken for its own."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.node()} {_processor()} {torch.backends.cpu.get_cpu_capability()}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
