"""Time and peak memory of `tcf convert` on synthetic raw weights of a published size of OPT.

    python benchmarks/convert.py 6.7b FOLDER --parts 2 --kill

This writes metaseq's model-parallel parts, about as large as the real ones, converts them in a separate process, and
prints its peak memory and the file sizes. With --kill, a second conversion is killed and restarted, and its bytes are
compared with those of the first. FOLDER needs space for the model twice.
"""

import argparse
import json
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch
from processes import Ended, expect, mib, table, watch

from tcf.encoders.folder.opt_sizes import opt_size

State = dict[str, torch.Tensor]
SETTINGS = '{"tokenizer_class": "GPT2Tokenizer", "add_bos_token": true, "bos_token": "</s>", "eos_token": "</s>"}'


def part_of(name: str, parts: int, part: int) -> State:
    """Synthetic tensors of one part; the tensors that all parts share are the same in each."""
    size = opt_size(name)
    if size is None or size.post_norm:
        raise SystemExit(f"{name}: expected a published size of OPT with pre-norm blocks")
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


def write_raw(folder: Path, size: str, parts: int) -> None:
    """Write the missing parts, and a tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    for part in range(parts):
        file = folder / f"reshard-model_part-{part}.pt"
        if not file.is_file():
            torch.save({"model": part_of(f"opt-{size}", parts, part)}, file)
    (folder / "vocab.json").write_text(json.dumps({"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "a": 4}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    (folder / "tokenizer_config.json").write_text(SETTINGS)


def converted(raw: Path, out: Path, *, kill: bool = False) -> Ended:
    """Convert; with `kill`, the process is killed shortly after it has finished its second file of weights."""
    second: list[float] = []

    def is_time() -> bool:
        done = list(out.parent.glob(f".{out.name}.*.convert/model-*.safetensors"))
        if len(done) >= 2 and not second:
            second.append(time.monotonic())
        return bool(second) and time.monotonic() > second[0] + 2

    command = [sys.executable, "-m", "tcf.cli", "convert", str(raw), "--out", str(out)]
    ended = watch(command, log=out.parent / "log", kill=is_time if kill else None)
    return ended.expect(-signal.SIGKILL if kill else 0)


def files_of(out: Path) -> dict[str, Any]:
    """The files of a converted model, with their sizes and checksums."""
    files: dict[str, Any] = json.loads((out / "manifest.json").read_text())["files"]
    return files


def main() -> None:
    """Write, convert, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("size")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--parts", type=int, default=8)
    parser.add_argument("--kill", action="store_true", help="also kill a conversion, restart it, and compare the bytes")
    chosen = parser.parse_args()
    raw, out = chosen.folder / "raw", chosen.folder / "out"
    write_raw(raw, chosen.size, chosen.parts)
    shutil.rmtree(out, ignore_errors=True)
    runs = {"whole": converted(raw, out)}
    if chosen.kill:
        files = files_of(out)
        shutil.rmtree(out)
        runs["killed"] = converted(raw, out, kill=True)
        kept = len(list(chosen.folder.glob(".out.*.convert/model-*.safetensors")))
        expect(not out.exists() and kept > 1, "nothing published, two files kept", f"{kept} files kept")
        runs["resumed"] = converted(raw, out)
        expect(files_of(out) == files, "the same bytes after a kill", "different bytes")
    rows = [[name, f"{run.seconds:.0f}", f"{run.cpu:.0f}", mib(run.peak)] for name, run in runs.items()]
    print(table(["run", "seconds", "CPU seconds", "peak anonymous + shared, MiB"], rows))
    for name, files_there in (("source", raw.glob("*.pt")), ("result", out.glob("*.safetensors"))):
        sizes = [file.stat().st_size for file in files_there]
        print(f"{name}: {len(sizes)} files, {mib(sum(sizes))} MiB, smallest {mib(min(sizes))} MiB")


if __name__ == "__main__":
    main()
