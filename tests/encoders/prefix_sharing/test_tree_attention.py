"""Attention along a tree against attention over each path by itself, in float64; and which models take it.

Shapes: N nodes, T tokens of a text, H heads, E width of a head.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import AutoModel, BertConfig, BertModel, OPTConfig, OPTModel, PreTrainedConfig
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from small.encoders.families import own_model
from tcf.encoders.blocks import last_states
from tcf.encoders.prefix_sharing.prefix_tree import PrefixTree
from tcf.encoders.prefix_sharing.tree_attention import (
    NotShareable,
    TreeAttention,
    attending_along,
    use_tree_attention,
)
from tcf.encoders.tokenize import TokenSequences

CPU, META = torch.device("cpu"), torch.device("meta")
Folders = Callable[[str], Path]
Float64 = npt.NDArray[np.float64]


def tree_of(texts: Sequence[Sequence[int]]) -> PrefixTree:
    texts = sorted(list(text) for text in texts)
    tokens = np.array([token for text in texts for token in text], np.int32)
    return PrefixTree.of(TokenSequences(tokens, np.cumsum([0, *map(len, texts)]), 0))


def drawn(tree: PrefixTree, heads: tuple[int, int] = (2, 2), widths: tuple[int, int] = (4, 4)) -> list[Tensor]:
    """Queries, keys and values, (1, H, N, E), large enough that the attention is uneven."""
    draw = torch.Generator().manual_seed(3)
    shapes = [(heads[0], widths[0]), (heads[1], widths[0]), (heads[1], widths[1])]
    return [2 * torch.randn((1, n, len(tree), width), generator=draw, dtype=torch.float64) for n, width in shapes]


def along_each_path(tree: PrefixTree, tensors: Sequence[Tensor], *, scale: float, window: int | None = None) -> Float64:
    """The same one path, head and query at a time; (N, H, E).

    A node's result has to be the same along all paths that it is on.
    """
    query_HNE, key_HNE, value_HNE = (tensor[0].numpy() for tensor in tensors)
    heads, shared = len(query_HNE), len(key_HNE)
    found = np.full((len(tree), heads, value_HNE.shape[2]), np.nan)
    for row in range(len(tree.added)):
        path = tree.paths_P[tree.offsets[row] : tree.offsets[row + 1]]
        for at in range(len(path) - int(tree.added[row]), len(path)):
            keys = path[max(0, at + 1 - (window or len(path))) : at + 1]
            for head in range(heads):
                group = head * shared // heads
                scores = scale * key_HNE[group, keys] @ query_HNE[head, path[at]]
                weights = np.exp(scores - scores.max())
                found[path[at], head] = weights @ value_HNE[group, keys] / weights.sum()
    return found


def check(tree: PrefixTree, tensors: Sequence[Tensor], scale: float = 0.5, window: int | None = None) -> None:
    attention = TreeAttention.of(tree, CPU)
    assert attention.positions_1N.tolist() == [tree.depths_N.tolist()]
    if window is not None:
        attention = attention.restricted(lambda queries, keys: queries - keys < window)
    found_1NHE = attention.attention(tensors[0], tensors[1], tensors[2], scale)
    expected = along_each_path(tree, tensors, scale=scale, window=window)
    np.testing.assert_allclose(found_1NHE[0].numpy(), expected, rtol=0, atol=1e-12)


# A text alone; one that is a prefix of others; equal ones; and more nodes than a block has.
FEW = [[5], [5, 7], [5, 7, 7], [5, 7, 7], [5, 8, 1, 2, 3], [6, 1], [6, 2]]
MANY = [[1, 2, *branch, number] for branch in ([3], [4, 4], [5, 6, 7, 8, 9]) for number in range(30)]


@pytest.mark.parametrize("texts", [[[4]], FEW, MANY, [*FEW, *MANY]])
@pytest.mark.parametrize("heads", [(1, 1), (4, 4), (4, 2), (6, 1)])
def test_every_node_attends_to_its_ancestors(texts: list[list[int]], heads: tuple[int, int]) -> None:
    tree = tree_of(texts)
    check(tree, drawn(tree, heads))


@pytest.mark.parametrize("widths", [(4, 7), (8, 2)])
def test_values_of_another_width(widths: tuple[int, int]) -> None:
    tree = tree_of([*FEW, *MANY])
    check(tree, drawn(tree, (4, 2), widths))


@pytest.mark.parametrize("window", [1, 2, 5])
def test_a_sliding_window_counts_along_the_path(window: int) -> None:
    tree = tree_of([*FEW, *MANY])
    check(tree, drawn(tree), window=window)


def test_the_scale_is_that_of_the_head_width_if_none_is_given() -> None:
    tree = tree_of(FEW)
    tensors = drawn(tree)
    found = TreeAttention.of(tree, CPU).attention(tensors[0], tensors[1], tensors[2], None)
    np.testing.assert_allclose(found[0].numpy(), along_each_path(tree, tensors, scale=4**-0.5), rtol=0, atol=1e-12)


@pytest.mark.parametrize("window", [None, 40])
def test_texts_of_2048_tokens_beside_short_ones(window: int | None) -> None:
    """They are in blocks of several sizes; two long texts part after half of their tokens, short ones on the way."""
    stem = [number % 11 for number in range(2048)]
    texts = [stem, [*stem[:1024], *[12] * 70], *(stem[:n] for n in (1, 70, 130)), *([*stem[:n], 13] for n in (1, 65))]
    tree = tree_of([*texts, *([20, number] for number in range(50))])
    attention = TreeAttention.of(tree, CPU)
    sizes = {blocks.nodes_QC.shape[1] for blocks in attention.blocks}
    assert len(sizes) >= 4 and max(sizes) <= 1024
    check(tree, drawn(tree, (1, 1)), window=window)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=5), min_size=1, max_size=40))
def test_any_tree(texts: list[list[int]]) -> None:
    tree = tree_of(texts)
    check(tree, drawn(tree, (2, 1)), window=3)
    check(tree, drawn(tree, (2, 1)))


def test_what_no_text_goes_through_is_not_seen() -> None:
    """Other keys and values of a node change the results of the nodes below it, and no others, to the bit."""
    tree = tree_of([*FEW, *MANY])
    query, key, value = (tensor.float() for tensor in drawn(tree))
    attention = TreeAttention.of(tree, CPU)
    before = attention.attention(query, key, value, None)[0]
    path = next(path for path in paths(tree) if tree.tokens_N[path].tolist() == [5, 7, 7])
    changed = path[1]
    key[:, :, changed] += 1
    value[:, :, changed] += 1
    after = attention.attention(query, key, value, None)[0]
    assert (before != after).flatten(1).any(dim=1).nonzero()[:, 0].tolist() == path[1:]


def paths(tree: PrefixTree) -> list[list[int]]:
    return [tree.paths_P[start:end].tolist() for start, end in zip(tree.offsets, tree.offsets[1:], strict=False)]


def tensors_of(attention: TreeAttention) -> list[Tensor]:
    blocks = [tensor for part in attention.blocks for tensor in (part.keys_QK, part.mask_Q1CK)]
    return [attention.positions_1N, *blocks, *([] if attention.places_N is None else [attention.places_N])]


def test_all_of_it_moves_to_a_device() -> None:
    tree = tree_of([*FEW, list(range(100))])
    attention = TreeAttention.of(tree, CPU)
    assert attention.places_N is not None
    assert {tensor.device for tensor in tensors_of(attention.to(META))} == {META}
    assert all(map(torch.equal, tensors_of(attention.to(CPU)), tensors_of(attention)))


def made(kind: Any, config: PreTrainedConfig) -> Any:
    """A model with random weights and the attention that models are loaded with."""
    config._attn_implementation = "sdpa"
    model = kind._from_config(config)
    model.train(False)
    return model


def small_opt() -> Any:
    config = OPTConfig(
        vocab_size=30, hidden_size=8, ffn_dim=8, num_hidden_layers=2, num_attention_heads=2, max_position_embeddings=64
    )
    return made(OPTModel, config)


def test_a_model_on_the_meta_device_gives_shapes() -> None:
    tree = tree_of(FEW)
    with META:
        model = small_opt()
    use_tree_attention(model)
    tokens = torch.from_numpy(tree.tokens_N)[None].to(META)
    states = last_states(model, tokens, {"use_cache": False}, TreeAttention.of(tree, CPU).to(META))
    assert (states.shape, states.device) == ((1, len(tree), 8), META)


def test_a_model_reads_a_tree_only_where_it_is_told_to() -> None:
    """Before, afterwards and in another call it gives the very states that it gave without tree attention."""
    tree, model = tree_of(FEW), small_opt()
    tokens_BT, no_cache = torch.tensor([[5, 7, 7], [5, 8, 1]]), {"use_cache": False}
    with torch.no_grad():
        before = last_states(model, tokens_BT, no_cache)
        use_tree_attention(model)
        use_tree_attention(model)
        attention = TreeAttention.of(tree, CPU)
        shared = last_states(model, torch.from_numpy(tree.tokens_N)[None], no_cache, attention)
        assert torch.equal(last_states(model, tokens_BT, no_cache), before)
        with attending_along(attention):
            pass
        assert torch.equal(last_states(model, tokens_BT, no_cache), before)
    torch.testing.assert_close(shared[0, tree.paths(np.array([2]))[0]], before[0], rtol=0, atol=1e-6)


def test_models_that_attend_in_another_way_are_refused(family_folder: Folders) -> None:
    eager = AutoModel.from_pretrained(str(family_folder("opt")), local_files_only=True, attn_implementation="eager")
    with pytest.raises(NotShareable, match="its attention is eager, not sdpa"):
        use_tree_attention(eager)
    with pytest.raises(NotShareable):
        use_tree_attention(own_model("bloom", family_folder("bloom")))


def test_a_model_that_looks_ahead_is_refused_when_it_runs() -> None:
    config = BertConfig(vocab_size=30, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
    model = made(BertModel, config)
    use_tree_attention(model)
    tree = tree_of(FEW)
    with pytest.raises(NotShareable, match="its attention has no direction"):
        last_states(model, torch.from_numpy(tree.tokens_N)[None], {}, TreeAttention.of(tree, CPU))


@pytest.mark.parametrize("term", ["softcap", "position_bias", "s_aux"])
def test_terms_that_are_not_known_here_are_refused(term: str) -> None:
    model, tree = small_opt(), tree_of(FEW)
    use_tree_attention(model)
    attention: Any = ALL_ATTENTION_FUNCTIONS[str(model.config._attn_implementation)]
    with pytest.raises(NotShareable, match=f"its attention has {term}"):
        attention(torch.nn.Module(), *drawn(tree), TreeAttention.of(tree, CPU), **{term: 1.0})
