"""Memory on the device: running out of it, freeing it, and the plan's prediction of it."""

import gc
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from geometries import Geometry
from torch import Tensor

from gpu_parts.part import Finding, Setting, absent, at_most, holds
from gpu_parts.stage import dataset_of, extracted, save_geometry, tokens_at_once
from tcf.config.extract import ExtractConfig
from tcf.encoders.encoder import TransformersEncoder
from tcf.encoders.prefix_sharing.tree_attention import TreeAttention

__all__ = ["check_out_of_memory", "check_peaks"]

_MIB = 2**20
_ROOM = 256 * _MIB  # memory left besides the model's weights, so that memory runs out
_REFUSED_TOKENS = 100
_SAMPLE_SECONDS = 0.005
_ABOVE, _BELOW = 1.1, 0.3  # bounds of a peak, relative to the planned memory
_ANONYMOUS = re.compile(rb"^Rss(?:Anon|Shmem):\s+(\d+) kB", re.MULTILINE)


def check_out_of_memory(setting: Setting) -> Iterator[Finding]:
    """Too large micro-batches are halved until they fit; the vectors equal those of a run with the final size."""
    geometry = Geometry("check", 2, 4, 64) if setting.small else Geometry("check", 4, 16, 1024)
    dtype = torch.bfloat16 if setting.on_cuda else torch.float32
    folder = save_geometry(geometry, setting.scratch / "full", dtype, setting.device)
    dataset = dataset_of(setting, 400 if setting.small else 40_000)
    before = _allocated(setting)
    too_many = 2_048 if setting.small else 400_000
    with _little_memory(setting) as limit:
        first = extracted(setting, folder, dataset, config=_config(setting, too_many), loaded=limit)
        tokens = tokens_at_once(first.out)
    yield holds("smaller micro-batches", max(tokens) < too_many, f"below {too_many}", f"{sorted(tokens)}")
    again = extracted(setting, folder, dataset, config=_config(setting, max(tokens)))
    same = np.array_equal(first.vectors, again.vectors)
    yield holds("vectors after running out of memory", same, "equal to the bit", "they differ")
    if setting.on_cuda:
        yield at_most("memory kept afterwards", (_allocated(setting) - before) / _MIB, 0.0, ".1f", " MiB")
    else:
        yield absent("memory kept afterwards", "counted on CUDA")


def check_peaks(setting: Setting) -> Iterator[Finding]:
    """The peak memory of an extraction compared with its plan, resident and in a sweep."""
    geometry = Geometry("check", 8, 8, 512) if setting.small else Geometry("check", 24, 32, 2048)
    dtype = torch.bfloat16 if setting.on_cuda else torch.float32
    folder = save_geometry(geometry, setting.scratch / "peaks", dtype, setting.device)
    dataset = dataset_of(setting, 200 if setting.small else 20_000)
    for schedule in ("resident", "sweep"):
        kind: Any = schedule
        tokens = 1_024 if setting.small else 16_384
        config = ExtractConfig(schedule=kind, devices=str(setting.device), tokens_per_batch=tokens, storage="float32")
        with _peak(setting) as peak:
            plan = extracted(setting, folder, dataset, config=config).plan
        parts = plan.memory_parts[str(setting.device)]
        # The base of a CPU's plan is the program itself, most of which is already in memory.
        most, least = sum(parts.values()), sum(parts.values()) - (0 if setting.on_cuda else parts["base"])
        found = peak()
        yield holds(
            f"peak of {schedule}: {found / _MIB:,.0f} MiB, planned {least / _MIB:,.0f} to {most / _MIB:,.0f}",
            _BELOW * least <= found <= _ABOVE * most,
            f"{_BELOW} to {_ABOVE} of the plan",
            f"{found / most:.2f} of the plan",
        )


def _config(setting: Setting, tokens: int) -> ExtractConfig:
    return ExtractConfig(
        schedule="resident", devices=str(setting.device), tokens_per_batch=tokens, storage="float32", shard_rows=65_536
    )


@contextmanager
def _little_memory(setting: Setting) -> Iterator[Callable[[Any], None]]:
    """In this context memory runs out: really on CUDA; on a CPU the model refuses more than a hundred tokens."""
    if setting.on_cuda:
        try:
            yield lambda engine: _limit(setting)
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0, setting.device)
        return
    states = TransformersEncoder.states

    def refuse(self: TransformersEncoder, tokens_BT: Tensor, tree: TreeAttention | None = None) -> Any:
        if tokens_BT.numel() > _REFUSED_TOKENS:
            raise torch.OutOfMemoryError("out of memory, simulated by the rehearsal")
        return states(self, tokens_BT, tree)

    with patch.object(TransformersEncoder, "states", refuse):
        yield lambda engine: None


def _limit(setting: Setting) -> None:
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(setting.device).total_memory
    torch.cuda.set_per_process_memory_fraction(
        (torch.cuda.memory_reserved(setting.device) + _ROOM) / total, setting.device
    )


def _allocated(setting: Setting) -> int:
    gc.collect()
    if not setting.on_cuda:
        return 0
    torch.cuda.synchronize(setting.device)
    torch._C._cuda_clearCublasWorkspaces()  # which torch keeps, from the first product on
    return torch.cuda.memory_allocated(setting.device)


@contextmanager
def _peak(setting: Setting) -> Iterator[Callable[[], int]]:
    """Measure the peak memory in this context, relative to the memory in use before."""
    gc.collect()
    if setting.on_cuda:
        torch.cuda.empty_cache()
        before = torch.cuda.memory_allocated(setting.device)
        torch.cuda.reset_peak_memory_stats(setting.device)
        yield lambda: torch.cuda.max_memory_allocated(setting.device) - before
        return
    before, found, ended = _unbacked(), [0], threading.Event()

    def sample() -> None:
        while not ended.wait(_SAMPLE_SECONDS):
            found[0] = max(found[0], _unbacked() - before)

    watcher = threading.Thread(target=sample)
    watcher.start()
    try:
        yield lambda: found[0]
    finally:
        ended.set()
        watcher.join()


def _unbacked() -> int:
    """Bytes of this process's memory that no file backs."""
    return 1024 * sum(int(size) for size in _ANONYMOUS.findall(Path("/proc/self/status").read_bytes()))
