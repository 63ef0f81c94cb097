"""What is done to a cache's vectors before a model reads them: a projection that was fitted once, and a length of 1.

Shapes: U vectors, V width of a cached vector, D width after the projection.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from tcf.common.errors import RunError

__all__ = ["Projection", "Transform", "named_tensors", "projections_from"]


@dataclass(frozen=True)
class Projection:
    """A linear map of centred vectors.

    Attributes:
        mean_V: what is taken off, float64: a large mean would round away small differences in float32.
        map_VD: the map, float32.
    """

    mean_V: Tensor
    map_VD: Tensor

    def __call__(self, vectors_UV: Tensor) -> Tensor:
        """Project vectors of any float type, (U, V) to (U, D) float32."""
        return (vectors_UV.double() - self.mean_V).float() @ self.map_VD

    def to(self, device: torch.device) -> "Projection":
        """The same on a device."""
        return Projection(self.mean_V.to(device), self.map_VD.to(device))


@dataclass(frozen=True)
class Transform:
    """What is done to the vectors of one cache.

    Attributes:
        projection: whitening or principal components; None for neither.
        normalise: whether to scale each vector to length 1 afterwards; a zero vector stays zero.
    """

    projection: Projection | None
    normalise: bool

    def __call__(self, vectors_UV: Tensor) -> Tensor:
        """(U, V) in any float type to (U, D); in the type they came in if nothing is done to them, else in float32."""
        # Whatever precision the model computes in, these are its inputs.
        with torch.autocast(vectors_UV.device.type, enabled=False):
            if self.projection is not None:
                vectors_UV = self.projection(vectors_UV)
            return _of_length_1(vectors_UV) if self.normalise else vectors_UV

    def width(self, stored: int) -> int:
        """D, the width of what comes out, where vectors of this width go in."""
        return stored if self.projection is None else self.projection.map_VD.shape[1]

    def dtype(self, stored: torch.dtype) -> torch.dtype:
        """The type of what comes out, where vectors of this type go in."""
        return stored if self.projection is None and not self.normalise else torch.float32

    def to(self, device: torch.device) -> "Transform":
        """The same on a device."""
        return Transform(None if self.projection is None else self.projection.to(device), self.normalise)


def named_tensors(projections: Mapping[str, Projection]) -> dict[str, Tensor]:
    """The tensors of each projection under its cache's role, for a file: ROLE.mean and ROLE.map."""
    tensors: dict[str, Tensor] = {}
    for role, projection in projections.items():
        tensors |= {f"{role}.mean": projection.mean_V, f"{role}.map": projection.map_VD}
    return tensors


def projections_from(file: Path) -> dict[str, Projection]:
    """Read a safetensors file of such tensors.

    Raises:
        RunError: it is damaged.
    """
    try:
        tensors = safetensors.torch.load_file(file)
        roles = [name.removesuffix(".mean") for name in tensors if name.endswith(".mean")]
        return {role: Projection(tensors[f"{role}.mean"], tensors[f"{role}.map"]) for role in roles}
    except (OSError, KeyError, safetensors.SafetensorError) as error:
        raise RunError(f"{file}: unreadable ({error}); remove {file.parent} and run `tcf train` again") from None


def _of_length_1(vectors_UV: Tensor) -> Tensor:
    """Through float64, where no square overflows or vanishes."""
    norms_U1 = torch.linalg.vector_norm(vectors_UV, dim=1, keepdim=True, dtype=torch.float64)
    return (vectors_UV / torch.where(norms_U1 > 0, norms_U1, 1)).float()
