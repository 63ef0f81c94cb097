"""Small models and their tokenizers written as GGUF, as llama.cpp's converter writes them."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tokenizers
import torch
from gguf import GGMLQuantizationType, GGUFWriter, quants
from tokenizers import Tokenizer, decoders, pre_tokenizers, trainers
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedModel

from small.encoders.models import TITLES

__all__ = ["SmallGguf", "byte_pairs", "small_gpt2", "small_llama", "write_gguf"]

Array = npt.NDArray[np.float32]
# Digits in a row, and two spaces before them, become tokens where the cutting allows it.
_TEXTS = (*TITLES, *(f"Mario Kart  64 1998 2000 {year}" for year in range(1990, 2010)))
VOCABULARY = 420


@dataclass(frozen=True)
class SmallGguf:
    """What to write.

    Attributes:
        model: the model whose weights are written.
        tokenizer: a byte-level one.
        pre: the name of its cutting; None writes none.
        add_bos: whether the file says that texts begin with `<s>`; None writes nothing.
        kind: GGUF's type of the matrices; vectors are always F32.
        extra: more tensors.
        entries: more entries, all texts.
    """

    model: PreTrainedModel
    tokenizer: Tokenizer
    pre: str | None = "gpt-2"
    add_bos: bool | None = None
    kind: str = "F32"
    extra: Mapping[str, Array] | None = None
    entries: Mapping[str, str] | None = None

    def but(self, **changes: object) -> "SmallGguf":
        """The same with other attributes."""
        return replace(self, **changes)  # type: ignore[arg-type]


def small_llama(*, tied: bool = False, kind: torch.dtype = torch.float32) -> PreTrainedModel:
    """A Llama whose heads share keys; its weights are numbers of a type, computed with in float32."""
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        rope_parameters={"rope_type": "default", "rope_theta": 5000.0},
        rms_norm_eps=1e-5,
        bos_token_id=1,
        eos_token_id=2,
        tie_word_embeddings=tied,
    )
    model: PreTrainedModel = _drawn(LlamaForCausalLM(config), kind)
    return model


def small_gpt2() -> PreTrainedModel:
    """A GPT-2; of the number of positions, GGUF files of it tell nothing that transformers would read."""
    config = GPT2Config(vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=2, n_positions=1024)
    model: PreTrainedModel = _drawn(GPT2LMHeadModel(config), torch.float32)
    return model


def byte_pairs(cutting: Sequence[pre_tokenizers.PreTokenizer] = (), *, whole_words: bool = False) -> Tokenizer:
    """A byte-level BPE with the tokens `<unk>`, `<s>`, `</s>`.

    Args:
        cutting: how texts are cut before the bytes of words are merged; empty for GPT-2's own way.
        whole_words: a word of the vocabulary is one token, whatever the merges say.
    """
    tokenizer = Tokenizer(tokenizers.models.BPE(ignore_merges=whole_words))
    steps = cutting or (pre_tokenizers.ByteLevel(add_prefix_space=False),)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(list(steps))
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<unk>", "<s>", "</s>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_TEXTS, trainer)
    return tokenizer


def write_gguf(file: Path, small: SmallGguf) -> Path:
    """Write a model and its tokenizer."""
    kind = GGMLQuantizationType[small.kind]
    match small.model.config.model_type:
        case "llama":
            writer, tensors = GGUFWriter(file, "llama"), _llama_tensors(small.model)
            _add_llama(writer, small.model.config)
        case other:
            writer, tensors = GGUFWriter(file, other), _gpt2_tensors(small.model)
            _add_gpt2(writer, small.model.config)
    _add_tokenizer(writer, small)
    for name, text in (small.entries or {}).items():
        writer.add_string(name, text)
    for name, tensor in {**dict(tensors), **(small.extra or {})}.items():
        written = kind if tensor.ndim > 1 else GGMLQuantizationType.F32
        writer.add_tensor(name, quants.quantize(tensor, written), raw_dtype=written)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def _drawn(model: Any, kind: torch.dtype) -> Any:
    """Weights are large enough that every part of the model matters to its result."""
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in dict(model.named_parameters()).values():
            centre = 1.0 if weight.ndim == 1 else 0.0
            weight.copy_((centre + 0.2 * torch.randn(weight.shape, generator=draw)).to(kind))
    return model.eval()


def _add_llama(writer: GGUFWriter, config: Any) -> None:
    writer.add_context_length(config.max_position_embeddings)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)


def _add_gpt2(writer: GGUFWriter, config: Any) -> None:
    writer.add_context_length(config.n_positions)
    writer.add_block_count(config.n_layer)
    writer.add_embedding_length(config.n_embd)
    writer.add_feed_forward_length(4 * config.n_embd)
    writer.add_head_count(config.n_head)
    writer.add_layer_norm_eps(config.layer_norm_epsilon)


def _add_tokenizer(writer: GGUFWriter, small: SmallGguf) -> None:
    ids = small.tokenizer.get_vocab()
    tokens = sorted(ids, key=lambda token: ids[token])
    tokens += [f"[PAD{number}]" for number in range(len(tokens), VOCABULARY)]
    merges = json.loads(small.tokenizer.to_str())["model"]["merges"]
    writer.add_tokenizer_model("gpt2")
    if small.pre is not None:
        writer.add_tokenizer_pre(small.pre)
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token in ("<unk>", "<s>", "</s>") else 1 for token in tokens])
    writer.add_token_merges([" ".join(pair) for pair in merges])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    if small.add_bos is not None:
        writer.add_add_bos_token(small.add_bos)


def _llama_tensors(model: PreTrainedModel) -> Iterator[tuple[str, Array]]:
    config = model.config
    weights = {name: weight.numpy() for name, weight in model.state_dict().items()}
    yield "token_embd.weight", weights["model.embed_tokens.weight"]
    yield "output_norm.weight", weights["model.norm.weight"]
    if not config.tie_word_embeddings:
        yield "output.weight", weights["lm_head.weight"]
    for block in range(config.num_hidden_layers):
        of = f"model.layers.{block}."
        q, k = (weights[f"{of}self_attn.{part}_proj.weight"] for part in "qk")
        yield f"blk.{block}.attn_q.weight", _interleaved(q, config.num_attention_heads)
        yield f"blk.{block}.attn_k.weight", _interleaved(k, config.num_key_value_heads)
        yield f"blk.{block}.attn_v.weight", weights[f"{of}self_attn.v_proj.weight"]
        yield f"blk.{block}.attn_output.weight", weights[f"{of}self_attn.o_proj.weight"]
        for part in ("gate", "up", "down"):
            yield f"blk.{block}.ffn_{part}.weight", weights[f"{of}mlp.{part}_proj.weight"]
        yield f"blk.{block}.attn_norm.weight", weights[f"{of}input_layernorm.weight"]
        yield f"blk.{block}.ffn_norm.weight", weights[f"{of}post_attention_layernorm.weight"]


def _interleaved(weight: Array, heads: int) -> Array:
    """Rows in the order of GGUF, which turns neighbouring numbers of a head instead of its two halves."""
    size = len(weight) // heads
    rows = [head * size + half * (size // 2) + i for head in range(heads) for i in range(size // 2) for half in (0, 1)]
    return weight[rows]


def _gpt2_tensors(model: PreTrainedModel) -> Iterator[tuple[str, Array]]:
    weights = {name.removeprefix("transformer."): weight.numpy() for name, weight in model.state_dict().items()}
    yield "token_embd.weight", weights["wte.weight"]
    yield "position_embd.weight", weights["wpe.weight"]
    parts = {"ln_f": "output_norm"}
    for block in range(model.config.n_layer):
        names = {
            "ln_1": "attn_norm",
            "attn.c_attn": "attn_qkv",
            "attn.c_proj": "attn_output",
            "ln_2": "ffn_norm",
            "mlp.c_fc": "ffn_up",
            "mlp.c_proj": "ffn_down",
        }
        parts |= {f"h.{block}.{ours}": f"blk.{block}.{theirs}" for ours, theirs in names.items()}
    for ours, theirs in parts.items():
        weight = weights[f"{ours}.weight"]
        yield f"{theirs}.weight", np.ascontiguousarray(weight.T)
        yield f"{theirs}.bias", weights[f"{ours}.bias"]
