"""From an encoder's token states to one vector per text: pooling, and the modules of a sentence encoder.

Shapes: B texts, T tokens, D width.
"""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, assert_never

import torch
from torch import Tensor, nn

from tcf.config.extract import Pooling
from tcf.encoders.folder.load_tokenizer import begins_with_class_token
from tcf.encoders.folder.model_config import is_bidirectional
from tcf.encoders.folder.model_folder import Family

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

__all__ = ["VectorHead", "default_pooling", "pool"]


@dataclass(frozen=True, eq=False)
class VectorHead:
    """How the states of a text's tokens become its vector.

    Attributes:
        poolings: their vectors are concatenated.
        skip: tokens at the start that are not pooled, such as those of a prompt.
        modules: what is applied to the pooled vector, on the CPU.
    """

    poolings: Sequence[Pooling]
    skip: int = 0
    modules: nn.Sequential = field(default_factory=nn.Sequential)

    def on(self, device: torch.device) -> "VectorHead":
        """Return this head with its weights on a device."""
        if device.type == "cpu" or not len(self.modules):
            return self
        return replace(self, modules=copy.deepcopy(self.modules).to(device))

    def vectors(self, states_BTD: Tensor) -> Tensor:
        """Return one vector per text, float32; where a pooled number is not finite, nothing of its vector is.

        Args:
            states_BTD: last hidden states, without padding, (B, T, D), any float type, on the device of the weights.
        """
        pooled = [pool(states_BTD, pooling, self.skip) for pooling in self.poolings]
        joined_BD = pooled[0] if len(pooled) == 1 else torch.cat(pooled, dim=1)
        if not len(self.modules):
            return joined_BD
        # An activation such as tanh would hide an infinite state.
        bad_B1 = torch.isfinite(joined_BD).all(dim=1, keepdim=True).logical_not()
        found: Tensor = self.modules(joined_BD)
        return found.masked_fill(bad_B1, torch.nan)


def pool(states_BTD: Tensor, pooling: Pooling, skip: int = 0) -> Tensor:
    """Pool token states into one vector per text, as the study and sentence-transformers do.

    Args:
        states_BTD: last hidden states, without padding, (B, T, D), any float type.
        pooling: over all tokens, special tokens included: `mean`; `max`; `mean_sqrt_len`, the sum divided by the square
            root of the number of tokens; `weighted_mean`, with weights 1, 2, ..., T (SGPT). Or the `first` or `last`
            token.
        skip: tokens at the start to leave out; the others keep their weights. If there are no others, `first` is the
            first token and everything else is zero.

    Returns:
        (B, D) float32; means are computed in float32 even for 16-bit states.
    """
    length = states_BTD.shape[1]
    if length <= skip:
        first_BD = states_BTD[:, 0].float()
        return first_BD if pooling == "first" else torch.zeros_like(first_BD)
    kept_BTD = states_BTD[:, skip:]
    match pooling:
        case "mean":
            return kept_BTD.float().mean(dim=1)
        case "first":
            return kept_BTD[:, 0].float()
        case "last":
            return kept_BTD[:, -1].float()
        case "max":
            return kept_BTD.amax(dim=1).float()
        case "mean_sqrt_len":
            return kept_BTD.float().sum(dim=1) / math.sqrt(length - skip)
        case "weighted_mean":
            weights_T = torch.arange(skip + 1, length + 1, dtype=torch.float32, device=states_BTD.device)
            return (kept_BTD.float() * (weights_T / weights_T.sum())[:, None]).sum(dim=1)
        case _:
            assert_never(pooling)


def default_pooling(path: Path, config: "PreTrainedConfig", family: Family, *, trust_remote_code: bool) -> Pooling:
    """Choose the pooling of a model that is no sentence encoder: the class token for BERT-like ones, else the mean."""
    match family:
        case "bert" | "roberta":
            return "first"
        case "other" if is_bidirectional(config) and begins_with_class_token(path, trust_remote_code=trust_remote_code):
            return "first"
        case _:
            return "mean"
