"""What calibration runs are found again by: the same in a new container, and another on other hardware."""

import os
import platform
import socket
from pathlib import Path

import pytest
import torch

from tcf.common.files import this_machine
from tcf.extract.plan import calibration_memo as module
from tcf.extract.plan import measured_rates
from tcf.extract.plan.calibration_memo import conditions, file_system_name, remembered_number
from tcf.extract.plan.measured_rates import measure_rates

CPU = torch.device("cpu")
X86 = ["processor : 0", "cpu family\t: 25", "model\t\t: 1", "model name\t: EPYC", "microcode\t: 0xa0"]


def cpuinfo(monkeypatch: pytest.MonkeyPatch, lines: list[str]) -> str:
    monkeypatch.setattr(module, "_lines", lambda file: lines if file == "/proc/cpuinfo" else [])
    return str(conditions(CPU, torch.float32)["device"])


def enter_container(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Give this process another host name and process namespace."""
    before = this_machine()
    readlink = Path.readlink
    about = list(os.uname())
    about[1] = name
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(about))
    monkeypatch.setattr(platform, "node", lambda: name)
    monkeypatch.setattr(socket, "gethostname", lambda: name)
    monkeypatch.setattr(Path, "readlink", lambda path: Path(name) if "/ns/" in str(path) else readlink(path))
    assert this_machine() != before


def test_a_new_container_finds_everything_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_product_rate", "_block_share", "measure_storage"):
        monkeypatch.setattr(measured_rates, name, lambda *given, **named: 0.5)
    first = conditions(CPU, torch.float32)
    measure_rates([(64, 64)], torch.float32, CPU, None, tmp_path)
    found = sorted(tmp_path.iterdir())
    assert len(found) == 4
    enter_container(monkeypatch, "another")
    assert conditions(CPU, torch.float32) == first
    measure_rates([(64, 64)], torch.float32, CPU, None, tmp_path)
    assert sorted(tmp_path.iterdir()) == found
    assert not any(name in file.read_text() for file in found for name in ("another", this_machine()))


def test_another_processor_or_thread_count_calibrates_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def remembered() -> float:
        return remembered_number(tmp_path, conditions(CPU, torch.float32), lambda: len(list(tmp_path.iterdir())) + 1)

    cpuinfo(monkeypatch, X86)
    assert (remembered(), remembered()) == (1, 1)
    for line, other in ((3, "model name\t: Xeon"), (2, "model\t\t: 17"), (1, "cpu family\t: 26")):
        cpuinfo(monkeypatch, [other if n == line else entry for n, entry in enumerate(X86)])
        remembered()
    assert remembered() == 4
    monkeypatch.setattr(torch, "get_num_threads", lambda: 77)
    assert remembered() == 5
    monkeypatch.undo()
    cpuinfo(monkeypatch, [*X86[:4], "microcode\t: 0xb0", *X86])  # neither microcode nor other cores count
    assert remembered() == 1


def test_processors_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    capability = torch.backends.cpu.get_cpu_capability()
    assert cpuinfo(monkeypatch, X86) == f"EPYC 25 1 {capability}"
    assert cpuinfo(monkeypatch, ["CPU implementer : 0x41", "CPU part : 0xd0c"]) == f"0x41 0xd0c {capability}"
    monkeypatch.setattr(platform, "processor", lambda: "")
    assert cpuinfo(monkeypatch, []) == f"{platform.machine()} {capability}"


def test_only_versions_of_what_is_timed_count() -> None:
    assert set(conditions(CPU, torch.float32)["versions"]) == {"tcf", "torch", "transformers"}


def test_a_file_system_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two mounts of one kind and about one size are alike, whatever their device is called."""
    device = tmp_path.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    other = "36 35 999:0 / /mnt rw - nfs4 server:/x rw"
    here = f"40 1 {number} / /tmp rw,noatime master:1 - xfs /dev/sda1 rw"
    space = list(os.statvfs(tmp_path))
    for blocks, size in ((2**28, 40), (2**28 + 2**24, 40), (2**29, 41)):
        space[1], space[2] = 4096, blocks  # bytes in a block, blocks in all
        monkeypatch.setattr(os, "statvfs", lambda path: os.statvfs_result(space))
        monkeypatch.setattr(module, "_lines", lambda file: [other, here, "odd"])
        assert file_system_name(tmp_path) == f"xfs of about 2^{size} bytes"
        monkeypatch.setattr(module, "_lines", lambda file: [])
        assert file_system_name(tmp_path) == f"unknown of about 2^{size} bytes"


@pytest.mark.parametrize("damage", [b"17", b"27"])
def test_a_number_that_was_damaged_is_measured_again(tmp_path: Path, damage: bytes) -> None:
    assert remembered_number(tmp_path, {"of": "x"}, lambda: 19.0) == 19.0
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes().replace(b"19", damage))
    assert remembered_number(tmp_path, {"of": "x"}, lambda: 23.0) == 23.0
    assert remembered_number(tmp_path, {"of": "x"}, lambda: 29.0) == 23.0
