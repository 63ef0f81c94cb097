"""What short calibration runs measured, remembered below `TCF_HOME` in a small JSON file each.

Numbers that are remembered decide how many texts are computed at once, and so the last bits of vectors. A file is found
again by what its number depends on, and by nothing that differs from one container on a machine to the next:

- the processor's model and vector instructions, or the GPU's model, instead of a host name;
- the number of threads and the type of numbers;
- the versions of tcf, torch and transformers, whose code is timed;
- what is timed: the model's geometry, or the shapes of its matrix products;
- of storage: the type and the size of its file system, instead of a device number.

Host name, boot id and process namespace are new in every container: with them in the key, each would calibrate again,
find slightly different numbers, and compute slightly different vectors. Two machines with the same processor share a
number, as they should.
"""

import logging
import math
import os
import platform
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from tcf.common.errors import RunError
from tcf.common.files import publish_file
from tcf.common.integrity.sealed_json import sealed_json, unsealed_json
from tcf.common.manifest import digest, library_versions

__all__ = ["conditions", "file_system_name", "remembered_number"]

_TIMED = ("tcf", "torch", "transformers")
# Entries of /proc/cpuinfo: x86 has the first three, ARM the last three. The name alone may be a whole family's.
_PROCESSOR = ("model name", "cpu family", "model", "CPU implementer", "CPU part", "CPU variant")

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
    """The number that an earlier calibration run found, or else one run now.

    Args:
        folder: where results of calibration runs are stored.
        what: all that the number depends on; part of the file, and its digest is the file's name.
        calibrate: the calibration run; returns a number above 0.
        key: the number's name in the file.
        whole: whether only a whole number is valid.
        consequence: what else to say if the number cannot be stored.
    """
    file = folder / f"{digest(dict(what))[:32]}.json"
    try:
        known = unsealed_json(file.read_bytes())[key]
        if type(known) in ((int,) if whole else (int, float)) and 0 < known < float("inf"):
            logger.debug(f"{file}: {key} {known:g}, from an earlier calibration run")
            return float(known)
    except (OSError, ValueError, KeyError, TypeError):
        pass  # not calibrated yet, or damaged: calibrated now
    found = calibrate()
    try:
        publish_file(file, sealed_json({**what, key: found}).encode())
    except RunError as error:
        logger.warning(f"the calibration run will be repeated next time{consequence}: {error}")
    return found


def conditions(device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """What every measurement of a device depends on, as JSON values; see the module's docstring.

    Args:
        device: the device that computes.
        dtype: the type it computes in.
    """
    versions = library_versions()
    return {
        "dtype": str(dtype),
        "device": _device_name(device),
        "threads": torch.get_num_threads(),
        "versions": {name: versions[name] for name in _TIMED if name in versions},
    }


def file_system_name(path: Path) -> str:
    """The kind of file system that a path is on, such as `ext4 of about 2^40 bytes`.

    Args:
        path: an existing file or folder.
    """
    space = os.statvfs(path)
    # Rounded, because some file systems count as their size what is used and what is left for them.
    size = round(math.log2(max(1, space.f_blocks * space.f_frsize)))
    return f"{_file_system_type(path.stat().st_dev)} of about 2^{size} bytes"


def _file_system_type(device: int) -> str:
    """The type of a mounted file system by its device number, from Linux' list of mounts; `unknown` elsewhere."""
    number = f"{os.major(device)}:{os.minor(device)}"
    for fields in map(str.split, _lines("/proc/self/mountinfo")):
        if fields[2:3] == [number] and "-" in fields:
            return fields[fields.index("-") + 1]
    return "unknown"


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{_processor()} {torch.backends.cpu.get_cpu_capability()}"


def _processor() -> str:
    """The processor's model: that of the first core."""
    found: dict[str, str] = {}
    for line in _lines("/proc/cpuinfo"):
        name, _, value = line.partition(":")
        found.setdefault(name.strip(), value.strip())
    names = [found[name] for name in _PROCESSOR if name in found]
    return " ".join(names) or platform.processor() or platform.machine()


def _lines(file: str) -> list[str]:
    try:
        return Path(file).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
