"""What short calibration runs found out about this machine, remembered below `TCF_HOME` in a small JSON file each."""

import json
import logging
import platform
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from tcf.common.errors import RunError
from tcf.common.files import publish_file
from tcf.common.manifest import digest

__all__ = ["device_name", "remembered_number"]

logger = logging.getLogger(__name__)


def remembered_number(
    folder: Path,
    what: Mapping[str, Any],
    calibrate: Callable[[], float],
    *,
    key: str = "found",
    whole: bool = False,
    consequence: str = "",
) -> float:
    """What an earlier calibration run found, else what one finds now.

    Args:
        folder: where calibration runs are remembered.
        what: all that the number depends on; part of the file, and its digest is the file's name.
        calibrate: the calibration run; gives a number above 0.
        key: the number's name in the file.
        whole: only a whole number will do.
        consequence: what else to say, should the number not be remembered.
    """
    file = folder / f"{digest(dict(what))[:32]}.json"
    try:
        known = json.loads(file.read_text(encoding="utf-8"))[key]
        if type(known) in ((int,) if whole else (int, float)) and 0 < known < float("inf"):
            return float(known)
    except (OSError, ValueError, KeyError, TypeError):
        pass  # not calibrated yet, or unreadable: calibrated now
    found = calibrate()
    try:
        publish_file(file, json.dumps({**what, key: found}, indent=2).encode())
    except RunError as error:
        logger.warning(f"the trial will be repeated next time{consequence}: {error}")
    return found


def device_name(device: torch.device) -> str:
    """What a device is, so that calibration runs of another one, on whatever machine, are not taken for its own."""
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
