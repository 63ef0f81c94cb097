"""Memory of this process, and the limits that its control groups set."""

import mmap
import os
from pathlib import Path

import pytest

from tcf.common import memory as module
from tcf.common.memory import resident_bytes


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
    total, free = module.host_memory()
    assert 0 < free <= total == module.installed_memory()
    monkeypatch.setattr(module, "_group_limits", lambda: [(2**40, 2**39), (1000, -5)])
    assert module.host_memory() == (1000, 0)
    assert module.installed_memory() == 1000


def test_a_machine_without_control_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_group_limits", lambda: [])
    monkeypatch.setattr(os, "sysconf", {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 10}.__getitem__)
    assert module.installed_memory() == 40_960
