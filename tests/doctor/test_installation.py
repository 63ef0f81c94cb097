"""Versions, libraries that cannot be imported, GPUs, and what is wrong with them."""

import configparser
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import tcf
from tcf.doctor import installation as module
from tcf.doctor.installation import REQUIRED, inspect_installation
from tcf.doctor.machine import inspect_machine, usable_cores

ROOT = Path(tcf.__file__).parents[1]


def test_what_is_required_is_what_is_installed_with_tcf() -> None:
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    lines = settings["options"]["install_requires"].split("\n")
    assert sorted(REQUIRED) == sorted(re.split("[<>=]", line)[0] for line in lines if line)


def test_this_installation(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    found = inspect_installation(tmp_path)
    assert found.problems == found.notes == ()
    assert found.versions["python"] == sys.version.split()[0]
    assert found.faiss is not None and found.faiss.options.startswith("OPTIMIZE")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    offline = inspect_installation(tmp_path)
    assert [note.split(",")[0] for note in offline.notes] == ["HF_HUB_OFFLINE is set"] and offline.problems == ()


def test_it_runs_where_torch_and_faiss_cannot_be_imported(tmp_path: Path) -> None:
    """Modules that fail stand before the real ones."""
    for library in ("torch", "faiss"):
        (tmp_path / f"{library}.py").write_text("raise OSError('libx.so.1: cannot open shared object file')")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}", "TCF_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-m", "tcf.cli", "doctor", "--json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    problems = " ".join(json.loads(done.stdout)["problems"])
    for library in ("torch", "faiss"):
        assert f"{library} is installed but cannot be imported (libx.so.1: cannot open shared object file)" in problems


def problems_with(monkeypatch: pytest.MonkeyPatch, packages: dict[str, str | None], gpu: Path) -> list[str]:
    """Of an installation with other packages."""
    version = module._version
    monkeypatch.setattr(module, "_version", lambda name: packages[name] if name in packages else version(name))
    return list(inspect_installation(gpu).problems)


def test_packages_that_are_missing_or_too_many(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    missing: dict[str, str | None] = {"faiss-cpu": None, "gguf": None, "pandas": None}  # pandas is optional
    assert problems_with(monkeypatch, missing, tmp_path) == [
        'gguf is not installed; run `pip install "text-cf[cpu]"`',
        "FAISS is not installed, which training and `--search faiss` need; "
        'run `pip install "text-cf[cpu]"`, or on a machine with an NVIDIA GPU `pip install "text-cf[gpu]"`',
    ]
    [problem] = problems_with(monkeypatch, {"faiss-cpu": "1.0", "faiss-gpu": "1.0", "gguf": "1"}, tmp_path)
    assert problem.startswith(
        "faiss-cpu and faiss-gpu are installed together and overwrite one another; run `pip unins"
    )


@pytest.fixture
def driver(tmp_path: Path) -> Path:
    """What NVIDIA's driver tells about a GPU."""
    (tmp_path / "gpus" / "0000:01:00.0").mkdir(parents=True)
    text = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024\nGCC version: 12\n"
    (tmp_path / "version").write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("cuda", "usable", "visible", "said"),
    [
        (None, False, None, "built without CUDA, but there is an NVIDIA GPU"),
        ("12.8", False, None, "cannot use the NVIDIA GPU with driver 550.54.15"),
        ("12.8", True, None, None),
        ("12.8", False, "", None),
    ],
)
def test_a_gpu_that_torch_does_not_use(
    driver: Path, monkeypatch: pytest.MonkeyPatch, cuda: Any, usable: bool, visible: str | None, said: str | None
) -> None:
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    gpus = SimpleNamespace(is_available=lambda: usable)
    torch = SimpleNamespace(__version__="2.9", version=SimpleNamespace(cuda=cuda), cuda=gpus)
    assert module._driver_version(driver) == "550.54.15"
    problems = module._gpu_problems(torch, "550.54.15")
    assert [said in problem for problem in problems if said] == ([True] if said else [])
    assert bool(problems) == (said is not None)


def test_cores_within_the_quotas_of_control_groups(tmp_path: Path) -> None:
    own, root = tmp_path / "own", tmp_path / "cgroup"
    (root / "a" / "b").mkdir(parents=True)
    own.write_text("0::/a/b\n")
    free = usable_cores(root, own)
    assert free == len(os.sched_getaffinity(0))
    (root / "a" / "b" / "cpu.max").write_text("max 100000\n")
    assert usable_cores(root, own) == free
    (root / "a" / "cpu.max").write_text("50000 100000\n")
    assert usable_cores(root, own) == 1
    (root / "cpu" / "c").mkdir(parents=True)
    own.write_text("4:cpu,cpuacct:/c\n")
    (root / "cpu" / "c" / "cpu.cfs_quota_us").write_text("-1")
    (root / "cpu" / "c" / "cpu.cfs_period_us").write_text("100000")
    assert usable_cores(root, own) == free
    (root / "cpu" / "c" / "cpu.cfs_quota_us").write_text("100000")
    assert usable_cores(root, own) == 1


def test_the_machine(tmp_path: Path) -> None:
    found = inspect_machine([tmp_path / "not" / "there"])
    assert 1 <= found.usable_cores <= found.cores
    assert 0 < found.memory_available_bytes <= found.memory_limit_bytes <= found.memory_bytes
    assert 0 < found.disks[0].free_bytes <= found.disks[0].total_bytes
