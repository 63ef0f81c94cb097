"""Which devices to compute on, and what torch's types of numbers are called in files and messages."""

import torch

from tcf.common.errors import ConfigError

__all__ = ["dtype_name", "resolve_device", "resolve_devices"]


def resolve_device(name: str, *, option: str = "--device") -> torch.device:
    """The device of a name: `auto` takes the first CUDA device where there is one, else the CPU.

    Args:
        name: what is asked for.
        option: where it was asked for, for messages.

    Raises:
        ConfigError: the name is not a device, or this machine does not have it.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"{option}: expected auto, cpu, cuda or cuda:N, found {name!r}") from None
    match device.type:
        case "cpu":
            return device
        case "cuda" if (device.index or 0) < torch.cuda.device_count():
            return device
        case "cuda":
            raise ConfigError(
                f"{option}: {name} is not on this machine ({torch.cuda.device_count()} CUDA devices); use {option} cpu"
            )
        case _:
            raise ConfigError(f"{option}: expected auto, cpu, cuda or cuda:N, found {name!r}")


def resolve_devices(names: str, *, option: str = "--devices") -> tuple[torch.device, ...]:
    """The devices of names with commas between them; `auto` takes every CUDA device of this machine, else the CPU.

    CUDA devices come with their numbers, `cuda` as the current one. The CPU may be named several times, which
    divides its threads; a CUDA device may not, and the two are not mixed.

    Args:
        names: what is asked for.
        option: where it was asked for, for messages.

    Raises:
        ConfigError: a name is not a device, this machine does not have it, or they do not go together.
    """
    if names == "auto":
        count = torch.cuda.device_count()
        return tuple(torch.device("cuda", index) for index in range(count)) or (torch.device("cpu"),)
    given = [name.strip() for name in names.split(",")]
    if len(given) > 1 and "auto" in given:
        raise ConfigError(f"{option}: expected auto alone, or devices by name, found {names!r}")
    devices = tuple(_numbered(resolve_device(name, option=option)) for name in given)
    if len({device.type for device in devices}) > 1:
        raise ConfigError(f"{option}: expected CUDA devices or cpu, which do not share work, found {names!r}")
    if devices[0].type == "cuda" and len(set(devices)) < len(devices):
        raise ConfigError(f"{option}: expected each CUDA device once, found {names!r}")
    return devices


def _numbered(device: torch.device) -> torch.device:
    """The device with its number; there is one CPU, which has none."""
    if device.type == "cpu":
        return torch.device("cpu")
    return torch.device("cuda", torch.cuda.current_device()) if str(device) == "cuda" else device


def dtype_name(dtype: torch.dtype) -> str:
    """`float16` for `torch.float16`: the name under which torch, NumPy and safetensors know it."""
    return str(dtype).removeprefix("torch.")
