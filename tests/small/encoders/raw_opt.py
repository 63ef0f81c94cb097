"""Small OPT models written as raw weights, in the layouts of metaseq, fairscale, Alpa, FlexGen and `.bin` files.

The layouts are written from what those programs do with the numbers, not from tcf's conversion:

- a column-parallel layer holds rows of its weight and bias, a row-parallel one columns of its weight and all of its
  bias (metaseq, model_parallel/modules/transformer_layer.py, build_fc1 and build_fc2);
- `qkv_proj` of a part gives keys, values and queries of the part's heads, in this order, along its rows (metaseq,
  model_parallel/modules/multihead_attention.py: `k, v, q = split_tensor_along_last_dim(kvq, 3)`);
- fairscale flattens the parameters of a wrapped module in the order of their names, cuts the vector with `torch.chunk`
  and pads the last chunks with zeros (fairscale, nn/data_parallel/fully_sharded_data_parallel.py, _get_shard).
"""

import argparse
import sys
import types
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Any, Dict  # noqa: UP035 -- as omegaconf saves it

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import OPTConfig, OPTForCausalLM

from small.encoders.models import draw_weights, save_byte_pairs

__all__ = [
    "flat_shards",
    "metaseq_parts",
    "metaseq_states",
    "save_flexgen",
    "save_metaseq",
    "save_settings",
    "settings_objects",
    "small_opt",
]

State = dict[str, Tensor]
HEADS = 8


def small_opt(*, norm: str = "pre", blocks: int = 2, seed: int = 0) -> OPTForCausalLM:
    """A small OPT in float16; `post` has norms after the blocks and projections, as OPT-350M."""
    config = OPTConfig(
        vocab_size=400,
        hidden_size=32,
        word_embed_proj_dim=32 if norm == "pre" else 16,
        num_hidden_layers=blocks,
        num_attention_heads=HEADS,
        ffn_dim=64,
        max_position_embeddings=62,
        do_layer_norm_before=norm == "pre",
        bos_token_id=2,
        eos_token_id=2,
        pad_token_id=1,
    )
    model: Any = draw_weights(OPTForCausalLM(config), seed)
    halved: OPTForCausalLM = model.half().eval()
    return halved


def save_settings(model: OPTForCausalLM, folder: Path, tokenizer: str = "metaseq") -> None:
    """Put config.json and the tokenizer beside raw weights, the latter under metaseq's names or those of a model."""
    model.config.save_pretrained(folder)
    save_byte_pairs(folder)
    if tokenizer == "metaseq":
        (folder / "vocab.json").rename(folder / "gpt2-vocab.json")
        (folder / "merges.txt").rename(folder / "gpt2-merges.txt")
        (folder / "tokenizer_config.json").unlink()


def metaseq_parts(model: OPTForCausalLM, n: int, *, fused: bool = True) -> list[State]:
    """The state of each of n model-parallel parts, under metaseq's names."""
    whole = {name.removeprefix("model."): weight for name, weight in model.state_dict().items()}
    return [_part(whole, n, part, fused) for part in range(n)]


def _part(whole: State, n: int, part: int, fused: bool) -> State:
    state: State = {"decoder.version": torch.tensor([3.0])}
    for name, weight in whole.items():
        new = name.replace("decoder.final_layer_norm", "decoder.layer_norm")
        new = new.replace("project_in.", "project_in_dim.").replace("project_out.", "project_out_dim.")
        if any(word in name for word in ("fc1.", "embed_tokens.", "q_proj.", "k_proj.", "v_proj.")):
            state[new] = weight.chunk(n, dim=0)[part]
        elif name.endswith(("fc2.weight", "out_proj.weight")):
            state[new] = weight.chunk(n, dim=1)[part].contiguous()
        elif name != "lm_head.weight":
            state[new] = weight
    state["decoder.output_projection.weight"] = state["decoder.embed_tokens.weight"]
    return _fused(state) if fused else state


def _fused(state: State) -> State:
    fused: State = {}
    for name, weight in state.items():
        if ".k_proj." in name:
            others = [state[name.replace(".k_proj.", f".{one}_proj.")] for one in "vq"]
            fused[name.replace(".k_proj.", ".qkv_proj.")] = torch.cat([weight, *others])
        elif ".v_proj." not in name and ".q_proj." not in name:
            fused[name] = weight
    return fused


def metaseq_states(parts: Sequence[State], blocks: int, tokens: Tensor) -> Tensor:
    """The last states of a text, (T, D), as metaseq's model-parallel modules compute them from the parts' numbers."""
    parts = [{name: weight.float() for name, weight in part.items()} for part in parts]
    one, n = parts[0], len(parts)
    table = torch.cat([part["decoder.embed_tokens.weight"] for part in parts])  # each part looks up its own range
    x = table[tokens] + one["decoder.embed_positions.weight"][torch.arange(len(tokens)) + 2]
    for number in range(blocks):
        at = f"decoder.layers.{number}."
        states = _norm(x, one, at + "self_attn_layer_norm")
        x = x + sum(_attention(states, part, at + "self_attn.", HEADS // n) for part in parts)
        x = x + one[at + "self_attn.out_proj.bias"]
        states = _norm(x, one, at + "final_layer_norm")
        x = x + sum(_feed_forward(states, part, at) for part in parts) + one[at + "fc2.bias"]
    return _norm(x, one, "decoder.layer_norm")


def _norm(x: Tensor, part: State, name: str) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], part[name + ".weight"], part[name + ".bias"])


def _feed_forward(x: Tensor, part: State, at: str) -> Tensor:
    return F.relu(F.linear(x, part[at + "fc1.weight"], part[at + "fc1.bias"])) @ part[at + "fc2.weight"].T


def _attention(x: Tensor, part: State, at: str, heads: int) -> Tensor:
    kvq = F.linear(x, part[at + "qkv_proj.weight"], part[at + "qkv_proj.bias"])
    k, v, q = (states.view(len(x), heads, -1).transpose(0, 1) for states in kvq.chunk(3, dim=-1))
    out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    return out.transpose(0, 1).reshape(len(x), -1) @ part[at + "out_proj.weight"].T


def save_metaseq(folder: Path, parts: Sequence[Mapping[str, Any]], prefix: str = "reshard") -> None:
    """Save the states of parts as metaseq does, with the settings of its training."""
    folder.mkdir(exist_ok=True)
    with settings_objects() as settings:
        for number, part in enumerate(parts):
            content = {"model": dict(part), "extra_state": {"epoch": 1}, "optimizer_history": [], **settings}
            torch.save(content, folder / f"{prefix}-model_part-{number}.pt")


@contextmanager
def settings_objects() -> Iterator[dict[str, Any]]:
    """What metaseq saves beside weights: objects of classes that are not there when the file is read."""
    place = types.ModuleType("omegaconf.dictconfig")
    constants = types.ModuleType("metaseq.dataclass.constants")
    config = type("DictConfig", (), {"__module__": place.__name__})
    Choice = Enum("Choice", {"LM": "lm"}, module=constants.__name__)
    vars(place)["DictConfig"], vars(constants)["Choice"] = config, Choice
    names = {"omegaconf": types.ModuleType("omegaconf"), place.__name__: place}
    names |= {"metaseq": types.ModuleType("metaseq"), "metaseq.dataclass": types.ModuleType("metaseq.dataclass")}
    names[constants.__name__] = constants
    sys.modules.update(names)
    try:
        cfg = config()
        cfg.content = {"model": {"arch": "transformer_lm_megatron", "type": Any}, "task": Choice["LM"], "ref": dict}
        cfg.metadata = {"key": Dict[str, Any], "resolver_cache": defaultdict(dict, {"a": {}})}  # noqa: UP006
        arguments = argparse.Namespace(decoder_layers=2, data=Path("/data"), best=np.float64(2.5))
        yield {"cfg": cfg, "args": arguments}
    finally:
        for name in names:
            del sys.modules[name]


def flat_shards(part: State, blocks: int, world: int, *, metadata: bool = True) -> list[dict[str, Any]]:
    """A part's state flattened and spread over shards as fairscale does, block by block: what each rank saves."""
    tied = {"decoder.output_projection.weight", "decoder.version"}
    wrapped = ["", *(f"decoder.layers.{number}" for number in range(blocks))]
    saved: list[dict[str, Any]] = [{"model": {"decoder.version": part["decoder.version"]}} for _ in range(world)]
    for rank in range(world):
        saved[rank]["shard_metadata"] = {"param_metadata": [], "buffer_names": ["decoder.version"]}
    for path in wrapped:
        names = [name for name in part if name not in tied and _owner(name, wrapped) == path]
        chunks = list(torch.cat([part[name].flatten() for name in names]).chunk(world))
        for rank in range(world):
            padding = len(chunks[0]) - len(chunks[rank])
            key = f"{path}.flat_param_0" if path else "flat_param_0"
            saved[rank]["model"][key] = F.pad(chunks[rank], (0, padding)).clone()
            saved[rank]["shard_metadata"]["param_metadata"].append(_metadata(part, names, path, padding))
    if not metadata:
        for shard in saved:
            del shard["shard_metadata"]
    return saved


def _owner(name: str, wrapped: Sequence[str]) -> str:
    return next((path for path in wrapped if path and name.startswith(path + ".")), "")


def _metadata(part: State, names: Sequence[str], path: str, padding: int) -> dict[str, Any]:
    entry = {
        "names": [name.removeprefix(f"{path}.") if path else name for name in names],
        "shapes": [part[name].shape for name in names],
        "numels": [part[name].numel() for name in names],
        "padding": padding,
    }
    shared = [("decoder.embed_tokens.weight", "decoder.output_projection.weight")] if not path else []
    return {
        "fsdp_path": path,
        "params": {"flat_param_0": entry},
        "no_broadcast_optim_state": False,
        "shared_param_info": shared,
    }


def save_flexgen(folder: Path, model: OPTForCausalLM) -> None:
    """One NumPy file a tensor, named as FlexGen's download_opt_weights names them from a checkpoint's names."""
    folder.mkdir(exist_ok=True)
    for name, weight in model.state_dict().items():
        if name == "lm_head.weight":
            continue
        name = name.replace("model.", "").replace("decoder.final_layer_norm", "decoder.layer_norm")
        copies = ["lm_head.weight"] if "decoder.embed_tokens.weight" in name else []
        for file in (name, *copies):
            with (folder / file).open("wb") as stream:
                np.save(stream, weight.numpy())
