"""The dimension transformation layer: from an encoder's vector to the width of the model (study, section on models).

Shapes: U items, V width of a cached vector, D width of the model.
"""

from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["DTL"]


class DTL(nn.Module):
    """`layers` times a linear map and GELU, GELU after the last one too, dropout between them.

    Args:
        vector_width: V, numbers a cached vector.
        width: D, numbers an item vector inside the model.
        layers: linear maps, at least one.
        dropout: rate between two layers; the last layer's output keeps every number.
    """

    def __init__(self, vector_width: int, width: int, layers: int, dropout: float) -> None:
        super().__init__()
        inputs = [vector_width, *[width] * (layers - 1)]
        self.layers = nn.ModuleList(nn.Linear(n, width) for n in inputs)
        self.dropout = dropout

    def forward(self, vectors_UV: Tensor) -> Tensor:
        """Transform item vectors.

        Args:
            vectors_UV: (U, V), any float type.

        Returns:
            (U, D) float32.
        """
        states = vectors_UV.float()
        for depth, layer in enumerate(self.layers):
            if depth:
                states = F.dropout(states, self.dropout, self.training)
            states = F.gelu(layer(states))
        return states
