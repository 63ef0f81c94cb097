"""Finding out which weight of a model each tensor of a checkpoint becomes, with transformers' loader and no data.

The loader gets placeholders with the checkpoint's names. It renames, converts, casts and ties them like the tensors
themselves; the weight that ends up with a placeholder's storage is the one that the tensor belongs to.
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
from tcf.encoders.loading import WRAPPERS, bare_model, build_buffers
from tcf.encoders.split.stored_tensors import StoredTensor
from tcf.encoders.transformers_internals import Placeholder, load_placeholders

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["PlacedWeights", "place_weights"]


@dataclass(frozen=True)
class PlacedWeights:
    """A model as transformers loads it, without data.

    Attributes:
        model: the model without a head; its parameters and its stored buffers are on the meta device.
        report: the loader's report of missing, unexpected and mismatched weights.
        origins: the tensors of the checkpoint, by the storage of the weights that they became.
    """

    model: "PreTrainedModel"
    report: Mapping[str, Any]
    origins: Mapping[int, StoredTensor]

    def stored(self, weight: Tensor) -> StoredTensor | None:
        """Return the checkpoint's tensor that equals a weight up to its dtype; None if there is none."""
        stored = self.origins.get(storage_id(weight))
        if stored is None or weight.shape != stored.shape or not weight.is_contiguous():
            return None
        return stored


def place_weights(
    folder: ModelFolder, dtype: torch.dtype, tensors: Sequence[StoredTensor], *, trust_remote_code: bool
) -> PlacedWeights:
    """Load a checkpoint with transformers from the headers of its files alone.

    Args:
        folder: the model folder.
        dtype: type to compute in.
        tensors: tensors of its checkpoint.
        trust_remote_code: run code of the folder if transformers has none for this model.

    Raises:
        ModelError: transformers cannot build or load the model, or the folder's own code is needed but not trusted.
    """
    bare = bare_model(folder, dtype, trust_remote_code=trust_remote_code)
    placeholders = {tensor.name: Placeholder(tensor.shape, tensor.dtype) for tensor in tensors}
    try:
        model, report = load_placeholders(type(bare), bare.config, placeholders, dtype, renamed=WRAPPERS)
    except failures() as error:
        raise ModelError(
            f"{folder.path}: config.json and weights do not match ({reason(error)}); download the model again, or pass "
            "--schedule resident"
        ) from None
    origins = {storage_id(made): tensor for tensor in tensors for made in placeholders[tensor.name].made}
    build_buffers(model, folder, origins)
    return PlacedWeights(model, report, origins)
