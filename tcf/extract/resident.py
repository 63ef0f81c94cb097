"""The resident schedule: the whole model on one device, one shard after the other.

Legend: B texts, T tokens, D width.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch

from tcf.errors import ModelError
from tcf.extract.batches import micro_batches
from tcf.models.encoder import Encoder
from tcf.models.folder import Pooling
from tcf.models.pooling import pool
from tcf.models.tokens import TokenSequences

__all__ = ["default_tokens_per_batch", "encode"]


def default_tokens_per_batch(device: torch.device) -> int:
    """Tokens a micro-batch that keep the device busy: more gains little on a CPU, less starves a GPU."""
    return 32_768 if device.type == "cuda" else 2048


def encode(
    encoder: Encoder,
    sequences: TokenSequences,
    rows: npt.NDArray[np.int64],
    *,
    pooling: Pooling,
    tokens_per_batch: int,
    advance: Callable[[int, int], None],
) -> npt.NDArray[np.float32]:
    """One vector for each of some token sequences.

    Args:
        encoder: the language model.
        sequences: token ids of all texts.
        rows: which of them, (n,).
        pooling: how token states become a vector.
        tokens_per_batch: most tokens that the device runs at once.
        advance: called with the texts and tokens of each micro-batch done.

    Returns:
        (n, D) float32, in the order of `rows`.

    Raises:
        ModelError: the device has too little memory for a micro-batch.
    """
    vectors = torch.empty((len(rows), encoder.folder.width), dtype=torch.float32, device=encoder.device)
    for batch in micro_batches(sequences.lengths[rows], tokens_per_batch):
        tokens_BT = torch.from_numpy(sequences.block(rows[batch])).to(encoder.device)
        try:
            with torch.inference_mode():
                pooled_BD = pool(encoder.token_states(tokens_BT), pooling)
        except torch.OutOfMemoryError:
            raise ModelError(
                f"{encoder.device}: out of memory with {tokens_BT.numel()} tokens at once; "
                f"lower --tokens-per-batch (now {tokens_per_batch})"
            ) from None
        vectors[torch.from_numpy(batch).to(encoder.device)] = pooled_BD
        advance(len(batch), tokens_BT.numel())
    return vectors.cpu().numpy()
