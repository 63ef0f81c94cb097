import mmap
import os
from pathlib import Path

import pytest
import torch

from tcf.errors import ConfigError
from tcf.extract import machine as module
from tcf.extract.machine import parse_max_memory, read_machine, resident_bytes

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
        ("", "expected PLACE=SIZE with a place of gpu, cpu, disk, cuda:0, found ''"),
        ("ram=1GiB", "place of gpu, cpu, disk, cuda:0, found 'ram=1GiB'"),
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
    monkeypatch.setattr(module, "_host_memory", lambda: (20 * GIB, 10 * GIB))
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


@pytest.mark.parametrize("kind", [mmap.MAP_PRIVATE, mmap.MAP_SHARED])
def test_memory_that_no_file_backs_is_counted(kind: int) -> None:
    """Mapped by itself: an allocation may come from memory that the process has already."""
    before = resident_bytes()
    with mmap.mmap(-1, 50 * 2**20, flags=mmap.MAP_ANONYMOUS | kind) as held:
        held.write(b"x" * len(held))
        assert resident_bytes() - before > 45 * 2**20


def group(folder: Path, limit: str, used: str, limits: str, usages: str, cached: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / limit).write_text(limits)
    (folder / used).write_text(usages)
    (folder / "memory.stat").write_text(cached)


def test_control_groups_of_version_1(tmp_path: Path) -> None:
    """The group's own limit, and that of the group above it; of what is used, cached files can be had back."""
    v1 = ("memory.limit_in_bytes", "memory.usage_in_bytes")
    group(tmp_path / "memory/a/b", *v1, "8000\n", "5000\n", "total_inactive_file 600\ntotal_active_file 400\n")
    group(tmp_path / "memory/a", *v1, "20000\n", "19000\n", "inactive_file 9\ntotal_inactive_file 0\n")
    own = tmp_path / "cgroup"
    own.write_text("5:cpu,cpuacct:/x\n4:memory:/a/b\n0::/\n")
    assert module._group_limits(tmp_path, own) == [(8000, 8000 - 4000), (20_000, 1000)]


def test_control_groups_of_version_2(tmp_path: Path) -> None:
    v2 = ("memory.max", "memory.current")
    group(tmp_path / "a/b", *v2, "max\n", "5000\n", "inactive_file 600\n")
    group(tmp_path / "a", *v2, "9000\n", "5000\n", "inactive_file 600\nactive_file 100\nanon 4300\n")
    own = tmp_path / "cgroup"
    own.write_text("0::/a/b\n")
    assert module._group_limits(tmp_path, own) == [(9000, 4700)]
    assert module._group_limits(tmp_path, tmp_path / "none") == []


def test_the_tightest_limit_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    total, free = module._host_memory()
    assert 0 < free <= total
    monkeypatch.setattr(module, "_group_limits", lambda: [(2**40, 2**39), (1000, -5)])
    assert module._host_memory() == (1000, 0)
