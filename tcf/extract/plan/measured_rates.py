"""Speed of this machine's matrix products, storage and copies to the device, from short calibration runs.

Shapes: M tokens, K inputs, N outputs.
"""

import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tcf.common.random_streams import RandomStream, torch_generator
from tcf.common.threads import ordered_map
from tcf.common.torch_internals import limit_onednn_caches
from tcf.encoders.onednn_packing import pack
from tcf.encoders.transformers_internals import on_meta_device
from tcf.extract.plan.calibration_memo import conditions, file_system_name, remembered_number

__all__ = ["Rates", "measure_rates", "measure_storage"]

_CALLS = 3  # of each size; the fastest counts
_SECONDS = 0.3  # approximate duration of a call
# Tokens of a run with unpacked weights. A CPU repacks them for every product, a cost that is spread over few tokens in
# a small catalogue.
_FEW = 256
_TEXT_TOKENS = 14  # length of the texts in a block's run; about that of a title
_READ = 512 * 2**20  # bytes read to measure storage
_WRITTEN = _READ // 4  # bytes of a file made to be read; with a smaller one, latency would dominate
_CHUNK = 16 * 2**20
_READERS = 4
_COPIED = 256 * 2**20
# Standard deviation of weights, as in a language model; denormal numbers, or constants on a GPU, run at another speed.
_DEVIATION = 0.02

Products = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class Rates:
    """Rates of a device and its storage, per second.

    Attributes:
        products: floating-point operations of the model's matrix products, with packed weights where the device packs.
        plain: the same with unpacked weights, as when they are streamed.
        block_share: share of that rate that a whole block reaches, with attention, norms and activations.
        storage: bytes read.
        copy: bytes copied from pinned memory to the device; None if the device computes from RAM.
    """

    products: float
    plain: float
    block_share: float
    storage: float
    copy: float | None = None

    @property
    def flops(self) -> float:
        """Floating-point operations of whole blocks whose weights stay in place."""
        return self.products * self.block_share

    @property
    def streamed_flops(self) -> float:
        """Floating-point operations of whole blocks whose weights are streamed."""
        return self.plain * self.block_share


def measure_rates(
    products: Products, dtype: torch.dtype, device: torch.device, checkpoint: Path | None, folder: Path
) -> Rates:
    """Rates for a model on a device; earlier calibration runs of this machine are reused.

    Args:
        products: inputs and outputs of each matrix of a block; empty for a model without matrices.
        dtype: type to compute in.
        device: one of the devices to compute on.
        checkpoint: a file of the weights; None if there is none yet.
        folder: directory of the remembered calibration runs.
    """
    limit_onednn_caches()
    about = conditions(device, dtype)
    on_cpu = device.type == "cpu"
    shapes = _capped(products, device)
    width = _block_width(products, device)
    remembered = partial(remembered_number, folder)

    def products_with(packed: bool) -> float:
        about_products = {"trial": "products", "packed": packed, "few": _FEW, "shapes": shapes, **about}
        return remembered(about_products, lambda: _product_rate(shapes, dtype, device, packed=packed))

    def block_share() -> float:
        return remembered({"trial": "block", "width": width, **about}, lambda: _block_share(width, dtype, device))

    return Rates(
        products=products_with(on_cpu) if shapes else 1.0,
        plain=products_with(False) if shapes else 1.0,
        block_share=block_share() if shapes else 1.0,
        storage=remembered(
            {"trial": "storage", "disk": file_system_name(checkpoint or _existing(folder))},
            lambda: measure_storage(checkpoint, folder),
        ),
        copy=remembered({"trial": "copy", **about}, lambda: _copy_rate(device)) if device.type == "cuda" else None,
    )


def _capped(products: Products, device: torch.device) -> list[tuple[int, int]]:
    """Shapes with capped sizes: beyond the caps, products run no faster."""
    most_k, most_n = (4096, 16_384) if device.type == "cuda" else (2048, 2048)
    return [(min(k, most_k), min(n, most_n)) for k, n in products]


def _block_width(products: Products, device: torch.device) -> int:
    """Width of the block that is timed; a narrow one would leave most of a GPU idle."""
    width = max((min(shape) for shape in products), default=1024)
    return min(4096, max(1024, width // 128 * 128)) if device.type == "cuda" else 1024


def _product_rate(shapes: Products, dtype: torch.dtype, device: torch.device, *, packed: bool) -> float:
    """Floating-point operations per second of these products, weighted by how often each shape occurs.

    Args:
        shapes: inputs and outputs.
        dtype: type to compute in.
        device: where to compute.
        packed: with weights packed for oneDNN beforehand.
    """
    operations, seconds = 0.0, 0.0
    for (k, n), times in Counter(shapes).items():
        layer = nn.Sequential(_filled(nn.Linear(k, n, bias=False, device="meta"), dtype, device))
        if packed:
            pack(layer, keep=False)
        most = _FEW if device.type == "cpu" and not packed else None
        tokens, taken = _timed(partial(_run, layer, k, dtype, device), device, most)
        operations += 2.0 * k * n * times
        seconds += taken * times / tokens
    return operations / seconds


def _run(layer: nn.Module, k: int, dtype: torch.dtype, device: torch.device, tokens: int) -> Callable[[], Any]:
    x_MK = torch.randn((tokens, k), dtype=dtype, device=device, generator=_generator(device))
    return lambda: layer(x_MK)


def _generator(device: torch.device) -> torch.Generator:
    return torch_generator(RandomStream.CALIBRATION, 0, device)


def _filled(module: nn.Module, dtype: torch.dtype, device: torch.device) -> nn.Module:
    """A module built on the meta device, with random weights on `device`; torch's global generators are not used."""
    filled = module.to(dtype).to_empty(device=device).requires_grad_(False).eval()
    generator = _generator(device)
    for parameter in filled.parameters():
        parameter.normal_(std=_DEVIATION, generator=generator)
    return filled


def _block_share(width: int, dtype: torch.dtype, device: torch.device) -> float:
    """The share of its products' rate that an OPT block reaches on texts as long as a title."""
    from transformers import OPTConfig, OPTModel

    config = OPTConfig(
        vocab_size=8,
        hidden_size=width,
        word_embed_proj_dim=width,
        num_hidden_layers=1,
        num_attention_heads=width // 64,
        ffn_dim=4 * width,
        max_position_embeddings=64,
    )
    with on_meta_device():
        skeleton = OPTModel(config)
    model: Any = _filled(skeleton, dtype, device)
    if device.type == "cpu":
        pack(model, keep=False)

    def call(tokens: int) -> Callable[[], Any]:
        texts_BT = torch.zeros((max(1, tokens // _TEXT_TOKENS), _TEXT_TOKENS), dtype=torch.int64, device=device)
        return lambda: model(input_ids=texts_BT, use_cache=False)

    tokens, seconds = _timed(call, device)
    tokens = max(1, tokens // _TEXT_TOKENS) * _TEXT_TOKENS
    operations = tokens * (24.0 * width**2 + 4.0 * _TEXT_TOKENS * width)
    shapes = [(width, width)] * 4 + [(width, 4 * width), (4 * width, width)]
    # A block is no faster than its products: if it seems so, the machine was busier during one of the two runs.
    return min(1.0, operations / seconds / _product_rate(shapes, dtype, device, packed=device.type == "cpu"))


def _timed(
    call: Callable[[int], Callable[[], Any]], device: torch.device, most: int | None = None
) -> tuple[int, float]:
    """Tokens of a call that is short but keeps the device busy, and its seconds.

    Args:
        call: makes the function to time, for a number of tokens.
        device: where it runs.
        most: maximum number of tokens; by default, enough to keep the device busy.
    """
    most = most or (8192 if device.type == "cuda" else 2048)
    tokens = 64
    while tokens < most and (taken := _seconds(call(tokens), device, 2)) * 4 < _SECONDS:
        tokens = min(most, tokens * 4, max(tokens * 2, int(tokens * _SECONDS / max(taken, 1e-9))))
    return tokens, _seconds(call(tokens), device, _CALLS)


def _seconds(run: Callable[[], Any], device: torch.device, calls: int) -> float:
    """The shortest time of several calls."""
    times = []
    with torch.inference_mode():
        for _ in range(calls):
            began = time.perf_counter()
            run()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            times.append(time.perf_counter() - began)
    return min(times)


def _copy_rate(device: torch.device) -> float:
    source = torch.empty(_COPIED, dtype=torch.uint8, pin_memory=True)
    there = torch.empty(_COPIED, dtype=torch.uint8, device=device)
    return _COPIED / _seconds(lambda: there.copy_(source, non_blocking=True), device, _CALLS)


def measure_storage(checkpoint: Path | None, folder: Path) -> float:
    """Bytes per second read from storage, bypassing the page cache.

    Args:
        checkpoint: the file to read; if it is small, or None, a larger one is made in `folder` and removed.
        folder: directory of that file.
    """
    if checkpoint is not None and checkpoint.stat().st_size >= _WRITTEN:
        return _read_rate(checkpoint)
    with tempfile.NamedTemporaryFile(dir=_existing(folder)) as file:
        block = os.urandom(_CHUNK)
        for _ in range(_WRITTEN // _CHUNK):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
        return _read_rate(Path(file.name))


def _read_rate(path: Path) -> float:
    with path.open("rb", buffering=0) as file:
        length = min(_READ, os.fstat(file.fileno()).st_size)
        # The end of the file: its beginning may be cached, because its header has just been read.
        first = os.fstat(file.fileno()).st_size - length
        os.posix_fadvise(file.fileno(), first, length, os.POSIX_FADV_DONTNEED)
        began = time.perf_counter()
        starts = range(first, first + length, _CHUNK)
        sizes = ordered_map(
            lambda start: len(os.pread(file.fileno(), _CHUNK, start)), starts, _READERS, extra=len(starts)
        )
        done = sum(sizes)
        return max(1, done) / max(1e-9, time.perf_counter() - began)


def _existing(folder: Path) -> Path:
    """The folder, or its nearest parent that exists."""
    while not folder.is_dir():
        folder = folder.parent
    return folder
