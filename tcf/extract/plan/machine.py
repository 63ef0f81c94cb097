"""What a machine has free for an extraction: device memory, RAM and disk space."""

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
# The share of free memory used if no limit is given; the rest is left to other programs.
_SHARE = 0.9
_FLOATS = (torch.float32, torch.bfloat16, torch.float16)


@dataclass(frozen=True)
class Memory:
    """Memory of one place where weights and hidden states can be kept.

    Attributes:
        total: its size in bytes.
        free: bytes available to this process, including those it already uses.
        limit: bytes of those that this process may use.
    """

    total: int
    free: int
    limit: int


@dataclass(frozen=True)
class Machine:
    """The resources of an extraction.

    Attributes:
        devices: names of the devices to compute on, such as `cuda:0`; `cpu` may occur several times.
        memory: of each distinct device, and of `cpu`.
        base: bytes of RAM that this process uses now.
        disk_free: bytes free on the disk of the output; None if no output was named.
        disk_limit: bytes of those that may be used.
        onednn_types: types in which the CPU multiplies matrices through oneDNN, with packed weights.
    """

    devices: tuple[str, ...]
    memory: Mapping[str, Memory]
    base: int
    disk_free: int | None = None
    disk_limit: int | None = None
    onednn_types: frozenset[torch.dtype] = frozenset(_FLOATS)

    @property
    def on_cpu(self) -> bool:
        """Whether the CPU computes."""
        return self.devices[0] == "cpu"


def read_machine(devices: Sequence[torch.device], max_memory: str | None, out: Path | None) -> Machine:
    """Read what is free now.

    Args:
        devices: to compute on.
        max_memory: the value of `--max-memory`.
        out: where the output goes; it need not exist yet.

    Raises:
        ConfigError: `max_memory` is malformed or names another device.
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
    """Bytes that may be used in each place, from text such as `gpu=60GiB,cpu=200GiB`.

    Args:
        text: the value of `--max-memory`.
        devices: names of the devices; `gpu` stands for all of them except `cpu`.

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
                raise ConfigError(
                    f"--max-memory: expected PLACE=SIZE with PLACE one of {known}, found {entry!r}; separate several "
                    "with commas"
                )
        if not equals:
            raise ConfigError(f"--max-memory: expected PLACE=SIZE, such as {place}=60GiB, found {entry!r}")
        # A device's own name takes precedence over `gpu`, whichever comes first.
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
    """Bytes free on the disk of a path that need not exist."""
    there = out.absolute()
    while not there.exists():
        there = there.parent
    return shutil.disk_usage(there).free
