"""Folders of sentence-transformers made of small models, and its own vectors."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import save_file
from torch import nn

from small.encoders.models import edit_json

__all__ = ["Module", "SentenceFolder", "dense", "encoded", "layer_norm", "save_sentence_encoder"]

LIBRARY = "sentence_transformers.models"


@dataclass(frozen=True)
class Module:
    """An entry of `modules.json` and the folder that it names.

    Attributes:
        kind: name of its class; with a dot, all of it.
        config: its settings; None writes no file.
        weights: what has its weights; None for none.
        pickled: store them as `pytorch_model.bin`.
    """

    kind: str
    config: Mapping[str, Any] | None = None
    weights: nn.Module | None = None
    pickled: bool = False


@dataclass(frozen=True)
class SentenceFolder:
    """What to write beside a language model.

    Attributes:
        pooling: settings of the pooling.
        modules: those after it.
        own: `config_sentence_transformers.json`; None for none.
        texts: settings of the Transformer; None for none.
        texts_file: name of the file of those.
        root: subfolder of the language model.
        pooling_folder: subfolder of the pooling.
    """

    pooling: Mapping[str, Any] = field(default_factory=lambda: {"pooling_mode": "mean"})
    modules: Sequence[Module] = ()
    own: Mapping[str, Any] | None = None
    texts: Mapping[str, Any] | None = field(default_factory=lambda: {"max_seq_length": 60})
    texts_file: str = "sentence_bert_config.json"
    root: str = ""
    pooling_folder: str = "1_Pooling"


def dense(
    inputs: int, outputs: int, activation: str | None = None, *, bias: bool = True, pickled: bool = False, **more: Any
) -> Module:
    """A dense module with weights drawn by its sizes; without an activation it has the default one."""
    torch.manual_seed(inputs * 1000 + outputs)
    weights = nn.Module()
    weights.linear = nn.Linear(inputs, outputs, bias=bias)
    if more.get("use_residual") and inputs != outputs:
        weights.residual = nn.Linear(inputs, outputs, bias=False)
    config = {"in_features": inputs, "out_features": outputs, "bias": bias, **more}
    if activation is not None:
        config["activation_function"] = f"torch.nn.modules.{activation}"
    return Module("Dense", config, weights, pickled)


def layer_norm(width: int) -> Module:
    """A layer norm with weights of its own."""
    torch.manual_seed(width)
    weights = nn.Module()
    weights.norm = nn.LayerNorm(width)
    nn.init.normal_(weights.norm.weight)
    nn.init.normal_(weights.norm.bias)
    return Module("LayerNorm", {"dimension": width}, weights)


def save_sentence_encoder(model: Path, folder: Path, content: SentenceFolder) -> Path:
    """Copy a language model into a folder of a sentence encoder."""
    shutil.copytree(model, folder / content.root)
    tokenizer = folder / content.root / "tokenizer_config.json"
    if "pad_token" not in tokenizer.read_text():
        edit_json(tokenizer, pad_token="</s>")  # sentence-transformers pads
    modules = [Module("Transformer"), Module("Pooling", {"word_embedding_dimension": 32, **content.pooling})]
    places = [content.root, content.pooling_folder]
    for number, module in enumerate(content.modules, 2):
        modules.append(module)
        places.append(f"{number}_{module.kind.rpartition('.')[2]}")
    listed: list[dict[str, Any]] = []
    for module, place in zip(modules, places, strict=True):
        kind = module.kind if "." in module.kind else f"{LIBRARY}.{module.kind}"
        listed.append({"idx": len(listed), "name": str(len(listed)), "path": place, "type": kind})
        _save_module(module, folder / place)
    (folder / "modules.json").write_text(json.dumps(listed))
    if content.own is not None:
        (folder / "config_sentence_transformers.json").write_text(json.dumps(content.own))
    if content.texts is not None:
        (folder / content.root / content.texts_file).write_text(json.dumps(content.texts))
    return folder


def _save_module(module: Module, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if module.config is not None:
        (folder / "config.json").write_text(json.dumps(module.config))
    if module.weights is None:
        return
    weights = {name: weight.clone() for name, weight in module.weights.state_dict().items()}
    if module.pickled:
        torch.save(weights, folder / "pytorch_model.bin")
    else:
        save_file(weights, folder / "model.safetensors")


def encoded(folder: Path, texts: Sequence[str], **arguments: Any) -> npt.NDArray[np.float32]:
    """Sentence-transformers' own vectors, (n, D)."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    return np.asarray(model.encode(list(texts), show_progress_bar=False, **arguments))
