"""Resolving device names, and the names of torch dtypes in files and messages."""

import torch

from tcf.common.errors import ConfigError, value_words

__all__ = ["dtype_name", "resolve_device", "resolve_devices"]


def resolve_device(name: str, *, option: str = "--device") -> torch.device:
    """Return the device of a name; `auto` is the first CUDA device if there is one, otherwise the CPU.

    Args:
        name: `auto`, `cpu`, `cuda` or `cuda:N`.
        option: the option that the name comes from, for messages.

    Raises:
        ConfigError: the name is not a device, or this machine does not have it.
    """
    if isinstance(name, str) and name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError):
        raise ConfigError(f"{option}: expected auto, cpu, cuda or cuda:N, found {value_words(name)}") from None
    match device.type:
        case "cpu":
            return device
        case "cuda" if (device.index or 0) < torch.cuda.device_count():
            return device
        case "cuda":
            raise ConfigError(
                f"{option}: expected a device of this machine, which has {torch.cuda.device_count()} CUDA devices, "
                f"found {name}; use {option} cpu"
            )
        case _:
            raise ConfigError(f"{option}: expected auto, cpu, cuda or cuda:N, found {name!r}")


def resolve_devices(names: str, *, option: str = "--devices") -> tuple[torch.device, ...]:
    """Return the devices of comma-separated names; `auto` is every CUDA device of this machine, otherwise the CPU.

    CUDA devices have their index set; `cuda` is the current one. The CPU may be named several times, which divides
    its threads; a CUDA device may be named only once, and CPU and CUDA devices cannot be mixed.

    Args:
        names: `auto`, or device names separated by commas.
        option: the option that the names come from, for messages.

    Raises:
        ConfigError: a name is not a device, this machine does not have it, or the devices cannot be combined.
    """
    if names == "auto":
        count = torch.cuda.device_count()
        return tuple(torch.device("cuda", index) for index in range(count)) or (torch.device("cpu"),)
    given = [name.strip() for name in names.split(",")]
    if len(given) > 1 and "auto" in given:
        raise ConfigError(f"{option}: expected auto alone, or devices by name, found {names!r}")
    devices = tuple(_numbered(resolve_device(name, option=option)) for name in given)
    if len({device.type for device in devices}) > 1:
        raise ConfigError(f"{option}: expected either CUDA devices or cpu, found both: {names!r}")
    if devices[0].type == "cuda" and len(set(devices)) < len(devices):
        raise ConfigError(f"{option}: expected each CUDA device once, found {names!r}")
    return devices


def _numbered(device: torch.device) -> torch.device:
    """Set the index of a CUDA device; the CPU has none."""
    if device.type == "cpu":
        return torch.device("cpu")
    return torch.device("cuda", torch.cuda.current_device()) if str(device) == "cuda" else device


def dtype_name(dtype: torch.dtype) -> str:
    """Return the name that torch, NumPy and safetensors use for a dtype: `float16` for `torch.float16`."""
    return str(dtype).removeprefix("torch.")
