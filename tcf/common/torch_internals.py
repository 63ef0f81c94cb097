"""Everything in tcf that leans on private or undocumented parts of torch, gathered in one place.

Checked with torch 2.13. `tests/common/test_torch_internals.py` has a test for each function, which names what broke.
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
"""Environment of a process whose group meets at a store that another process keeps; rank 0 opens none then.

torchrun sets this variable for its own workers and does not document it. Without it, `env://` has rank 0 open the
store, at a port that cannot be reserved beforehand.
"""

ADAMW_STATE = ("step", "exp_avg", "exp_avg_sq")
"""Names of what AdamW keeps of each parameter, which torch documents nowhere."""

_ONEDNN_CACHES = ("LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY")
_ONEDNN_CACHE_ENTRIES = "64"


def tree_map(function: Callable[[Any], Any], tree: Any, *, is_leaf: Callable[[Any], bool] | None = None) -> Any:
    """Nested tuples, lists and dictionaries with a function applied to every leaf, by `torch.utils._pytree`.

    Torch has no public name for it. Libraries register containers of theirs there, such as transformers' outputs of
    models, which a function of our own would take for leaves.

    Args:
        function: applied to each leaf.
        tree: the nested containers.
        is_leaf: what is not looked into although it is a container.
    """
    return pytree.tree_map(function, tree, is_leaf=is_leaf)


def tree_leaves(tree: Any, *, is_leaf: Callable[[Any], bool] | None = None) -> list[Any]:
    """The leaves of nested containers, in order; see `tree_map`."""
    return pytree.tree_leaves(tree, is_leaf=is_leaf)


def storage_id(tensor: Tensor) -> int:
    """What tells a tensor's storage from others, also on the meta device, while that storage lives.

    `UntypedStorage._cdata` is the address of the storage object. The public `data_ptr()` is 0 for every storage on the
    meta device.
    """
    return int(tensor.untyped_storage()._cdata)


def file_offset(tensor: Tensor) -> int | None:
    """Where the storage of a tensor begins in the file that `torch.load` described it from; None if torch cannot tell.

    `UntypedStorage._checkpoint_offset` is set when a file is loaded with `map_location="meta"` or within
    `tensors_without_data()`. No public function says where in a file of `torch.save` a tensor lies.
    """
    offset = getattr(tensor.untyped_storage(), "_checkpoint_offset", None)
    return None if offset is None else int(offset)


def tensors_without_data() -> AbstractContextManager[Any]:
    """Within it, `torch.load` gives tensors with a device, a type and a shape, and reads no number.

    `torch._subclasses.fake_tensor.FakeTensorMode` has no public name; `torch.serialization.skip_data`, which has one,
    takes the memory of all tensors.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode

    mode: AbstractContextManager[Any] = FakeTensorMode()
    return mode


def limit_onednn_caches() -> None:
    """Let oneDNN, and torch's layer above it, keep what they made for few shapes; values that are set stay.

    Both keep something for each number of rows multiplied, and that number varies with every micro-batch: a gigabyte
    after a thousand. `LRU_CACHE_CAPACITY` is undocumented, and no function sets either size. They are read when the
    libraries are first used, so this is to be called before anything is computed with oneDNN in the process.
    """
    for name in _ONEDNN_CACHES:
        os.environ.setdefault(name, _ONEDNN_CACHE_ENTRIES)


def has_onednn_type(dtype: torch.dtype) -> bool:
    """Whether oneDNN multiplies matrices of a type on this machine; `torch.backends.mkldnn` says nothing of types."""
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
    """The weight of a linear layer laid out as oneDNN multiplies it, for `linear_with_activation` alone.

    The operators under `torch.ops.mkldnn` are what torch's own compiler emits; the public `torch.utils.mkldnn` lays
    weights out anew in every call.

    Args:
        weight_NK: N outputs by K inputs, contiguous.
        rows: the number of rows for which the layout is chosen; any number can be multiplied.
    """
    reordered: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight_NK, rows)
    return reordered


def linear_with_activation(x: Tensor, weight: Tensor, bias: Tensor | None, activation: str, algorithm: str) -> Tensor:
    """A linear layer and the activation after it, as one product of oneDNN.

    Args:
        x: (..., K).
        weight: from `reorder_linear_weight`.
        bias: (N,) or None.
        activation: `none`, `relu` or `gelu`.
        algorithm: of gelu: `none` is the exact one, `tanh` the approximation; else empty.

    Returns:
        (..., N).
    """
    product: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, activation, [], algorithm)
    return product


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether an error of torch says that memory has run out.

    Of CUDA there is a class, `torch.OutOfMemoryError`; the allocator of the CPU raises a plain RuntimeError, which is
    known by its words alone.
    """
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def is_lost_partner(error: RuntimeError) -> bool:
    """Whether an error says that another process of a group is gone or does not answer.

    NCCL's errors have a class of their own, `torch.distributed.DistError`; gloo's are plain RuntimeErrors, which are
    known by a path in their words alone.
    """
    import torch.distributed as dist

    return isinstance(error, dist.DistError) or "gloo" in str(error).lower()


def empty_adamw_state(quantity: str, parameter: Tensor) -> Tensor:
    """What AdamW keeps of a parameter before the first step, on the parameter's device.

    Args:
        quantity: one of `ADAMW_STATE`; `step` is a number, the others are as large as the parameter.
        parameter: of the model.
    """
    if quantity == "step":
        return torch.zeros((), dtype=torch.float32, device=parameter.device)
    return torch.zeros_like(parameter)


def seed_default_generator(device: torch.device, seed: int) -> None:
    """Seed the generator that operations on one device draw from by default.

    `torch.cuda.default_generators` is undocumented; `torch.manual_seed` and `torch.cuda.manual_seed` also seed other
    devices, or only the current one.
    """
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        torch.cuda.default_generators[index].manual_seed(seed)
    else:
        torch.default_generator.manual_seed(seed)
