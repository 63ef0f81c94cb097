"""What a machine has left for an extraction: memory of its devices and its own, and disk space."""

import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from tcf.common.errors import ConfigError
from tcf.common.memory import host_memory, resident_bytes
from tcf.common.torch_internals import has_onednn_type

__all__ = ["Machine", "Memory", "parse_max_memory", "read_machine"]

_UNITS = {"": 1, "b": 1} | {
    name: base**power
    for power, letter in enumerate("kmgt", start=1)
    for name, base in ((f"{letter}b", 1000), (f"{letter}ib", 1024))
}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)", re.IGNORECASE)
# Unless a limit is given, this much of what is free is planned with: other programs want some too.
_SHARE = 0.9
_FLOATS = (torch.float32, torch.bfloat16, torch.float16)


@dataclass(frozen=True)
class Memory:
    """A place where weights and states can be.

    Attributes:
        total: bytes that it has.
        free: bytes that this process can have there at most, with what it has already.
        limit: bytes that it may use of those.
    """

    total: int
    free: int
    limit: int


@dataclass(frozen=True)
class Machine:
    """What an extraction can use.

    Attributes:
        devices: names of the devices to compute on, such as `cuda:0`; `cpu` may be there several times.
        memory: of each distinct device, and of `cpu`.
        base: bytes of RAM that this process has now.
        disk_free: bytes left where the output goes; None where no output was named.
        disk_limit: bytes that may be used of those.
        onednn_types: in which the processor multiplies matrices through oneDNN, with weights laid out for it.
    """

    devices: tuple[str, ...]
    memory: Mapping[str, Memory]
    base: int
    disk_free: int | None = None
    disk_limit: int | None = None
    onednn_types: frozenset[torch.dtype] = frozenset(_FLOATS)

    @property
    def on_cpu(self) -> bool:
        """Whether the devices are the machine's own processor."""
        return self.devices[0] == "cpu"


def read_machine(devices: Sequence[torch.device], max_memory: str | None, out: Path | None) -> Machine:
    """Look at what is free now.

    Args:
        devices: to compute on.
        max_memory: as `--max-memory` was given.
        out: where the output goes; it need not be there yet.

    Raises:
        ConfigError: `max_memory` is malformed or names a device that is not among these.
    """
    names = tuple(dict.fromkeys(str(device) for device in devices))
    asked = parse_max_memory(max_memory, names)
    base = resident_bytes()
    memory = {name: _limited(*torch.cuda.mem_get_info(name)[::-1], asked.get(name)) for name in names if name != "cpu"}
    total, free = host_memory()
    memory["cpu"] = _limited(total, free + base, asked.get("cpu"))
    disk = None if out is None else _disk_free(out)
    limit = disk if disk is None or "disk" not in asked else min(disk, asked["disk"])
    onednn_types = frozenset(dtype for dtype in _FLOATS if has_onednn_type(dtype))
    return Machine(tuple(str(device) for device in devices), memory, base, disk, limit, onednn_types)


def parse_max_memory(text: str | None, devices: Sequence[str]) -> dict[str, int]:
    """Bytes that may be used in each place, such as `gpu=60GiB,cpu=200GiB`.

    Args:
        text: what was typed.
        devices: names of the devices; `gpu` stands for all of them that are no `cpu`.

    Raises:
        ConfigError: it is malformed, or names another place.
    """
    found: dict[str, int] = {}
    for entry in (text or "").split(",") if text is not None else ():
        place, equals, size = (part.strip() for part in entry.partition("="))
        match place:
            case "gpu":
                places = [name for name in devices if name != "cpu"]
            case "cpu" | "disk":
                places = [place]
            case _ if place in devices:
                places = [place]
            case _:
                known = ", ".join(dict.fromkeys(["gpu", "cpu", "disk", *devices]))
                raise ConfigError(f"--max-memory: expected PLACE=SIZE with a place of {known}, found {entry!r}")
        if not equals:
            raise ConfigError(f"--max-memory: expected PLACE=SIZE, such as {place}=60GiB, found {entry!r}")
        # A device by its own name says more than all of them together, whichever comes first.
        named = _bytes(size, entry)
        found |= {name: named for name in places if place != "gpu" or name not in found}
    return found


def _bytes(text: str, entry: str) -> int:
    match = _SIZE.fullmatch(text)
    unit = match and _UNITS.get(match[2].lower())
    if match is None or unit is None or not (size := int(float(match[1]) * unit)):
        raise ConfigError(f"--max-memory: expected a size such as 60GiB, 500MB or a number of bytes, found {entry!r}")
    return size


def _limited(total: int, free: int, asked: int | None) -> Memory:
    return Memory(total, free, int(free * _SHARE) if asked is None else min(asked, free))


def _disk_free(out: Path) -> int:
    """Bytes left on the disk that a path, which need not be there, would be on."""
    there = out.absolute()
    while not there.exists():
        there = there.parent
    return shutil.disk_usage(there).free
