from typing import Any

import numpy as np
import pytest
import torch

from tcf.common.devices import resolve_device, resolve_devices
from tcf.common.errors import ConfigError

CPU = torch.device("cpu")


def cuda(number: int) -> torch.device:
    return torch.device("cuda", number)


@pytest.fixture
def three_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only counted, never used; the second is the current one."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)


@pytest.mark.usefixtures("three_gpus")
@pytest.mark.parametrize(
    ("names", "devices"),
    [
        ("auto", (cuda(0), cuda(1), cuda(2))),
        ("cuda", (cuda(1),)),
        ("cuda:2", (cuda(2),)),
        ("cuda:2,cuda:0", (cuda(2), cuda(0))),
        (" cuda:0 , cuda", (cuda(0), cuda(1))),
        ("cpu", (CPU,)),
        ("cpu,cpu,cpu:0", (CPU, CPU, CPU)),
    ],
)
def test_devices_of_a_machine_with_three_gpus(names: str, devices: tuple[torch.device, ...]) -> None:
    assert resolve_devices(names) == devices


@pytest.mark.usefixtures("three_gpus")
@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("cuda:0,cuda:0", "expected each CUDA device once, found 'cuda:0,cuda:0'"),
        ("cuda:1,cuda", "expected each CUDA device once"),
        ("cuda:0,cpu", "expected either CUDA devices or cpu, found both: 'cuda:0,cpu'"),
        (
            "cuda:0,cuda:3",
            "expected a device of this machine, which has 3 CUDA devices, found cuda:3; use --devices cpu",
        ),
        ("auto,cuda:0", "expected auto alone, or devices by name, found 'auto,cuda:0'"),
        ("cpu,", "expected auto, cpu, cuda or cuda:N, found ''"),
        ("cpu cpu", "expected auto, cpu, cuda or cuda:N, found 'cpu cpu'"),
        ("meta", "expected auto, cpu, cuda or cuda:N, found 'meta'"),
        ("", "expected auto, cpu, cuda or cuda:N, found ''"),
    ],
)
def test_devices_that_cannot_be(names: str, message: str) -> None:
    with pytest.raises(ConfigError, match=f"^--devices: {message}"):
        resolve_devices(names)


@pytest.mark.usefixtures("no_gpu")
def test_a_machine_without_a_gpu() -> None:
    assert resolve_devices("auto") == (CPU,)
    assert resolve_device("auto") == CPU
    for name in ("cuda", "cuda:0"):
        with pytest.raises(ConfigError, match=f"^--devices: expected a device .* 0 CUDA devices, found {name}"):
            resolve_devices(f"cpu,{name}")
        with pytest.raises(ConfigError, match=f"^--device: expected a device .*, found {name}; use --device cpu"):
            resolve_device(name)


@pytest.mark.parametrize("name", [3, None, 2.5, np.arange(3), ["cpu"], {"a": 1}])
def test_what_is_no_name_of_a_device(name: Any) -> None:
    with pytest.raises(ConfigError, match=r"^--device: expected auto, cpu, cuda or cuda:N, found "):
        resolve_device(name)
