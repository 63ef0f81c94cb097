"""How far 16-bit states are from those of a float32 forward, with shared prefixes and in groups of equal length.

Both run the same weights, rounded to the type, on the same texts, and so does the float32 forward. The models have
random weights: of a standard deviation as in trained models, and larger ones, with which attention is less even and
errors grow faster from block to block. Texts share 20 to 90 % of their tokens with the one before. The largest error is
that of a single number of a million, and another for every draw of the weights: the table has its mean over draws.

    python benchmarks/prefix_sharing_precision.py

Shapes: P tokens of all texts, D width.
"""

import argparse
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor, nn

from tcf.encoders.blocks import last_states
from tcf.encoders.prefix_sharing.tree_attention import use_tree_attention
from tcf.encoders.tokenize import TokenSequences
from tcf.extract.micro_batches import MicroBatch, in_order, micro_batches, shared_micro_batches
from tcf.extract.schedules.engine import inputs_on, put
from tcf.extract.sinks import TokenSink

_CPU = torch.device("cpu")
_VOCABULARY = 1000
_COMMON = {
    "vocab_size": _VOCABULARY, "hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4,
    "max_position_embeddings": 128,
}  # fmt: skip
_DECODER = {**_COMMON, "num_key_value_heads": 2, "intermediate_size": 704}
_FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "opt": ("OPT", {**_COMMON, "ffn_dim": 1024}),
    "opt-post-norm": ("OPT", {**_COMMON, "ffn_dim": 1024, "do_layer_norm_before": False}),
    "gpt2": ("GPT2", {**_COMMON, "bos_token_id": 1, "eos_token_id": 2}),
    "gpt_neox": ("GPTNeoX", {**_COMMON, "intermediate_size": 1024}),
    "llama": ("Llama", _DECODER),
    "qwen2": ("Qwen2", _DECODER),
    "mistral": ("Mistral", {**_DECODER, "sliding_window": 8}),
    "qwen3": ("Qwen3", {**_DECODER, "head_dim": 64}),
}


@dataclass(frozen=True)
class Errors:
    """Distances from the float32 states.

    Attributes:
        largest: the largest one, as a mean over draws of the weights.
        mean: their mean.
    """

    largest: float
    mean: float

    @classmethod
    def of(cls, found: Sequence[Tensor], exact: Sequence[Tensor]) -> "Errors":
        """The errors of the states of several draws, (P, D) each."""
        distances = [(one - other).abs() for one, other in zip(found, exact, strict=True)]
        largest, mean = ([float(of(part)) for part in distances] for of in (torch.max, torch.mean))
        return cls(statistics.fmean(largest), statistics.fmean(mean))


def main() -> None:
    """Measure and print a table."""
    options = _options()
    sequences = _sequences(options.texts)
    shared = shared_micro_batches(sequences, options.tokens)
    nodes, tokens = sum(batch.n_states for batch in shared), len(sequences.tokens)
    print(f"{len(sequences)} texts of {tokens} tokens, {1 - nodes / tokens:.0%} shared; torch {torch.__version__}")
    print("family          type      std   largest: groups, shared  mean: groups, shared   ratios: largest, mean")
    for name in options.families:
        for dtype in (torch.bfloat16, torch.float16):
            for std in options.std:
                print(_row(name, dtype, std, sequences, options), flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--texts", type=int, default=400, help="number of texts")
    parser.add_argument("--draws", type=int, default=3, help="draws of the weights")
    parser.add_argument("--tokens", type=int, default=1024, help="tokens of a micro-batch")
    parser.add_argument("--std", type=float, nargs="+", default=[0.02, 0.06], help="standard deviations of weights")
    parser.add_argument("--families", nargs="+", choices=tuple(_FAMILIES), default=list(_FAMILIES), help="families")
    return parser.parse_args()


def _sequences(n: int) -> TokenSequences:
    """Texts of 2 to 40 tokens, most of which begin as the one before them does."""
    draw, texts = np.random.default_rng(0), [np.zeros(1, np.int64)]
    for _ in range(n):
        kept = int(draw.uniform(0.2, 0.9) * len(texts[-1]))
        own = draw.integers(3, _VOCABULARY, int(draw.integers(1, 22)))
        texts.append(np.concatenate([texts[-1][: max(1, kept)], own])[:40])
    return TokenSequences(np.concatenate(texts[1:]).astype(np.int32), np.cumsum([0, *map(len, texts[1:])]), 0)


def _row(name: str, dtype: torch.dtype, std: float, sequences: TokenSequences, options: argparse.Namespace) -> str:
    draws = [_draw(name, dtype, std, sequences, options.tokens, seed) for seed in range(options.draws)]
    plain_draws, shared_draws, exact_draws = zip(*draws, strict=True)
    plain, shared = Errors.of(plain_draws, exact_draws), Errors.of(shared_draws, exact_draws)
    return (
        f"{name:<15} {str(dtype).removeprefix('torch.'):<9} {std:<5} {plain.largest:.3e} {shared.largest:.3e}  "
        f"{plain.mean:.3e} {shared.mean:.3e}  {shared.largest / plain.largest:>7.3f} {shared.mean / plain.mean:>7.3f}"
    )


def _draw(
    name: str, dtype: torch.dtype, std: float, sequences: TokenSequences, tokens: int, seed: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The states in groups, with shared prefixes and in float32, (P, D) each."""
    model = _model(name, std, seed).to(dtype)
    groups = micro_batches(sequences.lengths, tokens)
    plain_PD = _states(model, groups, sequences)
    use_tree_attention(model)
    shared_PD = _states(model, shared_micro_batches(sequences, tokens), sequences)
    return plain_PD, shared_PD, _states(model.float(), groups, sequences)


def _model(name: str, std: float, seed: int) -> nn.Module:
    """A model whose matrices have this standard deviation; norms and biases are near 1 and 0."""
    kind, entries = _FAMILIES[name]
    config = getattr(transformers, f"{kind}Config")(**entries)
    config._attn_implementation = "sdpa"
    model: nn.Module = getattr(transformers, f"{kind}Model")._from_config(config)
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            noise = torch.randn(weight.shape, generator=draw)
            weight.copy_(std * noise if weight.ndim > 1 else weight + 0.02 * noise)
    model.train(False)
    return model


def _states(model: nn.Module, batches: Sequence[MicroBatch], sequences: TokenSequences) -> Tensor:
    """The last states of all tokens, (P, D) float32, in the order of the sequences."""
    sink = TokenSink(sequences.lengths, 256, torch.float32, _CPU)
    with torch.inference_mode():
        for batch in batches:
            tokens_BT, tree = inputs_on(_CPU, batch, sequences)
            put(batch, last_states(model, tokens_BT, {"use_cache": False}, tree), [sink])
    states_PD, _ = sink.states(in_order(batches))
    return torch.from_numpy(states_PD)


if __name__ == "__main__":
    main()
