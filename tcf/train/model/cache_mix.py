"""Vectors of several caches, added up with learned weights.

Shapes: U vectors, C caches, D width of a vector of each.
"""

import torch
from torch import Tensor, nn

__all__ = ["CacheMix", "cache_weights"]


class CacheMix(nn.Module):
    """The sum of several vectors with weights that are a softmax of learned numbers, equal at first.

    This is the mixture of layers of ELMo (Peters et al., Deep contextualized word representations, arXiv 1802.05365,
    section 3.2, equation 1), without its factor gamma: the DTL that reads the sum begins with a linear map, which
    scales it.

    Args:
        caches: C, at least two.
    """

    def __init__(self, caches: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.empty(caches))

    def forward(self, vectors_UW: Tensor) -> Tensor:
        """Add up vectors that stand side by side.

        Args:
            vectors_UW: (U, C D), any float type.

        Returns:
            (U, D) float32.
        """
        of_caches_UCD = torch.unflatten(vectors_UW.float(), 1, (len(self.logits), -1))
        return (of_caches_UCD * self.weights()[:, None]).sum(dim=1)

    def weights(self) -> Tensor:
        """The weight of each cache, (C,), positive numbers whose sum is 1."""
        return self.logits.softmax(dim=0)


def cache_weights(model: nn.Module) -> list[float]:
    """The weight of each cache in a model, in the order of the caches; nothing for a model that mixes none."""
    return [weight for part in model.modules() if isinstance(part, CacheMix) for weight in part.weights().tolist()]
