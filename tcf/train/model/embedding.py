"""Embeddings that can be outlined on the meta device in no time."""

import torch
from torch import nn

__all__ = ["make_embedding"]


def make_embedding(rows: int, width: int) -> nn.Embedding:
    """Make an embedding; on the meta device without initial values, for which torch would import its compiler (2 s)."""
    weights = torch.empty(rows, width)
    if weights.is_meta:
        outlined: nn.Embedding = nn.Embedding.from_pretrained(weights, freeze=False)  # type: ignore[no-untyped-call]
        return outlined
    return nn.Embedding(rows, width)
