"""Attention along the paths of a prefix tree, inside the models of transformers.

A model runs on all nodes of a tree as if they were one text of N tokens; only its attention must know better. It is
registered with transformers' `AttentionInterface`, and the tree takes the place of the mask, so that it reaches the
attention function through the code of any model that passes masks on, and through recorded calls of single blocks.

Nodes are in depth-first order, hence a node's ancestors are those of the first node of its block of C consecutive
nodes, or are in the block themselves. So a block attends to C + A keys under one mask, and all blocks with few
ancestors are one call of `scaled_dot_product_attention`, however long their texts are.

Shapes: N nodes, P tokens of all texts, Q blocks, C nodes of a block, A ancestors, K = A + C keys, H heads, E width of a
head.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tcf.encoders.prefix_sharing.prefix_tree import Counts, PrefixTree
from tcf.encoders.transformers_internals import attention_name, is_causal, sdpa_attention, sdpa_mask

__all__ = ["NotShareable", "TreeAttention", "attending_along", "use_plain_attention", "use_tree_attention"]

_NAME = "tcf_prefix_tree"
_BLOCK = 32  # nodes of a block with few ancestors
_active: ContextVar["TreeAttention | None"] = ContextVar("tree", default=None)


class NotShareable(RuntimeError):
    """A model computes attention in a way that is not supported along the paths of a tree."""


@dataclass(frozen=True, eq=False)
class _Blocks:
    """Blocks of equal size.

    Attributes:
        size: nodes of a block, C.
        keys_QK: the ancestors of each block's first node, filled up with any node, and then its own nodes; those
            of the last block of a tree may be repeated to fill it.
        mask_Q1CK: whether a node attends to a key.
    """

    size: int
    keys_QK: Tensor
    mask_Q1CK: Tensor

    @classmethod
    def of(cls, tree: PrefixTree, starts: Counts, size: int, device: torch.device) -> "_Blocks":
        """Prepare the blocks that begin at these nodes; small arrays go to the device, the mask is made there."""
        begins_N = tree.offsets[np.repeat(np.arange(len(tree.added)), tree.added)]  # the path of a text with the node
        places_QC = starts[:, None] + np.arange(size)
        nodes_QC = np.minimum(places_QC, len(tree) - 1)
        depths_Q1 = tree.depths_N[starts][:, None]
        along_A = np.arange(int(depths_Q1.max(initial=0)))
        ancestors_QA = tree.paths_P[begins_N[starts][:, None] + np.minimum(along_A, depths_Q1)]
        keys_QK = np.concatenate([ancestors_QA, nodes_QC], axis=1)
        # A place beyond a block's ancestors, or in a repeated node, is nobody's key.
        beyond_QK = np.concatenate([along_A >= depths_Q1, nodes_QC != places_QC], axis=1)
        keys, beyond, begins, depths, paths = (
            _on(device, values) for values in (keys_QK, beyond_QK, begins_N[nodes_QC], tree.depths_N, tree.paths_P)
        )
        # The node of a query's path at the position of the key, if the path is that long, must be the key.
        positions, queries = depths[keys][:, None, :], depths[keys[:, -size:]][:, :, None]
        mask_QCK = paths[begins[:, :, None] + torch.minimum(positions, queries)] == keys[:, None, :]
        return cls(size, keys, (mask_QCK & (positions <= queries) & ~beyond[:, None, :])[:, None])

    @property
    def nodes_QC(self) -> Tensor:
        """The nodes of each block."""
        return self.keys_QK[:, -self.size :]

    def to(self, device: torch.device) -> "_Blocks":
        """Return these blocks on a device."""
        keys_QK, mask_Q1CK = (tensor.to(device, non_blocking=True) for tensor in (self.keys_QK, self.mask_Q1CK))
        return _Blocks(self.size, keys_QK, mask_Q1CK)

    def restricted(self, allowed: Callable[[Tensor, Tensor], Tensor], positions_N: Tensor) -> "_Blocks":
        """Return these blocks with fewer keys: those at positions that a rule allows."""
        positions_QK = positions_N[self.keys_QK]
        mask_QCK = allowed(positions_QK[:, -self.size :, None], positions_QK[:, None, :])
        return replace(self, mask_Q1CK=self.mask_Q1CK & mask_QCK[:, None])

    def attention(self, query_NHE: Tensor, key_NHE: Tensor, value_NHE: Tensor, scale: float | None) -> Tensor:
        """Return the attention of the blocks' nodes, (Q * C, H, E)."""
        query_QHCE, mask = query_NHE[self.nodes_QC].transpose(1, 2), self.mask_Q1CK
        heads, shared = query_QHCE.shape[1], key_NHE.shape[1]
        if heads > shared:
            # The queries of the heads that share keys follow one another, so that no key is copied for them.
            query_QHCE = query_QHCE.reshape(query_QHCE.shape[0], shared, -1, query_QHCE.shape[-1])
            mask = mask.repeat(1, 1, heads // shared, 1)
        found = F.scaled_dot_product_attention(
            query_QHCE,
            key_NHE[self.keys_QK].transpose(1, 2),
            value_NHE[self.keys_QK].transpose(1, 2),
            attn_mask=mask,
            scale=scale,
        )
        found = found.reshape(found.shape[0], heads, -1, found.shape[-1])
        return found.transpose(1, 2).flatten(0, 1)


@dataclass(frozen=True, eq=False)
class TreeAttention:
    """Where the nodes of a tree attend, on a device.

    Attributes:
        positions_1N: position of each node in its texts.
        blocks: all nodes in blocks, by size.
        places_N: where each node is among those of `blocks`; None if they are in order.
    """

    positions_1N: Tensor
    blocks: tuple[_Blocks, ...]
    places_N: Tensor | None

    @classmethod
    def of(cls, tree: PrefixTree, device: torch.device) -> "TreeAttention":
        """Prepare the attention of a tree with at least one node."""
        cut = _cut(tree.depths_N)
        sizes = np.unique(cut[:, 1]).tolist()
        blocks = [_Blocks.of(tree, cut[cut[:, 1] == size, 0], size, device) for size in sizes]
        places_N = None
        if len(sizes) > 1:
            order = torch.cat([of_size.nodes_QC.flatten() for of_size in blocks])
            places_N = torch.empty(len(tree), dtype=torch.int64, device=device)
            places_N[order.flip(0)] = torch.arange(len(order), device=device).flip(0)  # the first of repeated ones
        return cls(_on(device, tree.depths_N)[None], tuple(blocks), places_N)

    def to(self, device: torch.device) -> "TreeAttention":
        """Return the same on a device."""
        places_N = None if self.places_N is None else self.places_N.to(device, non_blocking=True)
        positions_1N = self.positions_1N.to(device, non_blocking=True)
        return TreeAttention(positions_1N, tuple(blocks.to(device) for blocks in self.blocks), places_N)

    def restricted(self, allowed: Callable[[Tensor, Tensor], Tensor]) -> "TreeAttention":
        """Return the same with fewer keys: those at positions that a rule allows."""
        positions_N = self.positions_1N[0]
        return replace(self, blocks=tuple(blocks.restricted(allowed, positions_N) for blocks in self.blocks))

    def attention(self, query_1HNE: Tensor, key_1HNE: Tensor, value_1HNE: Tensor, scale: float | None) -> Tensor:
        """Return the attention of every node to its ancestors and itself, (1, N, H, E)."""
        query, key, value = (tensor[0].transpose(0, 1) for tensor in (query_1HNE, key_1HNE, value_1HNE))
        found = torch.cat([blocks.attention(query, key, value, scale) for blocks in self.blocks])
        ordered = found[: len(query)] if self.places_N is None else found[self.places_N]
        return ordered[None]


def _on(device: torch.device, values: Counts) -> Tensor:
    """An array on a device; does not synchronise with CUDA."""
    tensor = torch.from_numpy(values)
    return (tensor.pin_memory() if device.type == "cuda" else tensor).to(device, non_blocking=True)


def _cut(depths_N: Counts) -> Counts:
    """Cut nodes into blocks of twice as many nodes at twice the depth; first node and size of each, (Q, 2).

    So a block has at most twice as many ancestors as nodes, and all of them together at most three times as many keys
    as there are nodes, while short texts, the usual case, are in blocks of one size.
    """
    depths, cut, at = depths_N.tolist(), [], 0
    while at < len(depths):
        size = _BLOCK
        while depths[at] > 2 * size:
            size *= 2
        cut.append((at, size))
        at += size
    return np.array(cut, np.int64)


@contextmanager
def attending_along(tree: TreeAttention) -> Iterator[None]:
    """Let models with tree attention attend along the paths of a tree, in this thread, within the block."""
    token = _active.set(tree)
    try:
        yield
    finally:
        _active.reset(token)


def use_tree_attention(model: Any) -> None:
    """Make a model of transformers use this attention; without a tree it computes what it computed before.

    Args:
        model: a model that is used with `scaled_dot_product_attention`; others cannot attend along a tree.

    Raises:
        NotShareable: the model does not choose its attention by transformers' interface.
    """
    from transformers import AttentionInterface, AttentionMaskInterface

    if attention_name(model) == _NAME:
        return
    if attention_name(model) != "sdpa":
        raise NotShareable(f"its attention is {attention_name(model)}, not sdpa")
    AttentionInterface.register(_NAME, _attention)
    AttentionMaskInterface.register(_NAME, _mask)
    model.set_attn_implementation(_NAME)
    if attention_name(model) != _NAME:
        raise NotShareable("it does not take another attention")


def use_plain_attention(model: Any) -> None:
    """Give a model its own attention back: code of some models asks for its name."""
    if attention_name(model) == _NAME:
        model.set_attn_implementation("sdpa")


def _mask(*, mask_function: Callable[..., Any], **arguments: Any) -> Any:
    """The tree that the model attends along, in place of a mask; without a tree the mask itself."""
    tree = _active.get()
    if tree is None:
        return sdpa_mask(mask_function, **arguments)
    if is_causal(mask_function):
        return tree
    return tree.restricted(lambda queries, keys: mask_function(0, 0, queries, keys))


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Any,
    scaling: float | None = None,
    **named: Any,
) -> tuple[Tensor, None]:
    """Attention as transformers calls it; returns (1, N, H, E) along a tree."""
    if not isinstance(attention_mask, TreeAttention):
        return sdpa_attention(module, query, key, value, attention_mask, scaling, **named), None
    unknown = [name for name in ("softcap", "position_bias", "s_aux") if named.get(name) is not None]
    if unknown or not getattr(module, "is_causal", True):
        raise NotShareable(f"its attention has {', '.join(unknown) or 'no direction'}")
    if query.is_meta:
        return query.new_empty((1, query.shape[2], query.shape[1], value.shape[3])), None
    return attention_mask.attention(query, key, value, scaling), None
