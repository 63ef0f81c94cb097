"""One model with every schedule, byte for byte: resident, sweeps that keep or stream their blocks, a pipeline.

Each with texts of equal length at once, and with texts that share the states of their common beginnings.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from itertools import pairwise, product
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import torch
from torch import Tensor

from gpu_parts.part import Finding, Setting, absent, at_most, holds
from gpu_parts.stage import micro_batches_of
from small.encoders.families import save_family
from small.encoders.models import made_up_texts
from tcf.config.extract import ExtractConfig
from tcf.encoders.folder.load_tokenizer import load_tokenizer
from tcf.encoders.folder.open_model_folder import open_model_folder
from tcf.encoders.tokenize import TokenSequences, tokenize
from tcf.extract.micro_batches import in_order
from tcf.extract.plan.plan import Plan
from tcf.extract.resolved_settings import Settings
from tcf.extract.schedules.engine import Engine, ignore_progress
from tcf.extract.schedules.load_engine import load_engine
from tcf.extract.sinks import TokenSink

__all__ = ["check_prefixes", "check_sanitized", "check_schedules"]

_BLOCKS, _WIDTH, _TOKENS = 3, 32, 64
_LAYERS = (0, 2, -1)
# Where blocks live, and where states are kept between them.
_SWEEPS = tuple(product(("device", "cpu", "disk"), ("device", "memory", "disk")))


def check_schedules(setting: Setting) -> Iterator[Finding]:
    """Compare the states of every token at three layers with those of the resident schedule."""
    yield from _check_schedules(setting, shares=False)


def check_prefixes(setting: Setting) -> Iterator[Finding]:
    """The same where prefixes are shared, after a comparison with what they are if not."""
    for name in ("opt", "llama"):
        folder = save_family(name, setting.scratch / f"{name}-prefixes")
        sequences = _sequences(folder)
        for dtype, most in ((torch.float32, 1e-5), (torch.bfloat16, 2**-5)):
            given = folder, setting, dtype, sequences, "resident", [str(setting.device)] * _BLOCKS, "device"
            plain, shared = (_states(*given, shares=shares) for shares in (False, True))
            found = max(float((plain[layer] - shared[layer]).abs().max() / plain[layer].abs().max()) for layer in plain)
            yield at_most(f"{name}, {str(dtype)[6:]}: states of shared prefixes, relative error", found, most, ".1e")
    yield from _check_schedules(setting, shares=True)


def _sequences(folder: Path) -> TokenSequences:
    """Texts of which many begin alike."""
    texts = made_up_texts(60)
    texts += [f"{text} {other}" for text, other in pairwise(texts)]
    return tokenize(load_tokenizer(open_model_folder(folder)), texts, max_tokens=30)


def _check_schedules(setting: Setting, *, shares: bool) -> Iterator[Finding]:
    folder = save_family("opt", setting.scratch / "opt-schedules")
    dtype = torch.bfloat16 if setting.on_cuda else torch.float32
    sequences = _sequences(folder)
    device = str(setting.device)
    resident = _states(folder, setting, dtype, sequences, "resident", [device] * _BLOCKS, "device", shares=shares)
    for blocks, states in _SWEEPS:
        places = [device if blocks == "device" else blocks] * _BLOCKS
        swept = _states(folder, setting, dtype, sequences, "sweep", places, states, shares=shares)
        yield _same(f"sweep, blocks: {blocks}, states: {states}", resident, swept)
    # On a CPU, blocks are packed for oneDNN only in a single process; its float32 sums have another order.
    own = (
        resident
        if setting.on_cuda
        else _states(
            folder, setting, dtype, sequences, "sweep", ["cpu"] * _BLOCKS, "memory", packs=False, shares=shares
        )
    )
    devices = [device] * 2
    piped = _states(
        folder, setting, dtype, sequences, "pipeline", [device] * _BLOCKS, "device", devices=devices, shares=shares
    )
    yield _same(f"pipeline over {','.join(devices)}", own, piped)


def check_sanitized(setting: Setting) -> Iterator[Finding]:
    """The same under torch's CUDA sanitizer, which finds memory used on two streams without an order between them.

    It sees what the main thread starts. Copies that other threads start, as a sweep's weight stream does, it does not.
    """
    what = "schedules under the CUDA sanitizer, main thread"
    if not setting.on_cuda:
        yield absent(what, "needs CUDA")
        return
    command = [sys.executable, sys.argv[0], "--worker", "--parts", "schedules", "--device", str(setting.device)]
    ended = subprocess.run(
        [*command, "--small", "--scratch", str(setting.scratch / "sanitized")],
        env={**os.environ, "TORCH_CUDA_SANITIZER": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    last = next((line for line in reversed(ended.stderr.splitlines()) if line.strip()), "nothing on standard error")
    quiet = ended.returncode == 0 and "CSAN" not in ended.stderr
    yield holds(what, quiet, "no race found", f"status {ended.returncode}: {last[:200]}")


def _states(
    folder: Path,
    setting: Setting,
    dtype: torch.dtype,
    sequences: TokenSequences,
    schedule: str,
    places: Sequence[str],
    states: str,
    *,
    devices: Sequence[str] = (),
    packs: bool | None = None,
    shares: bool = False,
) -> dict[int, Tensor]:
    """The states of all tokens, (nnz, D) per layer, with a schedule that keeps its blocks in these places."""
    engine = _engine(folder, setting, dtype, schedule, places, states, devices or [str(setting.device)], packs)
    cpu = torch.device("cpu")
    sinks = {layer: TokenSink(sequences.lengths, _WIDTH, torch.float32, cpu) for layer in _LAYERS}
    batches = micro_batches_of(engine, sequences, shares=shares)
    try:
        engine.encode(
            batches,
            sequences,
            {layer: [sink] for layer, sink in sinks.items()},
            scratch=setting.scratch / "sweep",
            advance=ignore_progress,
        )
    finally:
        engine.close()
    return {layer: torch.from_numpy(sink.states(in_order(batches))[0]) for layer, sink in sinks.items()}


def _engine(
    folder: Path,
    setting: Setting,
    dtype: torch.dtype,
    schedule: str,
    places: Sequence[str],
    states: str,
    devices: Sequence[str],
    packs: bool | None,
) -> Engine:
    plan = SimpleNamespace(
        schedule=schedule,
        devices=tuple(devices),
        blocks=tuple(places),
        micro_batch_tokens=_TOKENS,
        hidden_states=states,
        packs=not setting.on_cuda if packs is None else packs,
    )
    settings = Settings(("mean",), "", 30, dtype, setting.device)
    return load_engine(open_model_folder(folder), _LAYERS, ExtractConfig(), settings, cast(Plan, plan))


def _same(what: str, expected: dict[int, Tensor], found: dict[int, Tensor]) -> Finding:
    differing = [layer for layer in _LAYERS if not torch.equal(expected[layer], found[layer])]
    worst = max((float((expected[layer] - found[layer]).abs().max()) for layer in differing), default=0.0)
    return holds(what, not differing, "equal to the bit", f"layers {differing} differ, by {worst:.3g} at most")
