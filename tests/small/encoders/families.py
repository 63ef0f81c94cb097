"""A small model of every family, saved as published ones are: with its head, in several shards, with its tokenizer."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from torch import Tensor, nn
from transformers import PreTrainedModel

from small.encoders.models import TITLES, WORDS, draw_weights, save_byte_pairs, save_word_pieces

__all__ = [
    "ENCODERS",
    "FAMILIES",
    "Family",
    "hidden_states",
    "own_model",
    "save_family",
    "store_weights",
    "stored_weights",
]

VOCABULARY = 512
BLOCKS = 3
_COMMON = {"vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": BLOCKS, "num_attention_heads": 4}
_DECODER = {**_COMMON, "num_key_value_heads": 2, "intermediate_size": 48, "max_position_embeddings": 64}
_BERT = {**_COMMON, "intermediate_size": 48, "max_position_embeddings": 64, "type_vocab_size": 2}
_ROBERTA = {**_BERT, "max_position_embeddings": 66, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
_OPT = {
    **_COMMON,
    "ffn_dim": 48,
    "max_position_embeddings": 64,
    "bos_token_id": 2,
    "eos_token_id": 2,
    "pad_token_id": 1,
}
_T5 = {"vocab_size": VOCABULARY, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_heads": 4, "num_layers": BLOCKS}


@dataclass(frozen=True)
class Family:
    """How to make one.

    Attributes:
        config: name of the configuration's class, and its entries.
        model: name of the class with a head that it is saved from.
        blocks: where its blocks are in the model without a head; empty where they cannot be told.
        tokenizer: saves a tokenizer.
        reads: what tcf calls the family, and the longest sequence that it reads.
        reader: name of transformers' class for the model without a head.
    """

    config: tuple[str, dict[str, Any]]
    model: str
    blocks: str
    tokenizer: Callable[[Path], None]
    reads: tuple[str, int | None]
    reader: str = "AutoModel"


def save_family(name: str, folder: Path, *, shard: str = "20KB", seed: int = 0) -> Path:
    """Save a small model of a family."""
    family = {**FAMILIES, **_OF_SENTENCES}[name]
    config_class, entries = family.config
    config = getattr(transformers, config_class)(**entries)
    model = draw_weights(getattr(transformers, family.model)(config), seed)
    model.tie_weights()
    model.save_pretrained(folder, max_shard_size=shard)
    family.tokenizer(folder)
    return folder


def hidden_states(model: PreTrainedModel, blocks: str, ids: list[int]) -> dict[int, Tensor]:
    """Transformers' own states of one text with its mask, (T, D) a layer: every block's, and the last."""
    tokens = torch.tensor([ids])
    last_block: list[Any] = []
    stack = model.get_submodule(blocks) if blocks else None
    hook = stack and list(stack.children())[-1].register_forward_hook(lambda _, __, output: last_block.append(output))
    with torch.no_grad():
        output = model(input_ids=tokens, attention_mask=torch.ones_like(tokens), output_hidden_states=True)
    states = dict(enumerate(output.hidden_states))
    if hook:
        hook.remove()
        # The last one that transformers gives is that after the final norm.
        states[len(states) - 1] = last_block[0][0] if isinstance(last_block[0], tuple) else last_block[0]
    states[-1] = output.last_hidden_state
    return {layer: state[0] for layer, state in states.items()}


def own_model(
    name: str, folder: Path, dtype: torch.dtype = torch.float32, *, computes: torch.dtype | None = None
) -> PreTrainedModel:
    """Transformers' own model of a folder without a head; of an encoder-decoder the encoder.

    Args:
        name: its family.
        folder: where it is.
        dtype: what its weights are rounded to.
        computes: the type to compute in with those weights, if another.
    """
    kind: Any = getattr(transformers, FAMILIES[name].reader)
    model: PreTrainedModel = kind.from_pretrained(str(folder), dtype=dtype, local_files_only=True)
    encoder: PreTrainedModel = model.get_encoder() if model.config.is_encoder_decoder else model
    if computes is not None:
        nn.Module.to(encoder, computes)
    encoder.train(False)
    return encoder


def stored_weights(folder: Path) -> dict[str, Tensor]:
    """All weights of a folder of safetensors, in one file or several."""
    return {name: weight for file in sorted(folder.glob("*.safetensors")) for name, weight in load_file(file).items()}


def store_weights(folder: Path, weights: dict[str, Tensor], *, kind: str = "safetensors", files: int = 1) -> None:
    """Replace a folder's weights by these, as `safetensors` or as `bin`, in one file or in several with their index."""
    for file in [*folder.glob("*.safetensors*"), *folder.glob("*.bin*")]:
        file.unlink()
    stem = "model" if kind == "safetensors" else "pytorch_model"
    place = {name: f"{stem}-{1 + number % files}.{kind}" for number, name in enumerate(weights)}
    if files == 1:
        place = dict.fromkeys(weights, f"{stem}.{kind}")
    else:
        (folder / f"{stem}.{kind}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": place}))
    for file in {folder / name for name in place.values()}:
        part = {name: weight.clone() for name, weight in weights.items() if place[name] == file.name}
        if kind == "safetensors":
            save_file(part, file, metadata={"format": "pt"})
        else:
            torch.save(part, file)


@lru_cache
def _byte_pairs(specials: tuple[str, ...]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    return _trained_pairs(
        pre_tokenizers.ByteLevel(add_prefix_space=False), specials, pre_tokenizers.ByteLevel.alphabet()
    )


def _trained_pairs(
    pre: Any, specials: tuple[str, ...], alphabet: list[str]
) -> tuple[dict[str, int], list[tuple[str, str]]]:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=list(specials), initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([*TITLES, " ".join(WORDS)], trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], [tuple(pair) for pair in model["merges"]]


def _save_bytes(folder: Path, *, kind: str, specials: str) -> None:
    vocabulary, merges = _byte_pairs(tuple(specials.split()))
    getattr(transformers, kind)(vocab=vocabulary, merges=merges).save_pretrained(folder)


def _save_llama(folder: Path) -> None:
    """Pieces with `<s>` before every text, as of Llama 2 and Mistral."""
    specials = ("<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)))
    vocabulary, merges = _trained_pairs(pre_tokenizers.Metaspace(), specials, [])
    tokenizer: Any = transformers.LlamaTokenizer(vocab=vocabulary, merges=merges, add_bos_token=True)
    tokenizer.save_pretrained(folder)


def _save_t5(folder: Path) -> None:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=150, special_tokens=["<pad>", "</s>", "<unk>"], unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator([*TITLES, " ".join(WORDS)], trainer)
    pieces = [tuple(piece) for piece in json.loads(tokenizer.to_str())["model"]["vocab"]]
    transformers.T5Tokenizer(vocab=pieces, extra_ids=3).save_pretrained(folder)


_GPT = partial(_save_bytes, kind="GPT2Tokenizer", specials="<|endoftext|>")
_PYTHIA = partial(_save_bytes, kind="GPTNeoXTokenizer", specials="<|endoftext|> <|padding|>")
_QWEN = partial(_save_bytes, kind="Qwen2Tokenizer", specials="<|endoftext|>")
_PIECES = partial(save_word_pieces, vocabulary="json")
_RO = partial(_save_bytes, kind="RobertaTokenizer", specials="<s> <pad> </s> <unk> <mask>")

FAMILIES = {
    "opt": Family(("OPTConfig", _OPT), "OPTForCausalLM", "decoder.layers", save_byte_pairs, ("opt", 64)),
    "opt-post-norm": Family(
        ("OPTConfig", {**_OPT, "do_layer_norm_before": False}), "OPTForCausalLM", "decoder.layers", save_byte_pairs,
        ("opt", 64),
    ),
    "gpt2": Family(
        ("GPT2Config", {**_COMMON, "max_position_embeddings": 64}), "GPT2LMHeadModel", "h", _GPT, ("gpt2", 64)
    ),
    "gpt_neox": Family(
        ("GPTNeoXConfig", {**_COMMON, "intermediate_size": 48, "max_position_embeddings": 64}), "GPTNeoXForCausalLM",
        "layers", _PYTHIA, ("gpt_neox", 64),
    ),
    "llama": Family(("LlamaConfig", _DECODER), "LlamaForCausalLM", "layers", _save_llama, ("llama", 64)),
    "qwen2": Family(
        ("Qwen2Config", {**_DECODER, "tie_word_embeddings": True}), "Qwen2ForCausalLM", "layers", _QWEN, ("qwen2", 64)
    ),
    "mistral": Family(
        ("MistralConfig", {**_DECODER, "sliding_window": 5}), "MistralForCausalLM", "layers", _save_llama,
        ("mistral", 64),
    ),
    "bert": Family(("BertConfig", _BERT), "BertForMaskedLM", "encoder.layer", save_word_pieces, ("bert", 64)),
    "roberta": Family(("RobertaConfig", _ROBERTA), "RobertaForMaskedLM", "encoder.layer", _RO, ("roberta", 64)),
    "t5": Family(
        ("T5Config", {**_T5, "num_decoder_layers": 2}), "T5ForConditionalGeneration", "encoder.block", _save_t5,
        ("t5", None), "T5EncoderModel",
    ),
    "t5-gated": Family(
        ("T5Config", {**_T5, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}),
        "T5ForConditionalGeneration", "encoder.block", _save_t5, ("t5", None), "T5EncoderModel",
    ),
    "qwen3": Family(("Qwen3Config", {**_DECODER, "head_dim": 8}), "Qwen3ForCausalLM", "layers", _QWEN, ("other", 64)),
    "gemma2": Family(
        ("Gemma2Config", {**_DECODER, "head_dim": 8, "sliding_window": 5, "query_pre_attn_scalar": 8}),
        "Gemma2ForCausalLM", "layers", _save_llama, ("other", 64),
    ),
    "bloom": Family(
        ("BloomConfig", {"vocab_size": VOCABULARY, "hidden_size": 32, "n_layer": BLOCKS, "n_head": 4}),
        "BloomForCausalLM", "h", _GPT, ("other", None),
    ),
    "distilbert": Family(
        ("DistilBertConfig", {"vocab_size": VOCABULARY, "dim": 32, "n_layers": BLOCKS, "n_heads": 4, "hidden_dim": 48,
                              "max_position_embeddings": 64}),
        "DistilBertForMaskedLM", "transformer.layer", save_word_pieces, ("other", 64),
    ),
    "modernbert": Family(
        ("ModernBertConfig", {**_COMMON, "intermediate_size": 48, "max_position_embeddings": 64, "local_attention": 8,
                              "pad_token_id": 0}),
        "ModernBertForMaskedLM", "layers", _PIECES, ("other", 64),
    ),
    "xlm-roberta": Family(
        ("XLMRobertaConfig", _ROBERTA), "XLMRobertaForMaskedLM", "encoder.layer", _RO, ("other", 64)
    ),
    "albert": Family(
        ("AlbertConfig", {**_BERT, "embedding_size": 16}), "AlbertForMaskedLM", "", save_word_pieces, ("other", 64)
    ),
    "bart": Family(
        ("BartConfig", {"vocab_size": VOCABULARY, "d_model": 32, "encoder_layers": BLOCKS, "decoder_layers": 2,
                        "encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 48,
                        "decoder_ffn_dim": 48, "max_position_embeddings": 64}),
        "BartForConditionalGeneration", "layers", _RO, ("other", 64),
    ),
    "mt5": Family(
        ("MT5Config", _T5), "MT5ForConditionalGeneration", "encoder.block", _save_t5, ("other", None), "MT5EncoderModel"
    ),
}  # fmt: skip

# Those that only the tests of sentence encoders use.
_OF_SENTENCES = {
    "mpnet": Family(("MPNetConfig", _ROBERTA), "MPNetForMaskedLM", "encoder.layer", _RO, ("other", 64)),
    "gemma3": Family(
        ("Gemma3TextConfig", {**_DECODER, "head_dim": 8, "sliding_window": 5, "query_pre_attn_scalar": 8,
                              "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
                              "use_bidirectional_attention": True}),
        "Gemma3ForCausalLM", "layers", _save_llama, ("other", 64),
    ),
}  # fmt: skip

# Those that see the tokens after a token, and whose tokenizers put a class token first.
ENCODERS = ("bert", "roberta", "distilbert", "modernbert", "xlm-roberta", "albert")
