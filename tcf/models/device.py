"""Which device to compute on."""

import torch

from tcf.errors import ConfigError

__all__ = ["resolve_device"]


def resolve_device(name: str) -> torch.device:
    """The device of a name: `auto` takes the first CUDA device where there is one, else the CPU.

    Raises:
        ConfigError: the name is not a device, or this machine does not have it.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"--device: expected auto, cpu, cuda or cuda:N, found {name!r}") from None
    match device.type:
        case "cpu":
            return device
        case "cuda" if (device.index or 0) < torch.cuda.device_count():
            return device
        case "cuda":
            raise ConfigError(
                f"--device: {name} is not on this machine ({torch.cuda.device_count()} CUDA devices); use --device cpu"
            )
        case _:
            raise ConfigError(f"--device: expected auto, cpu, cuda or cuda:N, found {name!r}")
