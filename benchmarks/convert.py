"""What `tcf convert` takes: time and peak memory on made-up raw weights of a published size of OPT.

    python benchmarks/convert.py 6.7b FOLDER --parts 8

writes metaseq's model-parallel parts, about as large as the real ones, converts them in a process of its own, and prints
its peak memory beside the size of a source file. FOLDER needs room for the model twice.
"""

import argparse
import json
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import torch

from tcf.models.opt_sizes import opt_size

State = dict[str, torch.Tensor]
SETTINGS = '{"tokenizer_class": "GPT2Tokenizer", "add_bos_token": true, "bos_token": "</s>", "eos_token": "</s>"}'


def part_of(name: str, parts: int, part: int) -> State:
    """One part's tensors, every number made up; what all parts share is the same in each."""
    size = opt_size(name)
    if size is None or size.post_norm:
        raise SystemExit(f"{name}: expected a published size of OPT with its norms before the blocks")
    own = torch.Generator().manual_seed(1 + part)
    width, hidden = size.width, 4 * size.width

    def split(*shape: int) -> torch.Tensor:
        return (
            torch.randn(shape[0] * (shape[1] if len(shape) > 1 else 1) // 64 + 1, generator=own)
            .half()
            .repeat(64)[: shape[0] * (shape[1] if len(shape) > 1 else 1)]
            .reshape(shape)
        )

    shared = torch.ones(width).half()
    state = {
        "decoder.version": torch.tensor([3.0]),
        "decoder.embed_tokens.weight": split(50_272 // parts, width),
        "decoder.embed_positions.weight": torch.ones(2050, width).half(),
        "decoder.layer_norm.weight": shared.clone(),
        "decoder.layer_norm.bias": shared.clone(),
    }
    for number in range(size.blocks):
        at = f"decoder.layers.{number}."
        state[at + "self_attn.qkv_proj.weight"] = split(3 * width // parts, width)
        state[at + "self_attn.qkv_proj.bias"] = split(3 * width // parts)
        state[at + "self_attn.out_proj.weight"] = split(width, width // parts)
        state[at + "fc1.weight"], state[at + "fc1.bias"] = split(hidden // parts, width), split(hidden // parts)
        state[at + "fc2.weight"] = split(width, hidden // parts)
        for name_ in ("self_attn_layer_norm.weight", "self_attn_layer_norm.bias", "final_layer_norm.weight"):
            state[at + name_] = shared.clone()
        for name_ in ("final_layer_norm.bias", "self_attn.out_proj.bias", "fc2.bias"):
            state[at + name_] = shared.clone()
    return state


def main() -> None:
    """Write, convert, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("size")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--parts", type=int, default=8)
    chosen = parser.parse_args()
    raw, out = chosen.folder / "raw", chosen.folder / "out"
    raw.mkdir(parents=True, exist_ok=True)
    for part in range(chosen.parts):
        file = raw / f"reshard-model_part-{part}.pt"
        if not file.is_file():
            torch.save({"model": part_of(f"opt-{chosen.size}", chosen.parts, part)}, file)
    (raw / "vocab.json").write_text(json.dumps({"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "a": 4}))
    (raw / "merges.txt").write_text("#version: 0.2\n")
    (raw / "tokenizer_config.json").write_text(SETTINGS)
    shutil.rmtree(out, ignore_errors=True)
    start = time.monotonic()
    subprocess.run([sys.executable, "-m", "tcf.cli", "convert", str(raw), "--out", str(out)], check=True)
    print(
        json.dumps(
            {
                "seconds": round(time.monotonic() - start, 1),
                "peak_gib": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20, 2),
                "source_file_gib": round((raw / "reshard-model_part-0.pt").stat().st_size / 2**30, 2),
                "source_gib": round(sum(file.stat().st_size for file in raw.glob("*.pt")) / 2**30, 2),
            }
        )
    )


if __name__ == "__main__":
    main()
