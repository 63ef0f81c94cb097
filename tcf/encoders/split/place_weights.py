"""Which weight of a model each tensor of a checkpoint becomes: transformers' own loader is asked, with nothing read.

The loader is given placeholders under the checkpoint's names. It renames, converts, casts and ties them as it would
the tensors themselves; where a placeholder's storage ends up is where the tensor belongs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from tcf.common.errors import ModelError
from tcf.common.torch_internals import storage_id
from tcf.encoders.failures import failures, reason
from tcf.encoders.folder.model_folder import ModelFolder
from tcf.encoders.loading import bare_model, build_buffers
from tcf.encoders.split.stored_tensors import StoredTensor
from tcf.encoders.transformers_internals import Placeholder, load_placeholders

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["PlacedWeights", "place_weights"]


@dataclass(frozen=True)
class PlacedWeights:
    """A model as transformers loads it, without numbers.

    Attributes:
        model: the model without a head; its parameters are on the meta device, and so are buffers that are stored.
        report: the loader's account of what is missing, unexpected or of another shape.
        origins: the tensors of the checkpoint, by the storage of what they became.
    """

    model: "PreTrainedModel"
    report: Mapping[str, Any]
    origins: Mapping[int, StoredTensor]

    def stored(self, weight: Tensor) -> StoredTensor | None:
        """The tensor of the checkpoint that a weight of the model is, type aside; None if it is not one as it lies."""
        stored = self.origins.get(storage_id(weight))
        if stored is None or weight.shape != stored.shape or not weight.is_contiguous():
            return None
        return stored


def place_weights(
    folder: ModelFolder, dtype: torch.dtype, tensors: Sequence[StoredTensor], *, trust_remote_code: bool
) -> PlacedWeights:
    """Let transformers load a checkpoint of which only the headers are known.

    Args:
        folder: the model folder.
        dtype: the type to compute in.
        tensors: those of its checkpoint.
        trust_remote_code: run code of the folder where transformers has none for this model.

    Raises:
        ModelError: transformers cannot build or load the model, or code of the folder would have to be run without
            being trusted.
    """
    bare = bare_model(folder, dtype, trust_remote_code=trust_remote_code)
    placeholders = {tensor.name: Placeholder(tensor.shape, tensor.dtype) for tensor in tensors}
    try:
        model, report = load_placeholders(type(bare), bare.config, placeholders, dtype)
    except failures() as error:
        raise ModelError(
            f"{folder.path}: config.json and weights do not fit together ({reason(error)}); fetch the model anew, or "
            "pass --schedule resident"
        ) from None
    origins = {storage_id(made): tensor for tensor in tensors for made in placeholders[tensor.name].made}
    build_buffers(model, folder, origins)
    return PlacedWeights(model, report, origins)
