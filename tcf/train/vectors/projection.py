"""Transforms of a cache's vectors before a model reads them: a fitted projection, and scaling to length 1.

Shapes: U vectors, V width of a cached vector, D width after the projection.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors
import torch
from torch import Tensor

from tcf.common.errors import RunError
from tcf.train.run.tensor_files import digest_of, read_error_words, write_tensors

__all__ = ["Projection", "Transform", "projections_from", "write_projections"]

_DIGEST = "tcf"  # entry of the header


@dataclass(frozen=True)
class Projection:
    """A linear map of centred vectors.

    Attributes:
        mean_V: the mean to subtract, float64: in float32, a large mean would round away small differences.
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
    """The transform of one cache's vectors.

    Attributes:
        projection: whitening or principal components; None for neither.
        normalise: scale each vector to length 1 afterwards; a zero vector stays zero.
    """

    projection: Projection | None
    normalise: bool

    def __call__(self, vectors_UV: Tensor) -> Tensor:
        """(U, V) in any float type to (U, D): in the same type if nothing is to be done, else in float32."""
        # The model's inputs do not depend on the precision that it computes in.
        with torch.autocast(vectors_UV.device.type, enabled=False):
            if self.projection is not None:
                vectors_UV = self.projection(vectors_UV)
            return _of_length_1(vectors_UV) if self.normalise else vectors_UV

    def width(self, stored: int) -> int:
        """D, the width of the result for vectors of width `stored`."""
        return stored if self.projection is None else self.projection.map_VD.shape[1]

    def dtype(self, stored: torch.dtype) -> torch.dtype:
        """The type of the result for vectors of type `stored`."""
        return stored if self.projection is None and not self.normalise else torch.float32

    def to(self, device: torch.device) -> "Transform":
        """The same on a device."""
        return Transform(None if self.projection is None else self.projection.to(device), self.normalise)


def write_projections(file: Path, projections: Mapping[str, Projection]) -> None:
    """Write projections as ROLE.mean and ROLE.map, where ROLE is the cache's role, with a digest of them.

    Raises:
        RunError: the file cannot be written.
    """
    tensors: dict[str, Tensor] = {}
    for role, projection in projections.items():
        tensors |= {f"{role}.mean": projection.mean_V, f"{role}.map": projection.map_VD}
    write_tensors(file, tensors, {_DIGEST: digest_of({name: value.cpu() for name, value in tensors.items()})})


def projections_from(file: Path) -> dict[str, Projection]:
    """Read projections that `write_projections` wrote.

    Raises:
        RunError: the file is damaged.
    """
    try:
        with safetensors.safe_open(file, "pt") as opened:
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
            if (opened.metadata() or {})[_DIGEST] != digest_of(tensors):
                raise KeyError(_DIGEST)
        roles = [name.removesuffix(".mean") for name in tensors if name.endswith(".mean")]
        return {role: Projection(tensors[f"{role}.mean"], tensors[f"{role}.map"]) for role in roles}
    except (OSError, KeyError, safetensors.SafetensorError) as error:
        raise RunError(
            f"{file}: unreadable ({read_error_words(error)}); remove {file.parent} and run `tcf train` again"
        ) from None


def _of_length_1(vectors_UV: Tensor) -> Tensor:
    """Vectors scaled to length 1; norms are computed in float64, where no square overflows or underflows."""
    norms_U1 = torch.linalg.vector_norm(vectors_UV, dim=1, keepdim=True, dtype=torch.float64)
    return (vectors_UV / torch.where(norms_U1 > 0, norms_U1, 1)).float()
