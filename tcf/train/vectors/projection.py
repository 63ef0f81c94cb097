"""Transforms of a cache's vectors before a model reads them: a fitted projection, and scaling to length 1.

Shapes: U vectors, V width of a cached vector, D width after the projection, F forms of a vector, each of width D.
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
    """A linear map of centred vectors, or two, each of which gives one form of them.

    Attributes:
        mean_V: the mean to subtract, float64: in float32, a large mean would round away small differences.
        map_VD: the map, float32.
        grouped_VD: the map to the second form, float32: vectors whitened in groups of dimensions; None for one form.
        components: with `--whiten full`, the number of components that were found, of all groups together; else None.
    """

    mean_V: Tensor
    map_VD: Tensor
    grouped_VD: Tensor | None = None
    components: int | None = None

    def __call__(self, vectors_UV: Tensor) -> Tensor:
        """Project vectors of any float type, (U, V) to (U, F D) float32, one form after the other."""
        centred_UV = (vectors_UV.double() - self.mean_V).float()
        if self.grouped_VD is None:
            return centred_UV @ self.map_VD
        return torch.cat([centred_UV @ self.map_VD, centred_UV @ self.grouped_VD], dim=1)

    @property
    def forms(self) -> int:
        """F, the number of forms."""
        return 1 if self.grouped_VD is None else 2

    def to(self, device: torch.device) -> "Projection":
        """The same on a device."""
        grouped_VD = None if self.grouped_VD is None else self.grouped_VD.to(device)
        return Projection(self.mean_V.to(device), self.map_VD.to(device), grouped_VD, self.components)

    def equals(self, other: "Projection") -> bool:
        """Whether it gives the same numbers, to the bit."""
        one, two = self.tensors(), other.tensors()
        return one.keys() == two.keys() and all(torch.equal(one[name].cpu(), two[name].cpu()) for name in one)

    def tensors(self) -> dict[str, Tensor]:
        """Everything that there is of it, by the name that it has in a file."""
        found = {"mean": self.mean_V, "map": self.map_VD}
        if self.grouped_VD is not None:
            found["grouped"] = self.grouped_VD
        if self.components is not None:
            found["components"] = torch.tensor(self.components)
        return found

    @staticmethod
    def of(tensors: Mapping[str, Tensor]) -> "Projection":
        """The projection with these tensors, as `tensors` gives them.

        Raises:
            KeyError: mean or map is missing.
        """
        components = tensors.get("components")
        counted = None if components is None else int(components)
        return Projection(tensors["mean"], tensors["map"], tensors.get("grouped"), counted)


@dataclass(frozen=True)
class Transform:
    """The transform of one cache's vectors.

    Attributes:
        projection: whitening or principal components; None for neither.
        normalise: scale each form of a vector to length 1 afterwards; a zero vector stays zero.
    """

    projection: Projection | None
    normalise: bool

    def __call__(self, vectors_UV: Tensor) -> Tensor:
        """(U, V) in any float type to (U, F D): in the same type if nothing is to be done, else in float32."""
        # The model's inputs do not depend on the precision that it computes in.
        with torch.autocast(vectors_UV.device.type, enabled=False):
            if self.projection is not None:
                vectors_UV = self.projection(vectors_UV)
            return self._normalised(vectors_UV) if self.normalise else vectors_UV

    def _normalised(self, vectors_UV: Tensor) -> Tensor:
        if self.forms == 1:
            return _of_length_1(vectors_UV)
        return torch.cat([_of_length_1(form_UD) for form_UD in vectors_UV.chunk(self.forms, dim=1)], dim=1)

    @property
    def forms(self) -> int:
        """F, the number of forms of a vector."""
        return 1 if self.projection is None else self.projection.forms

    def width(self, stored: int) -> int:
        """D, the width of each form of the result for vectors of width `stored`."""
        return stored if self.projection is None else self.projection.map_VD.shape[1]

    def dtype(self, stored: torch.dtype) -> torch.dtype:
        """The type of the result for vectors of type `stored`."""
        return stored if self.projection is None and not self.normalise else torch.float32

    def to(self, device: torch.device) -> "Transform":
        """The same on a device."""
        return Transform(None if self.projection is None else self.projection.to(device), self.normalise)


def write_projections(file: Path, projections: Mapping[str, Projection]) -> None:
    """Write projections as ROLE.mean, ROLE.map and so on, where ROLE is the cache's role, with a digest of them.

    Raises:
        RunError: the file cannot be written.
    """
    tensors: dict[str, Tensor] = {}
    for role, projection in projections.items():
        tensors |= {f"{role}.{name}": value for name, value in projection.tensors().items()}
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
        by_role: dict[str, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            role, _, part = name.rpartition(".")
            by_role.setdefault(role, {})[part] = value
        return {role: Projection.of(parts) for role, parts in by_role.items()}
    except (OSError, KeyError, safetensors.SafetensorError) as error:
        raise RunError(
            f"{file}: unreadable ({read_error_words(error)}); remove {file.parent} and run `tcf train` again"
        ) from None


def _of_length_1(vectors_UV: Tensor) -> Tensor:
    """Vectors scaled to length 1; norms are computed in float64, where no square overflows or underflows."""
    norms_U1 = torch.linalg.vector_norm(vectors_UV, dim=1, keepdim=True, dtype=torch.float64)
    return (vectors_UV / torch.where(norms_U1 > 0, norms_U1, 1)).float()
