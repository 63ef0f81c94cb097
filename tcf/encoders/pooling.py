"""Token states to one vector a text, for texts of equal length.

Legend: B texts, T tokens, D width.
"""

from torch import Tensor

from tcf.encoders.folder.model_folder import Pooling

__all__ = ["pool"]


def pool(states_BTD: Tensor, pooling: Pooling) -> Tensor:
    """One vector a text (study, section on text encoders).

    Args:
        states_BTD: last hidden states of real tokens only, (B, T, D), any float type.
        pooling: `mean` over all tokens, special ones included; `first` or `last` token.

    Returns:
        (B, D) float32; the mean is summed in float32 even for 16-bit states.
    """
    match pooling:
        case "mean":
            return states_BTD.float().mean(dim=1)
        case "first":
            return states_BTD[:, 0].float()
        case "last":
            return states_BTD[:, -1].float()
