"""A straightforward implementation of the study's model: padded samples, every position computed, all as candidates.

It has a `Dataset` of one padded sample per user, the whole padded grid through the item tower and the transformer, the
scores of every position against every entry of the batch, with repeated items, masks, and `cross_entropy`.

Parameters have the names and shapes of tcf's model, so that weights can be copied between them.

Shapes: B users, L positions read, S = L + 1 items of a sample, C = B * S entries of a batch, N items, V width of a
cached vector, D width, H heads, K width of a head.
"""

import math
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset

from tcf.train.batch.training_data import TrainingData
from tcf.train.batch.windows import last_windows
from tcf.train.loss.losses import InBatchSoftmax

__all__ = ["PaddedSamples", "Straightforward", "log_frequency"]

_EPS = 1e-6
_FAR_BELOW = -1e9
_NO_TARGET = -100

Sample = tuple[Tensor, Tensor]


class PaddedSamples(Dataset[Sample]):
    """One sample per user: items, padded with zeros on the left, (S,), and the mask of real items, (S,).

    Args:
        data: the training part of a dataset, whose users' last S items are used.
    """

    def __init__(self, data: TrainingData) -> None:
        rows = last_windows(data)
        self.sequences, self.length = rows.choose(np.arange(len(rows))).sequences, data.positions + 1

    def __len__(self) -> int:
        """Number of users."""
        return len(self.sequences)

    def __getitem__(self, index: int) -> Sample:
        """The sample of one user."""
        items = torch.from_numpy(self.sequences.of(index)).long()
        padding = self.length - len(items)
        return F.pad(items, (padding, 0)), F.pad(torch.ones(len(items), dtype=torch.bool), (padding, 0))


def log_frequency(data: TrainingData) -> Tensor:
    """Log of each item's share in the training items, as tcf's loss has it, (N,)."""
    counts_N = last_windows(data).candidate_counts(len(data.counts))
    return InBatchSoftmax.build(counts_N, torch.device("cpu"), masks_target=True).log_frequency_N


class Straightforward(nn.Module):
    """TCF with SASRec.

    Args:
        vectors_NV: every item's cached vector.
        log_popularity_N: log of each item's share in the training items.
        width: D.
        layers: number of linear layers in the DTL.
        positions: L.
        blocks: number of transformer blocks.
        heads: H.
        dropout: dropout rate in the DTL and in SASRec.
    """

    def __init__(
        self,
        vectors_NV: Tensor,
        log_popularity_N: Tensor,
        *,
        width: int,
        layers: int,
        positions: int,
        blocks: int,
        heads: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.items = _Items(vectors_NV, width, layers, dropout)
        self.backbone = _SASRec(width, positions, blocks, heads, dropout)
        self.register_buffer("log_popularity_N", log_popularity_N, persistent=False)

    def forward(self, items_BS: Tensor, real_BS: Tensor) -> Tensor:
        """The study's in-batch softmax loss, corrected for popularity: the mean over the real targets."""
        return self.loss(self.items(items_BS), items_BS, real_BS)

    def loss(self, vectors_BSD: Tensor, items_BS: Tensor, real_BS: Tensor) -> Tensor:
        """The same loss from the vectors of all entries."""
        states_BLD = self.backbone(vectors_BSD[:, :-1], real_BS[:, :-1])
        logits_PC = states_BLD.flatten(0, 1) @ vectors_BSD.flatten(0, 1).T
        logits_PC = logits_PC - cast(Tensor, self.log_popularity_N)[items_BS.flatten()]
        labels_P = self._labels(items_BS)
        logits_PC = logits_PC.masked_fill(self._masked(items_BS, real_BS, labels_P), float("-inf"))
        labels_P = labels_P.masked_fill(~real_BS[:, :-1].flatten(), _NO_TARGET)
        return F.cross_entropy(logits_PC, labels_P, ignore_index=_NO_TARGET)

    def loss_of_real(self, states_BLD: Tensor, vectors_BSD: Tensor, items_BS: Tensor, real_BS: Tensor) -> Tensor:
        """The same loss without any scores of padding."""
        read_P, real_C = real_BS[:, :-1].flatten(), real_BS.flatten()
        logits_PC = states_BLD.flatten(0, 1)[read_P] @ vectors_BSD.flatten(0, 1)[real_C].T
        logits_PC = logits_PC - cast(Tensor, self.log_popularity_N)[items_BS.flatten()[real_C]]
        labels_P = self._labels(items_BS)[read_P]
        masked_PC = self._masked(items_BS, real_BS, self._labels(items_BS))[read_P][:, real_C]
        labels_P = real_C.cumsum(0)[labels_P] - 1
        return F.cross_entropy(logits_PC.masked_fill(masked_PC, float("-inf")), labels_P)

    def _labels(self, items_BS: Tensor) -> Tensor:
        """The entry of each position's target, the one after its own, (B * L,)."""
        places_BS = torch.arange(items_BS.numel(), device=items_BS.device).view(items_BS.shape)
        return places_BS[:, 1:].flatten()

    def _masked(self, items_BS: Tensor, real_BS: Tensor, labels_P: Tensor) -> Tensor:
        """Mask of entries that are not candidates: padding, and the user's own items except the target, (B * L, C)."""
        own_BSC = (items_BS[:, :, None] == items_BS.flatten()) & real_BS[:, :, None]
        masked_BC = own_BSC.any(1) | ~real_BS.flatten()
        masked_PC = masked_BC.repeat_interleave(items_BS.shape[1] - 1, 0)
        return masked_PC.scatter(1, labels_P[:, None], False)


class _Items(nn.Module):
    """The DTL over a table of frozen vectors."""

    def __init__(self, vectors_NV: Tensor, width: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.register_buffer("table_NV", vectors_NV, persistent=False)
        self.dtl = _DTL(vectors_NV.shape[1], width, layers, dropout)

    def forward(self, items: Tensor) -> Tensor:
        states: Tensor = self.dtl(cast(Tensor, self.table_NV)[items])
        return states


class _DTL(nn.Module):
    """Linear layers, GELU after each, dropout between them."""

    def __init__(self, vector_width: int, width: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(n, width) for n in [vector_width, *[width] * (layers - 1)])
        self.dropout = nn.Dropout(dropout)

    def forward(self, states: Tensor) -> Tensor:
        for depth, layer in enumerate(self.layers):
            states = F.gelu(layer(self.dropout(states) if depth else states))
        return states


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.query, self.key, self.value, self.out = (nn.Linear(width, width, bias=False) for _ in range(4))
        self.heads, self.dropout = heads, nn.Dropout(dropout)

    def forward(self, states_BLD: Tensor, mask_B1LL: Tensor) -> Tensor:
        B, L, D = states_BLD.shape
        maps = (self.query, self.key, self.value)
        q, k, v = (m(states_BLD).view(B, L, self.heads, -1).transpose(1, 2) for m in maps)
        scores_BHLL = q @ k.transpose(2, 3) / math.sqrt(D // self.heads) + mask_B1LL
        mixed_BHLK = self.dropout(scores_BHLL.softmax(-1)) @ v
        attended_BLD: Tensor = self.dropout(self.out(mixed_BHLK.transpose(1, 2).reshape(B, L, D)))
        return attended_BLD


class _Block(nn.Module):
    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention = _Attention(width, heads, dropout)
        self.attention_norm = nn.LayerNorm(width, _EPS)
        self.widen, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.feed_norm = nn.LayerNorm(width, _EPS)
        self.dropout = nn.Dropout(dropout)

    def forward(self, states_BLD: Tensor, mask_B1LL: Tensor) -> Tensor:
        states_BLD = self.attention_norm(states_BLD + self.attention(states_BLD, mask_B1LL))
        fed_BLD = self.dropout(self.narrow(self.widen(states_BLD).relu()))
        normed_BLD: Tensor = self.feed_norm(states_BLD + fed_BLD)
        return normed_BLD


class _SASRec(nn.Module):
    def __init__(self, width: int, positions: int, blocks: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.position = nn.Embedding(positions, width)
        self.input_norm = nn.LayerNorm(width, _EPS)
        self.blocks = nn.ModuleList(_Block(width, heads, dropout) for _ in range(blocks))
        self.dropout = nn.Dropout(dropout)

    def forward(self, vectors_BLD: Tensor, real_BL: Tensor) -> Tensor:
        states_BLD: Tensor = self.dropout(self.input_norm(vectors_BLD + self.position.weight))
        length = vectors_BLD.shape[1]
        earlier_LL = torch.ones(length, length, dtype=torch.bool, device=real_BL.device).tril()
        seen_B1LL = (earlier_LL & real_BL[:, None, :])[:, None]
        mask_B1LL = torch.zeros_like(seen_B1LL, dtype=torch.float32).masked_fill(~seen_B1LL, _FAR_BELOW)
        for block in self.blocks:
            states_BLD = block(states_BLD, mask_B1LL)
        return states_BLD
