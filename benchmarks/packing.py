"""The speed-up of packing and compiling on a CPU: the model's own forward pass as loaded, packed and compiled, in turn.

    python benchmarks/packing.py --blocks 4

The blocks have OPT-125M's shape and random weights; micro-batches have 2,040 tokens, in texts of 12.

Shapes: B texts, T tokens.
"""

import argparse
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch
from geometries import GEOMETRIES, save_model
from torch import Tensor

from tcf.encoders.encoder import Encoder, load_encoder
from tcf.encoders.folder.open_model_folder import open_model_folder
from tcf.encoders.speed_up import make_fast

_TEXTS, _TOKENS = 170, 12


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    geometry = replace(GEOMETRIES[0], blocks=options.blocks)
    tokens_BT = torch.randint(5, 40_000, (_TEXTS, _TOKENS), generator=torch.Generator().manual_seed(0))
    print(f"{torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}, {options.blocks} blocks")
    for dtype in (torch.float32, torch.bfloat16):
        with tempfile.TemporaryDirectory() as scratch:
            save_model(geometry, Path(scratch) / "model", dtype, torch.device("cpu"))
            _compare(Path(scratch) / "model", dtype, tokens_BT, options.repeats)


def _compare(folder: Path, dtype: torch.dtype, tokens_BT: Tensor, repeats: int) -> None:
    loaded, packed, compiled = (load_encoder(open_model_folder(folder), dtype, torch.device("cpu")) for _ in range(3))
    make_fast(packed, compile=False)
    make_fast(compiled, compile=True)
    encoders = {"as loaded": loaded, "packed": packed, "compiled": compiled}
    firsts = {name: _seconds(encoder, tokens_BT) for name, encoder in encoders.items()}
    times: dict[str, list[float]] = {name: [] for name in encoders}
    for _ in range(repeats):
        for name, encoder in encoders.items():
            times[name].append(_seconds(encoder, tokens_BT))
    plain = statistics.median(times["as loaded"])
    for name, taken in times.items():
        median = statistics.median(taken)
        rate = tokens_BT.numel() / median
        print(f"{dtype}, {name:10} {rate:8.0f} tokens/s, {plain / median:.2f}x; the first call {firsts[name]:.1f} s")


def _seconds(encoder: Encoder, tokens_BT: Tensor) -> float:
    began = time.perf_counter()
    with torch.inference_mode():
        encoder.states(tokens_BT)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
