"""Vectors by transformers with accelerate's disk offload, as documented there; this script does not use tcf.

    python benchmarks/offload_accelerate.py --model FOLDER --dtype bfloat16 --texts TEXTS.json --items 128 --size 32
        --memory BYTES --vectors VECTORS.npy --result RESULT.json

Modules that fit into memory stay there; the others are loaded from the checkpoint by accelerate's hooks whenever they
are called. One batch is run before the clock starts, so that the modules that stay are loaded. Weight bytes are those
of the tensors that accelerate's loader of offloaded weights gave to the hooks.

Shapes: B texts, T tokens, D width.
"""

import argparse
import json
import re
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import infer_auto_device_map, init_empty_weights
from accelerate.utils.offload import OffloadedWeightsLoader
from processes import read_of_disks
from torch import Tensor
from transformers import AutoConfig, AutoModel, AutoTokenizer

__all__ = ["main"]

_MAX_TOKENS = 30
_SHARE = 0.9  # share of the memory limit to plan with
_WARM = 32  # texts


def main() -> None:
    """Measure, and save the result."""
    options = _options()
    texts: list[str] = json.loads(options.texts.read_text(encoding="utf-8"))[: options.items]
    dtype = getattr(torch, options.dtype)
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    fetched = _count_fetched()
    with tempfile.TemporaryDirectory(dir=options.result.parent) as offload:
        places = _places(options.model, dtype, options.memory, options.size)
        model = AutoModel.from_pretrained(options.model, dtype=dtype, device_map=places, offload_folder=offload).eval()
        _encode(model, tokenizer, texts[:_WARM])
        before, disk, began = fetched[0], read_of_disks(), time.perf_counter()
        vectors_BD = torch.cat(
            [_encode(model, tokenizer, texts[i : i + options.size]) for i in range(0, len(texts), options.size)]
        )
        seconds = time.perf_counter() - began
    np.save(options.vectors, vectors_BD.numpy())
    found = {
        "seconds": seconds,
        "items": len(texts),
        "weight_bytes": fetched[0] - before,
        "disk_bytes": read_of_disks() - disk,
        "on_disk": sum(place == "disk" for place in places.values()),
        "modules": len(places),
    }
    options.result.write_text(json.dumps(found), encoding="utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("model", "texts", "vectors", "result"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    for name in ("items", "size", "memory"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--dtype", required=True)
    return parser.parse_args()


def _places(folder: Path, dtype: torch.dtype, memory: int, size: int) -> dict[str, Any]:
    """The devices of modules, with memory left for the program and for a batch."""
    config = AutoConfig.from_pretrained(folder)
    with init_empty_weights():
        model = AutoModel.from_config(config, dtype=dtype)  # type: ignore[no-untyped-call]
    workspace = size * _MAX_TOKENS * (6 * config.hidden_size + 2 * config.ffn_dim) * dtype.itemsize
    room = int(_SHARE * memory) - _unbacked() - workspace
    found: dict[str, Any] = infer_auto_device_map(
        model, max_memory={"cpu": max(0, room)}, no_split_module_classes=model._no_split_modules, dtype=dtype
    )
    return found


def _unbacked() -> int:
    """Bytes of this process's memory that no file backs."""
    return 1024 * int(re.findall(r"RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text())[0])


def _count_fetched() -> list[int]:
    """Make accelerate's loader of offloaded weights count the bytes of the tensors that it returns."""
    fetched, own = [0], OffloadedWeightsLoader.__getitem__

    def counted(self: Any, key: str) -> Tensor:
        tensor: Tensor = own(self, key)
        fetched[0] += tensor.nbytes
        return tensor

    OffloadedWeightsLoader.__getitem__ = counted
    return fetched


def _encode(model: Any, tokenizer: Any, texts: list[str]) -> Tensor:
    """Mean states of a padded batch, (B, D) float32."""
    batch = tokenizer(
        texts,
        padding=True,
        truncation=True,
        max_length=_MAX_TOKENS,
        return_tensors="pt",
        return_token_type_ids=False,
    )
    with torch.inference_mode():
        states_BTD: Tensor = model(**batch, use_cache=False).last_hidden_state.float()
    mask_BT1 = batch["attention_mask"][:, :, None]
    pooled_BD: Tensor = (states_BTD * mask_BT1).sum(1) / mask_BT1.sum(1)
    return pooled_BD


if __name__ == "__main__":
    main()
