"""Which weight of a model each tensor of a checkpoint becomes: transformers' own loader is asked, with nothing read.

The loader is given placeholders under the checkpoint's names. It renames, converts, casts and ties them as it would
the tensors themselves; where a placeholder's storage ends up is where the tensor belongs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from tcf.common.errors import ModelError
from tcf.encoders.failures import LOADER_LOCK, failures, reason
from tcf.encoders.folder.model_folder import ModelFolder
from tcf.encoders.loading import bare_model, build_buffers, storage_of
from tcf.encoders.split.stored_tensors import StoredTensor

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["Placed", "Placeholder", "place_weights"]


@dataclass(frozen=True)
class Placeholder:
    """Stands for a stored tensor while the loader gives it a place, as a slice of a file would.

    Attributes:
        stored: what it stands for.
        made: the tensors that the loader made of it.
    """

    stored: StoredTensor
    made: list[Tensor] = field(default_factory=list)

    def __getitem__(self, _: Any) -> "Placeholder":
        return self

    def to(self, device: Any = None, dtype: torch.dtype | None = None) -> Tensor:
        """What the loader takes for the tensor in the type to compute in; it has no numbers."""
        tensor = torch.empty(self.stored.shape, dtype=dtype or self.stored.dtype, device="meta")
        self.made.append(tensor)
        return tensor


@dataclass(frozen=True)
class Placed:
    """A model as transformers loads it, without numbers.

    Attributes:
        model: the model without a head; its parameters are on the meta device, and so are buffers that are stored.
        report: the loader's account of what is missing, unexpected or of another shape.
        placeholders: by the storage of what they became.
    """

    model: "PreTrainedModel"
    report: Mapping[str, Any]
    placeholders: Mapping[int, Placeholder]

    def stored(self, weight: Tensor) -> StoredTensor | None:
        """The tensor of the checkpoint that a weight of the model is, type aside; None if it is not one as it lies."""
        placeholder = self.placeholders.get(storage_of(weight))
        if placeholder is None or weight.shape != placeholder.stored.shape or not weight.is_contiguous():
            return None
        return placeholder.stored


def place_weights(
    folder: ModelFolder, dtype: torch.dtype, tensors: Sequence[StoredTensor], *, trust_remote_code: bool
) -> Placed:
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
    loader: Any = type(bare)
    placeholders = {tensor.name: Placeholder(tensor) for tensor in tensors}
    try:
        with LOADER_LOCK:
            model, report = loader.from_pretrained(
                None,
                config=bare.config,
                state_dict=placeholders,
                dtype=dtype,
                device_map={"": "meta"},  # what is missing takes no memory either
                local_files_only=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
            )
    except failures() as error:
        raise ModelError(
            f"{folder.path}: config.json and weights do not fit together ({reason(error)}); fetch the model anew, or "
            "pass --schedule resident"
        ) from None
    by_storage = {storage_of(tensor): one for one in placeholders.values() for tensor in one.made}
    build_buffers(model, folder, by_storage)
    return Placed(model, report, by_storage)
