"""Everything in tcf that leans on private or undocumented parts of transformers, gathered in one place.

Checked with transformers 5.23. `tests/encoders/test_transformers_internals.py` has a test for each function, which
names what broke.
"""

import re
import threading
from collections.abc import Iterator, Mapping, Sequence
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
    "block_class_names",
    "cast_as_loaded",
    "fusible_pair",
    "initialise_marked",
    "input_kinds",
    "load_placeholders",
    "mark_for_initialisation",
    "on_meta_device",
    "onednn_activation",
    "read_loading_report",
    "weight_of_linear",
]

# While they run, transformers' loaders exchange functions of modules and classes (`initialization.no_tie_weights`,
# `guard_torch_init_functions`) and torch's default type, for the whole process. Two threads within them at once can put
# the other's exchange back for good: no weights are tied from then on, for instance.
LOADER_LOCK = threading.RLock()


def block_class_names(model: nn.Module) -> frozenset[str]:
    """Names of the classes that a model does not let be split over devices, which are those of its blocks.

    `_no_split_modules` is what transformers itself hands to accelerate. Nothing public says which modules are blocks.

    Args:
        model: any module; only transformers' models name such classes.
    """
    return frozenset(getattr(model, "_no_split_modules", None) or ())


def input_kinds(kind: type["PreTrainedModel"]) -> tuple[tuple[str, ...], str]:
    """What the models of a class read, such as `text` and `image`, and the name of their main input.

    `input_modalities`, one word or several, is undocumented. Nothing public tells models of texts from others.

    Raises:
        Exception: whatever transformers raises where the class needs a library that is not installed.
    """
    reads: str | Sequence[str] = kind.input_modalities
    return ((reads,) if isinstance(reads, str) else tuple(reads)), kind.main_input_name


@dataclass(frozen=True)
class LoadingReport:
    """What became of the weights of a checkpoint.

    Attributes:
        missing: names of the model's weights that the checkpoint lacks.
        unexpected: names in the checkpoint that the model has no place for.
        mismatched: weights of another shape: name, shape in the checkpoint, shape in the model.
    """

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mismatched: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]


def read_loading_report(report: Mapping[str, Any]) -> LoadingReport:
    """What `from_pretrained` says with `output_loading_info`; that it does is documented, its entries are not."""
    mismatched = [(name, tuple(stored), tuple(expected)) for name, stored, expected in report["mismatched_keys"]]
    return LoadingReport(tuple(report["missing_keys"]), tuple(report["unexpected_keys"]), tuple(mismatched))


def cast_as_loaded(model: "PreTrainedModel", dtype: torch.dtype) -> None:
    """Give the parameters that transformers keeps in float32 that type, as `from_pretrained` does.

    `_get_dtype_plan` has the patterns of their names. A model that is made from its configuration alone does not
    follow them, and they are public nowhere.
    """
    for pattern, kept in model._get_dtype_plan(dtype).items():
        place = re.compile(pattern.replace("*", ".*"))
        for name, parameter in model.named_parameters():
            if place.search(name):
                parameter.data = parameter.data.to(kept)


@contextmanager
def on_meta_device() -> Iterator[None]:
    """Within it, a model is made on the meta device as `from_pretrained` makes it, by one thread at a time.

    `transformers.initialization` is undocumented. Its `meta_device_safe_creation_ops` keeps on the CPU what code of a
    model folder computes numbers with in its constructor.
    """
    from transformers.initialization import meta_device_safe_creation_ops

    with LOADER_LOCK, torch.device("meta"), meta_device_safe_creation_ops():
        yield


def mark_for_initialisation(module: nn.Module) -> None:
    """Let `initialise_marked` initialise a module of a model that was made on the meta device.

    `_is_hf_initialized` is the flag by which transformers' loader leaves alone what the checkpoint has filled.
    """
    module._is_hf_initialized = False  # type: ignore[assignment]


def initialise_marked(model: "PreTrainedModel") -> None:
    """Initialise the modules of a model that are marked for it; parameters on the meta device take no numbers.

    `initialize_weights` is undocumented; `from_pretrained` ends with it, which is how buffers such as rotary
    frequencies get their numbers.
    """
    with LOADER_LOCK:
        model.initialize_weights()  # type: ignore[no-untyped-call]


@dataclass(frozen=True, eq=False)
class Placeholder:
    """Stands for a tensor of a checkpoint while the loader gives it a place, as a slice of a file would.

    Attributes:
        shape: of the tensor.
        dtype: the type that it is stored in.
        made: the tensors that the loader made of it.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    made: list[Tensor] = field(default_factory=list)

    def __getitem__(self, _: Any) -> "Placeholder":
        return self

    def to(self, device: Any = None, dtype: torch.dtype | None = None) -> Tensor:
        """What the loader takes for the tensor in the type to compute in; it has no numbers."""
        tensor = torch.empty(self.shape, dtype=dtype or self.dtype, device="meta")
        self.made.append(tensor)
        return tensor


def load_placeholders(
    kind: Any, config: "PreTrainedConfig", placeholders: Mapping[str, Placeholder], dtype: torch.dtype
) -> tuple["PreTrainedModel", Mapping[str, Any]]:
    """Let `from_pretrained` load a checkpoint of placeholders, so that only headers of files are read.

    The loader takes whatever has `[...]` and `.to(device=, dtype=)` for a tensor, because slices of safetensors files
    have no more. That is documented nowhere; nor is there another way to ask which weight a tensor becomes.

    Args:
        kind: the model's class.
        config: its configuration.
        placeholders: by the tensors' names in the checkpoint.
        dtype: the type to compute in.

    Returns:
        The model, on the meta device, and the loader's account of what is missing, unexpected or of another shape.
    """
    with LOADER_LOCK:
        model, report = kind.from_pretrained(
            None,
            config=config,
            state_dict=dict(placeholders),
            dtype=dtype,
            device_map={"": "meta"},  # what is missing takes no memory either
            local_files_only=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    return model, report


def weight_of_linear(layer: Any) -> Tensor | None:
    """The weight of a linear layer, (N, K): N outputs, K inputs; None for anything else, subclasses among it.

    `transformers.pytorch_utils.Conv1D` is GPT-2's linear layer, whose weight is (K, N).
    """
    from transformers.pytorch_utils import Conv1D

    if type(layer) is nn.Linear:
        return layer.weight.detach()
    weight: Tensor | None = layer.weight.detach().t() if type(layer) is Conv1D else None
    return weight


def fusible_pair(module: nn.Module) -> tuple[str, str] | None:
    """Names of a module's linear layer and of the activation that follows it and nothing else; None if not known.

    The names of modules inside a model are no interface of transformers; those of a class that is renamed are left
    unfused.
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
    """Name and algorithm of an activation that oneDNN computes, by the name of its class; None for others."""
    match type(activation).__name__:
        case "ReLU":
            return "relu", ""
        case "GELUActivation":
            return "gelu", "none"
        case "NewGELUActivation" | "GELUTanh" | "FastGELUActivation":
            return "gelu", "tanh"
        case _:
            return None
