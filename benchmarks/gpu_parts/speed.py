"""The speed of extraction, as a share of the rate at which the device multiplies the model's matrices."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from catalogues import product_lines
from geometries import GEOMETRIES, Geometry
from matrix_rate import matrix_rate
from torch.nn.attention import SDPBackend, sdpa_kernel

from gpu_parts.part import Finding, Setting, absent, at_least, at_most, noted
from gpu_parts.stage import Done, dataset_of, extracted, save_geometry
from small.encoders.models import save_dataset
from tcf.config.extract import ExtractConfig

__all__ = ["measure_extraction", "measure_sweep", "measure_wide_blocks"]

# Minimum share of the measured bfloat16 rate, and number of texts; the shares are estimates until first measured.
_MEASURED = (("125m", 0.35, 65_536), ("1.3b", 0.60, 32_768), ("6.7b", 0.75, 8_192), ("13b", 0.80, 8_192))
_SWEEP_GIB = 6
_ROWS = 8_192  # of the products that the rate is measured with
_TINY = Geometry("tiny", 2, 4, 64)
_WIDE = Geometry("two blocks of 175b", 2, 96, 12_288)


def measure_extraction(setting: Setting) -> Iterator[Finding]:
    """Measure published sizes of OPT, resident, without and with cuDNN's attention."""
    sizes = (
        [(_TINY, 0.0, 256)] if setting.small else [(_geometry(name), floor, texts) for name, floor, texts in _MEASURED]
    )
    for geometry, floor, texts in sizes:
        folder = _saved(setting, geometry)
        rate = matrix_rate(geometry, 256 if setting.small else _ROWS, _dtype(setting), setting.device)
        yield noted(f"{geometry.name}: matrix products", f"{rate / 1e12:.2f} TFLOP/s")
        for cudnn in (False, True) if setting.on_cuda else (False,):
            with _cudnn_attention(cudnn):
                config = replace(_config(setting), share_prefixes=False)
                done = extracted(setting, folder, dataset_of(setting, texts), config=config, warm=True)
            what = (
                f"{geometry.name}{', cuDNN' if cudnn else ''}: {texts / done.seconds:,.0f} items/s, share of the rate"
            )
            yield at_least(what, _share(geometry, done, rate), floor)
        yield _shared_prefixes(setting, geometry, folder, texts)
        shutil.rmtree(folder)  # memory-backed storage does not hold them all


def measure_sweep(setting: Setting) -> Iterator[Finding]:
    """A sweep within 6 GiB of the device, beside the whole model on it; weights are read once."""
    geometry, texts = (_TINY, 256) if setting.small else (_geometry("6.7b"), 16_384)
    folder, dataset = _saved(setting, geometry), dataset_of(setting, texts)
    resident = extracted(setting, folder, dataset, config=_config(setting), warm=True)
    most = f"gpu={_SWEEP_GIB}GiB" if setting.on_cuda else None
    if setting.on_cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(setting.device)
    swept = extracted(setting, folder, dataset, config=_config(setting, schedule="sweep", max_memory=most))
    ratio, floor = resident.seconds / swept.seconds, 0.0 if setting.small else 0.9
    yield at_least(f"sweep of {geometry.name}, {most or 'no limit'}: speed relative to resident", ratio, floor)
    stored = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    # Blocks that do not stay on the device are read once more, for the comparison of prefixes.
    yield at_most("weights read, of the checkpoint", swept.weight_bytes / stored, 2.0)
    yield at_least("weights read, of the checkpoint", swept.weight_bytes / stored, 0.9)
    if setting.on_cuda:
        peak = torch.cuda.max_memory_reserved(setting.device) / 2**30
        yield at_most("peak of the device's memory", peak, _SWEEP_GIB, ".2f", " GiB")
    else:
        yield absent("peak of the device's memory", "counted on CUDA")


def measure_wide_blocks(setting: Setting) -> Iterator[Finding]:
    """Measure two blocks as wide as those of OPT-175B."""
    geometry, texts = (_TINY, 256) if setting.small else (_WIDE, 8_192)
    folder = _saved(setting, geometry)
    rate = matrix_rate(geometry, 256 if setting.small else _ROWS, _dtype(setting), setting.device)
    config = replace(_config(setting), share_prefixes=False)
    done = extracted(setting, folder, dataset_of(setting, texts), config=config, warm=True)
    yield at_least(f"{geometry.name}: share of the rate", _share(geometry, done, rate), 0.0 if setting.small else 0.8)


def _shared_prefixes(setting: Setting, geometry: Geometry, folder: Path, texts: int) -> Finding:
    """The speed-up of shared prefixes on product names of which nearly half of the tokens are shared."""
    dataset = save_dataset(setting.scratch / f"products-{geometry.name}", product_lines(texts))
    not_shared, shared = (
        extracted(setting, folder, dataset, config=replace(_config(setting), share_prefixes=shares), warm=True).seconds
        for shares in (False, True)
    )
    what = f"{geometry.name}, product names: speed with shared prefixes relative to without"
    return at_least(what, not_shared / shared, 0.0 if setting.small else 1.0)


def _config(setting: Setting, schedule: str = "resident", max_memory: str | None = None) -> ExtractConfig:
    kind: Any = schedule
    dtype: Any = "bfloat16" if setting.on_cuda else "float32"
    tokens = 512 if setting.small else 16_384
    return ExtractConfig(
        schedule=kind, max_memory=max_memory, dtype=dtype, devices=str(setting.device), tokens_per_batch=tokens
    )


def _saved(setting: Setting, geometry: Geometry) -> Path:
    return save_geometry(geometry, setting.scratch / geometry.name.replace(" ", "-"), _dtype(setting), setting.device)


def _geometry(name: str) -> Geometry:
    return next(geometry for geometry in GEOMETRIES if geometry.name == name)


def _dtype(setting: Setting) -> torch.dtype:
    return torch.bfloat16 if setting.on_cuda else torch.float32


def _share(geometry: Geometry, done: Done, rate: float) -> float:
    return geometry.flops * done.tokens / done.seconds / rate


@contextmanager
def _cudnn_attention(enabled: bool) -> Iterator[None]:
    """Within it, cuDNN's attention is preferred to all others, or never used."""
    others = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
    chosen = [SDPBackend.CUDNN_ATTENTION, *others] if enabled else others
    with sdpa_kernel(chosen, set_priority=True):
        yield
