import os
from pathlib import Path

import pytest
import torch

from tcf.common.errors import ConfigError
from tcf.extract.plan import machine as module
from tcf.extract.plan.machine import parse_max_memory, read_machine

CPU, GPU = torch.device("cpu"), torch.device("cuda:0")
GIB = 2**30


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (None, {}),
        ("cpu=200GiB", {"cpu": 200 * GIB}),
        ("gpu=60GiB,cpu=200GiB", {"cuda:0": 60 * GIB, "cuda:1": 60 * GIB, "cpu": 200 * GIB}),
        ("gpu=60GB, cuda:1 = 512MiB", {"cuda:0": 60 * 10**9, "cuda:1": 512 * 2**20}),
        ("cuda:1=512mib,gpu=60gb", {"cuda:0": 60 * 10**9, "cuda:1": 512 * 2**20}),
        ("disk=1.5TB", {"disk": 15 * 10**11}),
        ("cpu=123456", {"cpu": 123_456}),
        ("cpu=2KiB,disk=3kB", {"cpu": 2048, "disk": 3000}),
    ],
)
def test_sizes_by_place(text: str | None, found: dict[str, int]) -> None:
    assert parse_max_memory(text, ["cuda:0", "cuda:1"]) == found


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "expected PLACE=SIZE with PLACE one of gpu, cpu, disk, cuda:0, found ''"),
        ("ram=1GiB", "PLACE one of gpu, cpu, disk, cuda:0, found 'ram=1GiB'"),
        ("cuda:1=1GiB", "found 'cuda:1=1GiB'"),
        ("cpu", "such as cpu=60GiB, found 'cpu'"),
        ("cpu=", "expected a size such as 60GiB"),
        ("cpu=1XB", "found 'cpu=1XB'"),
        ("cpu=-1GiB", "expected a size"),
        ("cpu=0", "expected a size"),
        ("cpu=nan", "expected a size"),
        ("gpu=1GiB,,cpu=1GiB", "found ''"),
    ],
)
def test_sizes_that_make_no_sense(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse_max_memory(text, ["cuda:0"])


def test_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "host_memory", lambda: (20 * GIB, 10 * GIB))
    monkeypatch.setattr(module, "resident_bytes", lambda: 10 * 10**6)
    found = read_machine([CPU, CPU], None, tmp_path / "not" / "there")
    assert found.devices == ("cpu", "cpu") and found.on_cpu and found.base == 10 * 10**6
    memory = found.memory["cpu"]
    # What the process has already is its own to use; a tenth of what is free is left to others.
    assert (memory.total, memory.free) == (20 * GIB, 10 * GIB + 10 * 10**6)
    assert memory.limit == int(0.9 * memory.free)
    assert found.disk_free == found.disk_limit
    assert 0 < (found.disk_free or 0) <= os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize * 1.01
    asked = read_machine([CPU], "cpu=3GiB,disk=1MiB", tmp_path)
    assert (asked.memory["cpu"].limit, asked.disk_limit) == (3 * GIB, 2**20)
    # No more than there is.
    assert read_machine([CPU], "cpu=300GiB", None).memory["cpu"].limit == memory.free
    assert read_machine([CPU], None, None).disk_free is None


def test_devices_say_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda name: (70 * GIB, 80 * GIB))
    found = read_machine([GPU], "gpu=60GiB", None)
    assert (found.memory["cuda:0"].total, found.memory["cuda:0"].free) == (80 * GIB, 70 * GIB)
    assert found.memory["cuda:0"].limit == 60 * GIB and not found.on_cpu
    assert read_machine([GPU], None, None).memory["cuda:0"].limit == 63 * GIB


def test_what_onednn_multiplies_is_looked_up() -> None:
    found = read_machine([CPU], None, None).onednn_types
    assert torch.float32 in found
    assert (torch.bfloat16 in found) == torch.ops.mkldnn._is_mkldnn_bf16_supported()
