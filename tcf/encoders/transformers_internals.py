"""All code in tcf that relies on private or undocumented parts of transformers.

Checked with transformers 5.23. `tests/encoders/test_transformers_internals.py` has a test for each function, which
says what broke.
"""

import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

__all__ = [
    "LOADER_LOCK",
    "LoadingReport",
    "Placeholder",
    "attention_name",
    "block_class_names",
    "cast_as_loaded",
    "fusible_pair",
    "initialise_marked",
    "input_kinds",
    "is_causal",
    "load_placeholders",
    "mark_for_initialisation",
    "on_meta_device",
    "onednn_activation",
    "read_loading_report",
    "sdpa_attention",
    "sdpa_mask",
    "weight_of_linear",
]

# While they run, transformers' loaders replace functions of modules and classes (`initialization.no_tie_weights`,
# `guard_torch_init_functions`) and torch's default dtype for the whole process. With two threads in them at once, one
# may restore the other's replacement for good: for instance, no weights are tied from then on.
LOADER_LOCK = threading.RLock()


def block_class_names(model: nn.Module) -> frozenset[str]:
    """Return the names of the classes that must not be split over devices, which are those of the model's blocks.

    `_no_split_modules` is what transformers itself passes to accelerate. Nothing public says which modules are blocks.

    Args:
        model: any module; only transformers' models have such names.
    """
    return frozenset(getattr(model, "_no_split_modules", None) or ())


def attention_name(model: "PreTrainedModel") -> str:
    """Return the name of the attention that a model uses, such as `sdpa`; nothing public tells it."""
    return str(model.config._attn_implementation)


def is_causal(mask_function: Callable[..., Any]) -> bool:
    """Whether a function that is passed to a function of the `AttentionMaskInterface` stands for causality alone."""
    from transformers.masking_utils import causal_mask_function

    return mask_function is causal_mask_function


def sdpa_mask(mask_function: Callable[..., Any], **arguments: Any) -> Any:
    """The mask that transformers makes for its attention named `sdpa`, of the same arguments."""
    from transformers import masking_utils

    return masking_utils.sdpa_mask(mask_function=mask_function, **arguments)


def sdpa_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    scaling: float | None,
    **named: Any,
) -> Tensor:
    """Transformers' attention named `sdpa`, of the arguments that it passes to any attention."""
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    found, _ = sdpa_attention_forward(module, query, key, value, mask, scaling=scaling, **named)
    return found


def input_kinds(kind: type["PreTrainedModel"]) -> tuple[tuple[str, ...], str]:
    """Return the input modalities of a model class, such as `text` and `image`, and the name of its main input.

    `input_modalities`, one word or several, is undocumented. Nothing public distinguishes text models from others.

    Raises:
        Exception: the error of transformers if the class needs a library that is not installed.
    """
    reads: str | Sequence[str] = kind.input_modalities
    return ((reads,) if isinstance(reads, str) else tuple(reads)), kind.main_input_name


@dataclass(frozen=True)
class LoadingReport:
    """Differences between a checkpoint and a model.

    Attributes:
        missing: names of the model's weights that the checkpoint lacks.
        unexpected: names in the checkpoint that the model does not have.
        mismatched: weights of another shape: name, shape in the checkpoint, shape in the model.
    """

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mismatched: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]


def read_loading_report(report: Mapping[str, Any]) -> LoadingReport:
    """Parse what `from_pretrained` returns with `output_loading_info`, an option whose entries are undocumented."""
    mismatched = [(name, tuple(stored), tuple(expected)) for name, stored, expected in report["mismatched_keys"]]
    return LoadingReport(tuple(report["missing_keys"]), tuple(report["unexpected_keys"]), tuple(mismatched))


def cast_as_loaded(model: "PreTrainedModel", dtype: torch.dtype) -> None:
    """Cast the parameters that transformers keeps in float32, as `from_pretrained` does.

    `_get_dtype_plan` has the patterns of their names. A model that is built from its configuration alone does not
    follow them, and they are not public.
    """
    for pattern, kept in model._get_dtype_plan(dtype).items():
        place = re.compile(pattern.replace("*", ".*"))
        for name, parameter in model.named_parameters():
            if place.search(name):
                parameter.data = parameter.data.to(kept)


@contextmanager
def on_meta_device() -> Iterator[None]:
    """Build models on the meta device within the block, as `from_pretrained` does, in one thread at a time.

    `transformers.initialization` is undocumented. Its `meta_device_safe_creation_ops` keeps tensors on the CPU with
    which the constructor of a model folder's own code computes.
    """
    from transformers.initialization import meta_device_safe_creation_ops

    with LOADER_LOCK, torch.device("meta"), meta_device_safe_creation_ops():
        yield


def mark_for_initialisation(module: nn.Module) -> None:
    """Mark a module of a model on the meta device for `initialise_marked`.

    `_is_hf_initialized` is the flag with which transformers' loader skips modules filled from the checkpoint.
    """
    module._is_hf_initialized = False  # type: ignore[assignment]


def initialise_marked(model: "PreTrainedModel") -> None:
    """Initialise the marked modules of a model; parameters on the meta device get no values.

    `initialize_weights` is undocumented; `from_pretrained` ends with it, which gives buffers such as rotary
    frequencies their values.
    """
    with LOADER_LOCK:
        model.initialize_weights()  # type: ignore[no-untyped-call]


@dataclass(frozen=True, eq=False)
class Placeholder:
    """Placeholder for a checkpoint's tensor, which the loader treats like a slice of a file.

    Attributes:
        shape: shape of the tensor.
        dtype: stored dtype.
        made: the tensors that the loader made from it.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    made: list[Tensor] = field(default_factory=list)

    def __getitem__(self, _: Any) -> "Placeholder":
        return self

    def to(self, device: Any = None, dtype: torch.dtype | None = None) -> Tensor:
        """Return a tensor without data, which the loader takes for the tensor in the dtype to compute in."""
        tensor = torch.empty(self.shape, dtype=dtype or self.dtype, device="meta")
        self.made.append(tensor)
        return tensor


def load_placeholders(
    kind: Any,
    config: "PreTrainedConfig",
    placeholders: Mapping[str, Placeholder],
    dtype: torch.dtype,
    *,
    renamed: Mapping[str, str],
) -> tuple["PreTrainedModel", Mapping[str, Any]]:
    """Load a checkpoint of placeholders with `from_pretrained`, so that only the headers of files are read.

    The loader accepts anything with `[...]` and `.to(device=, dtype=)` as a tensor, because slices of safetensors files
    have no more. This is undocumented, but there is no other way to find out which weight a tensor becomes.

    Args:
        kind: class of the model.
        config: its configuration.
        placeholders: placeholders by the tensors' names in the checkpoint.
        dtype: type to compute in.
        renamed: patterns in these names, with what replaces them.

    Returns:
        The model, on the meta device, and the loader's report of missing, unexpected and mismatched weights.
    """
    with LOADER_LOCK:
        model, report = kind.from_pretrained(
            None,
            config=config,
            state_dict=dict(placeholders),
            dtype=dtype,
            key_mapping=dict(renamed),
            device_map={"": "meta"},  # missing weights take no memory either
            local_files_only=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    return model, report


def weight_of_linear(layer: Any) -> Tensor | None:
    """Return the weight of a linear layer, (N, K): N outputs, K inputs; None for other modules, including subclasses.

    `transformers.pytorch_utils.Conv1D` is GPT-2's linear layer, whose weight is (K, N).
    """
    from transformers.pytorch_utils import Conv1D

    if type(layer) is nn.Linear:
        return layer.weight.detach()
    weight: Tensor | None = layer.weight.detach().t() if type(layer) is Conv1D else None
    return weight


def fusible_pair(module: nn.Module) -> tuple[str, str] | None:
    """Return the names of a module's linear layer and of the activation applied to it alone; None if unknown.

    The names of modules inside a model are not a public interface; if transformers renames a class, its layers are not
    fused.
    """
    match type(module).__name__:
        case "OPTDecoderLayer":
            return "fc1", "activation_fn"
        case "BertIntermediate" | "RobertaIntermediate":
            return "dense", "intermediate_act_fn"
        case "GPT2MLP":
            return "c_fc", "act"
        case "GPTNeoXMLP":
            return "dense_h_to_4h", "act"
        case "T5DenseActDense":
            return "wi", "act"
        case _:
            return None


def onednn_activation(activation: Any) -> tuple[str, str] | None:
    """Return name and algorithm of an activation that oneDNN supports, by the name of its class; None for others."""
    match type(activation).__name__:
        case "ReLU":
            return "relu", ""
        case "GELUActivation":
            return "gelu", "none"
        case "NewGELUActivation" | "GELUTanh" | "FastGELUActivation":
            return "gelu", "tanh"
        case _:
            return None
