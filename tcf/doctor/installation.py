"""The installation: versions, libraries that cannot be imported, GPUs, the build of FAISS, and problems."""

import importlib
import importlib.metadata
import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from tcf.common.manifest import library_versions
from tcf.config.libraries import install_command

__all__ = ["FAISS", "REQUIRED", "CudaDevice", "FaissBuild", "Installation", "inspect_installation"]

REQUIRED = (
    "accelerate",
    "duckdb",
    "gguf",
    "huggingface_hub",
    "numpy",
    "optuna",
    "pyarrow",
    "rich",
    "safetensors",
    "tensorboard",
    "tokenizers",
    "tomli_w",
    "torch",
    "transformers",
    "typer",
)
OPTIONAL = ("matplotlib", "pandas")
"""For plots and data frames only, so that it is no problem if they are not installed."""
FAISS = ("faiss-cpu", "faiss-gpu", "faiss-gpu-cu11", "faiss-gpu-cu12")
_COMPILED = (
    "numpy",
    "pyarrow",
    "duckdb",
    "safetensors",
    "tokenizers",
    "torch",
    "faiss",
)  # may be installed and yet broken
_INSTALL = 'run `pip install "text-cf[cpu]"`'
_DRIVER = Path("/proc/driver/nvidia")
_YES = ("1", "on", "true", "yes")


@dataclass(frozen=True)
class CudaDevice:
    """A GPU that torch can use.

    Attributes:
        name: name of the device in torch, such as `cuda:0`.
        model: name of the model.
        memory_bytes: its memory.
    """

    name: str
    model: str
    memory_bytes: int


@dataclass(frozen=True)
class FaissBuild:
    """How the installed FAISS was built.

    Attributes:
        gpu: whether it can search on GPUs.
        gpus: number of GPUs that it sees.
        options: its compile options, such as AVX2.
    """

    gpu: bool
    gpus: int
    options: str


@dataclass(frozen=True)
class Installation:
    """The installation.

    Attributes:
        versions: versions of tcf, Python and the required libraries, by name; None if not installed.
        cuda_devices: GPUs that torch can use.
        torch_cuda: version of CUDA that torch is built for; None without CUDA or without torch.
        driver: version of NVIDIA's driver; None without an NVIDIA GPU.
        faiss: the build of FAISS; None if it cannot be imported.
        problems: one line per problem: what is wrong and what to do.
        notes: one line per environment variable that changes what tcf does.
    """

    versions: dict[str, str | None]
    cuda_devices: tuple[CudaDevice, ...]
    torch_cuda: str | None
    driver: str | None
    faiss: FaissBuild | None
    problems: tuple[str, ...]
    notes: tuple[str, ...]


def inspect_installation(driver_folder: Path = _DRIVER) -> Installation:
    """Inspect the installation; compiled libraries are imported to see whether they work.

    Args:
        driver_folder: folder in which NVIDIA's driver reports its version and GPUs.
    """
    versions = _versions()
    driver = _driver_version(driver_folder)
    modules, broken = _import_compiled()
    torch, faiss = modules.get("torch"), modules.get("faiss")
    problems = [*_missing(versions), *broken, *_gpu_problems(torch, driver)]
    return Installation(
        versions=versions,
        cuda_devices=() if torch is None else _cuda_devices(torch),
        torch_cuda=None if torch is None else torch.version.cuda,
        driver=driver,
        faiss=None if faiss is None else _faiss_build(faiss),
        problems=tuple(problems),
        notes=_environment_notes(),
    )


def _versions() -> dict[str, str | None]:
    known: dict[str, str | None] = {"tcf": library_versions().get("tcf"), "python": platform.python_version()}
    known |= {name: _version(name) for name in (*REQUIRED, *OPTIONAL)}
    return known | {name: found for name in FAISS if (found := _version(name)) is not None}


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _missing(versions: dict[str, str | None]) -> list[str]:
    """Problems with libraries that are not installed, and with packages that exclude one another."""
    problems = [f"{name} is not installed; {_INSTALL}" for name in REQUIRED if versions[name] is None]
    found = [name for name in FAISS if versions.get(name) is not None]
    if not found:
        problems.append(
            f"FAISS is not installed, which training and `--search faiss` need; run {install_command('faiss')}"
        )
    if len(found) > 1:
        names = " and ".join(found)
        problems.append(
            f"{names} are installed together and overwrite one another; run `pip uninstall {' '.join(found)}`, then "
            f"{install_command('faiss')}"
        )
    return problems


def _import_compiled() -> tuple[dict[str, ModuleType], list[str]]:
    """The libraries that can be imported, by name, and one line per installed library that cannot."""
    modules, problems = {}, []
    for name in _COMPILED:
        try:
            modules[name] = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name:
                problems.append(f"{name} cannot be imported, because {error.name} is not installed; {_INSTALL}")
        except Exception as error:  # whatever a broken build raises
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            problems.append(f"{name} is installed but cannot be imported ({reason}); install it again")
    return modules, problems


def _driver_version(folder: Path) -> str | None:
    """The version of NVIDIA's driver, if there is a GPU for it."""
    try:
        if not any((folder / "gpus").iterdir()):
            return None
        found = re.search(r"\s(\d+\.\d+(\.\d+)?)\s", (folder / "version").read_text(encoding="utf-8"))
    except OSError:
        return None
    return found[1] if found else "unknown"


def _cuda_devices(torch: Any) -> tuple[CudaDevice, ...]:
    if not torch.cuda.is_available():
        return ()
    found = [(index, torch.cuda.get_device_properties(index)) for index in range(torch.cuda.device_count())]
    return tuple(CudaDevice(f"cuda:{index}", of.name, of.total_memory) for index, of in found)


def _gpu_problems(torch: Any, driver: str | None) -> list[str]:
    """The problem of a GPU that torch cannot use, unless the user has hidden it."""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES", "all") in ("", "-1")
    if torch is None or driver is None or hidden or torch.cuda.is_available():
        return []
    if torch.version.cuda is None:
        return [
            f"torch {torch.__version__} is built without CUDA, but there is an NVIDIA GPU; install a build with "
            "CUDA (https://pytorch.org/get-started/locally)"
        ]
    return [
        f"torch {torch.__version__}, built for CUDA {torch.version.cuda}, cannot use the NVIDIA GPU with driver "
        f"{driver}; update the driver, or install a build of torch for an older CUDA"
    ]


def _environment_notes() -> tuple[str, ...]:
    offline = os.environ.get("HF_HUB_OFFLINE", "").lower() in _YES
    if not offline:
        return ()
    return ("HF_HUB_OFFLINE is set, so nothing is downloaded from the Hugging Face hub; unset it to allow that",)


def _faiss_build(faiss: Any) -> FaissBuild:
    gpu = hasattr(faiss, "StandardGpuResources")
    options = " ".join(faiss.get_compile_options().split())
    return FaissBuild(gpu, faiss.get_num_gpus() if gpu else 0, options)
