"""Plans for machines that are not here."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import torch

from tcf.config.extract import ExtractConfig
from tcf.encoders.encoder import resolve_dtype
from tcf.encoders.folder.open_model_folder import open_model_folder
from tcf.encoders.folder.opt_sizes import opt_size
from tcf.extract.plan.choose_schedule import make_plan
from tcf.extract.plan.machine import Machine, Memory
from tcf.extract.plan.measured_rates import Rates
from tcf.extract.plan.model_size import Geometry, read_geometry
from tcf.extract.plan.plan import Plan
from tcf.extract.plan.plan_inputs import PlanInputs
from tcf.extract.plan.workload import Workload, expected_workload

__all__ = ["CPU_RATES", "GIB", "GPU_RATES", "KEYS", "MIB", "TORCH", "cpu_machine", "gpu_machine", "opt_config", "plan"]

MIB, GIB = 2**20, 2**30
# What programs that read a plan may rely on.
KEYS = {
    "schedule", "parameters", "checkpoint_bytes", "weight_bytes_read", "macro_batches", "tokens", "flops", "seconds",
    "items_per_second", "peak_memory_bytes", "output_bytes",
}  # fmt: skip
TORCH = 100 * MIB  # what the memory of the program itself is taken to grow by
GPU_RATES = Rates(products=600e12, plain=600e12, block_share=0.8, storage=6e9, copy=50e9)
CPU_RATES = Rates(products=0.3e12, plain=0.25e12, block_share=0.8, storage=1e9)


def opt_config(folder: Path, name: str) -> Path:
    """A folder with the `config.json` of a published size of OPT, and nothing else."""
    size = opt_size(name)
    assert size is not None
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(size.settings))
    return folder


def gpu_machine(
    n: int, *, gpu: int = 80 * GIB, ram: int = 500 * GIB, base: int = 0, disk: int | None = None
) -> Machine:
    """So many GPUs; all of the memory may be used."""
    names = tuple(f"cuda:{number}" for number in range(n))
    memory = {**dict.fromkeys(names, Memory(gpu, gpu, gpu)), "cpu": Memory(ram, ram, ram)}
    return Machine(names, memory, base, disk, disk)


def cpu_machine(ram: int, *, n: int = 1, base: int = 0, disk: int | None = None) -> Machine:
    """A machine without GPUs."""
    return Machine(("cpu",) * n, {"cpu": Memory(ram, ram, ram)}, base, disk, disk)


def plan(folder: Path, machine: Machine, work: Workload | int, *, rates: Rates | None = None, **settings: Any) -> Plan:
    """A plan for a workload, or for so many texts of 14 tokens."""
    config = ExtractConfig(**settings)
    work = expected_workload(work, 14, config.max_tokens) if isinstance(work, int) else work
    dtype = resolve_dtype(config.dtype, open_model_folder(folder), torch.device(machine.devices[0]))
    states = () if config.token_states is None else (config.token_states,)
    geometry = _geometry(folder, dtype, config.pooled_layers + states)
    rates = rates or (CPU_RATES if machine.on_cpu else GPU_RATES)
    widths = tuple(geometry.last_width if layer == -1 else geometry.width for layer in config.pooled_layers)
    return make_plan(PlanInputs("small", geometry, work, machine, rates, config, widths))


@cache
def _geometry(folder: Path, dtype: torch.dtype, layers: tuple[int, ...]) -> Geometry:
    return read_geometry(open_model_folder(folder), dtype, layers=layers)
