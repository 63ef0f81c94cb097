"""Small language models with real tokenizers, saved as the real ones are, and transformers' own answer to a text."""

import json
from collections.abc import Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import tokenizers
import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers, trainers
from torch import Tensor
from transformers import (
    AutoModel,
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    BertModel,
    BertTokenizer,
    OPTConfig,
    OPTForCausalLM,
    OPTModel,
    PreTrainedModel,
)

from tcf.config.extract import Pooling
from tcf.data.dataset import Dataset, Histories, write_dataset
from tcf.data.split import leave_one_out

__all__ = [
    "TITLES",
    "WORDS",
    "draw_weights",
    "edit_json",
    "edit_weights",
    "made_up_texts",
    "save_bert",
    "save_byte_pairs",
    "save_dataset",
    "save_opt",
    "save_word_pieces",
    "token_ids",
    "token_states",
    "vectors_one_by_one",
]

TITLES = (
    "The Legend of Zelda: Ocarina of Time",
    "Super Mario Bros.",
    "Super Mario Bros.",
    "",
    "  two  spaces, a tab\tand a trailing one ",
    "Pokémon – édition spéciale ™ 日本語 🎮",
    "a " * 60 + "title that is far too long to be read to its end",
    "Game Boy Advance",
    "x",
    "The",
    "The Legend of Zelda: Ocarina of Time 2",
)

WORDS = (
    "the a legend of super mario game boy world star war final quest dragon city racing football 64 ii iii gold".split()
)


def made_up_texts(n: int, seed: int = 0) -> list[str]:
    """Different texts of 1 to 9 words."""
    draw = np.random.default_rng(seed)
    texts: dict[str, None] = {}
    while len(texts) < n:
        texts[" ".join(draw.choice(WORDS, size=int(draw.integers(1, 10))).tolist())] = None
    return list(texts)


def save_opt(
    folder: Path,
    *,
    norm: Literal["pre", "post"] = "pre",
    blocks: int = 2,
    head: bool = False,
    shard: str = "1GB",
    seed: int = 0,
) -> Path:
    """Save a small OPT; `post` has its norms after the blocks and projections in and out, as OPT-350M.

    Args:
        folder: where to.
        norm: where the layer norms are.
        blocks: how many.
        head: save it as a language model with its head, as published checkpoints are.
        shard: largest file of weights.
        seed: of the weights.
    """
    config = OPTConfig(
        vocab_size=400,
        hidden_size=32,
        word_embed_proj_dim=32 if norm == "pre" else 16,
        num_hidden_layers=blocks,
        num_attention_heads=4,
        ffn_dim=64,
        max_position_embeddings=64,
        do_layer_norm_before=norm == "pre",
        bos_token_id=2,
        eos_token_id=2,
        pad_token_id=1,
    )
    if norm == "post":
        config._remove_final_layer_norm = True
    model = OPTForCausalLM(config) if head else OPTModel(config)
    return _saved(model, folder, shard, seed, save_byte_pairs)


def save_bert(
    folder: Path, *, head: bool = False, shard: str = "1GB", seed: int = 0, vocabulary: Literal["txt", "json"] = "txt"
) -> Path:
    """Save a small BERT.

    Args:
        folder: where to.
        head: save it with the head of masked-language modelling; it then has no pooler.
        shard: largest file of weights.
        seed: of the weights.
        vocabulary: save the tokenizer as `vocab.txt` or as `tokenizer.json`.
    """
    config = BertConfig(
        vocab_size=200,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    model = BertForMaskedLM(config) if head else BertModel(config)
    return _saved(model, folder, shard, seed, partial(save_word_pieces, vocabulary=vocabulary))


def save_dataset(folder: Path, texts: Sequence[str]) -> Dataset:
    """A dataset with these item texts, ids `i0`, `i1`, ..., and one user who has met the first item."""
    histories = Histories(np.array([0, 1], np.int64), np.zeros(1, np.int32))
    return write_dataset(
        folder,
        item_ids=pa.array([f"i{row}" for row in range(len(texts))], pa.large_string()),
        texts=pa.array(list(texts), pa.large_string()),
        user_ids=pa.array(["u"], pa.large_string()),
        split=leave_one_out(histories),
        inputs={},
        config={},
        statistics={},
    )


def token_ids(folder: Path, text: str, max_tokens: int) -> list[int]:
    """What transformers' own tokenizer makes of a text."""
    ids: list[int] = _tokenizer(folder)(text, truncation=True, max_length=max_tokens)["input_ids"]
    return ids


def token_states(model: PreTrainedModel, ids: Sequence[int]) -> Tensor:
    """Transformers' own last states of one text, (T, D), with its mask; for OPT what enters a projection out."""
    seen: list[Tensor] = []
    decoder: Any = getattr(model, "decoder", None)
    projection = getattr(decoder, "project_out", None)
    hook = projection and projection.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    tokens = torch.tensor([list(ids)])
    with torch.no_grad():
        output = model(input_ids=tokens, attention_mask=torch.ones_like(tokens))
    if hook is not None:
        hook.remove()
    states: Tensor = (seen or [output.last_hidden_state])[0]
    return states[0]


def vectors_one_by_one(
    folder: Path,
    texts: Sequence[str],
    *,
    pooling: Pooling,
    max_tokens: int = 30,
    dtype: torch.dtype = torch.float32,
) -> npt.NDArray[np.float64]:
    """Transformers' own vectors of texts read one at a time, pooled in float64, (n, D)."""
    model = AutoModel.from_pretrained(str(folder), dtype=dtype, local_files_only=True).eval()
    rows = []
    for text in texts:
        states = token_states(model, token_ids(folder, text, max_tokens)).double().numpy()
        match pooling:
            case "mean":
                rows.append(states.sum(axis=0) / len(states))
            case "first":
                rows.append(states[0])
            case "last":
                rows.append(states[len(states) - 1])
            case "max":
                rows.append(np.sort(states, axis=0)[-1])
            case "mean_sqrt_len":
                rows.append(states.sum(axis=0) * len(states) ** -0.5)
            case "weighted_mean":
                rows.append(np.average(states, axis=0, weights=range(1, len(states) + 1)))
    return np.stack(rows)


def edit_json(file: Path, **entries: Any) -> None:
    """Change entries of a JSON file; None removes one."""
    content = {**json.loads(file.read_text()), **entries}
    file.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


def edit_weights(folder: Path, changes: dict[str, Tensor | None]) -> None:
    """Replace tensors in `model.safetensors`; None removes one."""
    from safetensors.torch import load_file, save_file

    file = folder / "model.safetensors"
    weights = {key: value.clone() for key, value in load_file(file).items()}
    unknown = set(changes) - set(weights)
    if unknown:
        raise KeyError(f"{file}: no tensors {sorted(unknown)}; there are {sorted(weights)}")
    merged = {**weights, **changes}
    save_file({key: value for key, value in merged.items() if value is not None}, file, metadata={"format": "pt"})


@lru_cache(maxsize=4)
def _tokenizer(folder: Path) -> Any:
    return AutoTokenizer.from_pretrained(str(folder), local_files_only=True)


def draw_weights(model: PreTrainedModel, seed: int) -> PreTrainedModel:
    """Draw weights large enough that every part of a model matters to its result."""
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            centre = 1.0 if "norm" in name.lower() and name.endswith("weight") else 0.0
            weight.copy_(centre + 0.2 * torch.randn(weight.shape, generator=draw))
    return model


def _saved(model: PreTrainedModel, folder: Path, shard: str, seed: int, save_tokenizer: Any) -> Path:
    draw_weights(model, seed).save_pretrained(folder, max_shard_size=shard)
    save_tokenizer(folder)
    return folder


def save_byte_pairs(folder: Path) -> None:
    """A byte-level BPE of the files that `facebook/opt-125m` has: `</s>` is token 2 and comes first."""
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer = Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    specials = ["<s>", "<pad>", "</s>", "<unk>"]
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=specials, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([*TITLES, " ".join(WORDS)], trainer)
    tokenizer.model.save(str(folder))
    settings = {
        "tokenizer_class": "GPT2Tokenizer",
        "add_bos_token": True,
        "add_prefix_space": False,
        "errors": "replace",
        "bos_token": "</s>",
        "eos_token": "</s>",
        "unk_token": "</s>",
        "pad_token": "<pad>",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def save_word_pieces(folder: Path, vocabulary: Literal["txt", "json"] = "txt") -> None:
    """Pieces of words with `[CLS]` before and `[SEP]` after every text, of the files that BERT has."""
    letters = sorted({letter for text in (*TITLES, *WORDS) for letter in text.lower() if not letter.isspace()})
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters[:60], *(f"##{x}" for x in letters[:60])]
    words += [word for word in WORDS if len(word) > 1]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    settings = {"tokenizer_class": "BertTokenizer", "do_lower_case": True}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    if vocabulary == "json":
        BertTokenizer.from_pretrained(str(folder), local_files_only=True).save_pretrained(folder)
        (folder / "vocab.txt").unlink()
