"""All code in tcf that relies on private or undocumented parts of torch.

Checked with torch 2.13. `tests/common/test_torch_internals.py` has a test for each function, which says what broke.
"""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

__all__ = [
    "ADAMW_STATE",
    "USE_EXISTING_STORE",
    "empty_adamw_state",
    "file_offset",
    "has_onednn_type",
    "is_lost_partner",
    "is_out_of_memory",
    "limit_onednn_caches",
    "linear_with_activation",
    "reorder_linear_weight",
    "seed_default_generator",
    "storage_id",
    "tensors_without_data",
    "tree_leaves",
    "tree_map",
]

USE_EXISTING_STORE = MappingProxyType({"TORCHELASTIC_USE_AGENT_STORE": "True"})
"""Environment of a process group that uses a store kept by another process; rank 0 then opens none.

torchrun sets this variable for its own workers and does not document it. Without it, `env://` makes rank 0 open the
store, on a port that cannot be reserved beforehand.
"""

ADAMW_STATE = ("step", "exp_avg", "exp_avg_sq")
"""Names of the state that AdamW keeps for each parameter; torch does not document them."""

_ONEDNN_CACHES = ("LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY")
_ONEDNN_CACHE_ENTRIES = "64"


def tree_map(function: Callable[[Any], Any], tree: Any, *, is_leaf: Callable[[Any], bool] | None = None) -> Any:
    """Apply a function to every leaf of nested tuples, lists and dictionaries, by `torch.utils._pytree`.

    Torch has no public name for it. Libraries register their own containers there, such as the model outputs of
    transformers, which a function of our own would mistake for leaves.

    Args:
        function: applied to each leaf.
        tree: the nested containers.
        is_leaf: says which containers are treated as leaves.
    """
    return pytree.tree_map(function, tree, is_leaf=is_leaf)


def tree_leaves(tree: Any, *, is_leaf: Callable[[Any], bool] | None = None) -> list[Any]:
    """The leaves of nested containers, in order; see `tree_map`."""
    return pytree.tree_leaves(tree, is_leaf=is_leaf)


def storage_id(tensor: Tensor) -> int:
    """Return an id of a tensor's storage that is unique while the storage lives, also on the meta device.

    `UntypedStorage._cdata` is the address of the storage object. The public `data_ptr()` is 0 for every storage on the
    meta device.
    """
    return int(tensor.untyped_storage()._cdata)


def file_offset(tensor: Tensor) -> int | None:
    """Return the offset in bytes of a tensor's storage in the file read by `torch.load`; None if torch does not know.

    `UntypedStorage._checkpoint_offset` is set when a file is loaded with `map_location="meta"` or within
    `tensors_without_data()`. No public function says where a tensor lies in a file of `torch.save`.
    """
    offset = getattr(tensor.untyped_storage(), "_checkpoint_offset", None)
    return None if offset is None else int(offset)


def tensors_without_data() -> AbstractContextManager[Any]:
    """Return a context within which `torch.load` creates tensors with device, type and shape but reads no data.

    `torch._subclasses.fake_tensor.FakeTensorMode` has no public name; the public `torch.serialization.skip_data`
    allocates memory for all tensors.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode

    mode: AbstractContextManager[Any] = FakeTensorMode()
    return mode


def limit_onednn_caches() -> None:
    """Limit the primitive caches of oneDNN, and of torch's layer above it, to a few shapes; values already set stay.

    Both keep an entry for each number of rows multiplied, and that number varies with every micro-batch: a gigabyte
    after a thousand. `LRU_CACHE_CAPACITY` is undocumented, and no function sets either size. They are read when the
    libraries are first used, so call this before anything is computed with oneDNN in the process.
    """
    for name in _ONEDNN_CACHES:
        os.environ.setdefault(name, _ONEDNN_CACHE_ENTRIES)


def has_onednn_type(dtype: torch.dtype) -> bool:
    """Whether oneDNN multiplies matrices of a dtype on this machine; `torch.backends.mkldnn` does not say which."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    match dtype:
        case torch.float32:
            return True
        case torch.bfloat16:
            return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
        case torch.float16:
            return bool(torch.ops.mkldnn._is_mkldnn_fp16_supported())
        case _:
            return False


def reorder_linear_weight(weight_NK: Tensor, rows: int) -> Tensor:
    """Reorder the weight of a linear layer into oneDNN's layout, for `linear_with_activation` only.

    The operators under `torch.ops.mkldnn` are what torch's own compiler emits; the public `torch.utils.mkldnn`
    reorders weights again in every call.

    Args:
        weight_NK: N outputs by K inputs, contiguous.
        rows: number of rows for which the layout is optimised; any number of rows can be multiplied.
    """
    reordered: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight_NK, rows)
    return reordered


def linear_with_activation(x: Tensor, weight: Tensor, bias: Tensor | None, activation: str, algorithm: str) -> Tensor:
    """Compute a linear layer and the activation after it in one oneDNN operation.

    Args:
        x: (..., K).
        weight: from `reorder_linear_weight`.
        bias: (N,) or None.
        activation: `none`, `relu` or `gelu`.
        algorithm: for gelu, `none` (exact) or `tanh` (approximation); otherwise empty.

    Returns:
        (..., N).
    """
    product: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, activation, [], algorithm)
    return product


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether an error of torch means that memory has run out.

    CUDA raises `torch.OutOfMemoryError`; the CPU allocator raises a plain RuntimeError, which only its text identifies.
    """
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def is_lost_partner(error: RuntimeError) -> bool:
    """Whether an error means that another process of a process group has ended or does not respond.

    NCCL's errors have a class of their own, `torch.distributed.DistError`; gloo's are plain RuntimeErrors, which only a
    path in their text identifies.
    """
    import torch.distributed as dist

    return isinstance(error, dist.DistError) or "gloo" in str(error).lower()


def empty_adamw_state(quantity: str, parameter: Tensor) -> Tensor:
    """Return the initial AdamW state of a parameter, on the parameter's device.

    Args:
        quantity: one of `ADAMW_STATE`; `step` is a scalar, the others have the shape of the parameter.
        parameter: a parameter of the model.
    """
    if quantity == "step":
        return torch.zeros((), dtype=torch.float32, device=parameter.device)
    return torch.zeros_like(parameter)


def seed_default_generator(device: torch.device, seed: int) -> None:
    """Seed the default generator of one device.

    `torch.cuda.default_generators` is undocumented; the public `torch.manual_seed` also seeds other devices, and
    `torch.cuda.manual_seed` only the current one.
    """
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        torch.cuda.default_generators[index].manual_seed(seed)
    else:
        torch.default_generator.manual_seed(seed)
