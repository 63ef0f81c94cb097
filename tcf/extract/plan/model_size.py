"""Size and cost of a language model's parts, from its configuration and the headers of its files."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from tcf.encoders.blocks import LAST, cut_blocks, leave_out_unused
from tcf.encoders.encoder import layer_width
from tcf.encoders.folder.model_folder import ModelFolder
from tcf.encoders.loading import empty_model
from tcf.encoders.quantised.method import quantisation_of
from tcf.extract.plan.checkpoint_size import checkpoint_bytes, largest_file, stored_type
from tcf.extract.plan.plan import FlopCost

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["Geometry", "ModelPart", "read_geometry"]


@dataclass(frozen=True)
class ModelPart:
    """A block, or everything around the blocks.

    Attributes:
        parameters: number of parameters.
        compute_bytes: their size in the types that they are computed in.
        stored_bytes: their size in the type of the checkpoint.
        matrices: number of matrix parameters that a token is multiplied by; embeddings are looked up and do not count.
    """

    parameters: int
    compute_bytes: int
    stored_bytes: int
    matrices: int


@dataclass(frozen=True)
class Geometry:
    """What a plan needs to know about a language model.

    Attributes:
        family: model family.
        dtype: type that it computes in.
        stored_dtype: type of its checkpoint.
        width: width of a hidden state.
        last_width: width of the last states, after the final norm and, if kept, OPT's projection.
        inner_width: width of the widest product within a block.
        around: embeddings, final norm and everything else outside the blocks.
        blocks: its blocks up to the highest requested layer, in order; empty if they are not recognised.
        quantised: whether its weights are stored quantised, so that it can be loaded only as a whole.
        depth: number of blocks that a token passes through.
        products: inputs and outputs of every matrix of the largest block.
        checkpoint_bytes: size of the checkpoint, heads included.
        max_positions: maximum length of a text in tokens; None if there is no limit.
        file: the largest file of the checkpoint; None if the checkpoint is missing.
        model: the whole model on the meta device, for accelerate's placement; None for word vectors.
        stack: its blocks on the meta device up to the highest requested layer; None if they are not recognised.
    """

    family: str
    dtype: torch.dtype
    stored_dtype: torch.dtype
    width: int
    last_width: int
    inner_width: int
    around: ModelPart
    blocks: tuple[ModelPart, ...]
    quantised: bool
    depth: int
    products: tuple[tuple[int, int], ...]
    checkpoint_bytes: int
    max_positions: int | None
    file: Path | None
    model: "PreTrainedModel | None"
    stack: nn.ModuleList | None

    @property
    def separable(self) -> bool:
        """Whether its blocks can be loaded one by one, as far as is known before they are."""
        return bool(self.blocks) and not self.quantised

    @property
    def parameters(self) -> int:
        """Number of parameters of everything that is run."""
        return self.around.parameters + sum(block.parameters for block in self.blocks)

    @property
    def compute_bytes(self) -> int:
        """Bytes of all weights in the types that they are computed in."""
        return self.around.compute_bytes + sum(block.compute_bytes for block in self.blocks)

    @property
    def stored_bytes(self) -> int:
        """Bytes of all weights that are run, in the checkpoint's type."""
        return self.around.stored_bytes + sum(block.stored_bytes for block in self.blocks)

    @property
    def largest_compute(self) -> int:
        """Bytes of the largest block in the type that it computes in."""
        return max((block.compute_bytes for block in self.blocks), default=0)

    @property
    def largest_stored(self) -> int:
        """Bytes of the largest block in the checkpoint's type."""
        return max((block.stored_bytes for block in self.blocks), default=0)

    @property
    def casts(self) -> bool:
        """Whether weights are cast after they are read."""
        return self.largest_compute != self.largest_stored or self.dtype != self.stored_dtype

    @property
    def cost(self) -> FlopCost:
        """The cost of a text in floating-point operations."""
        matrices = self.around.matrices + sum(block.matrices for block in self.blocks)
        return FlopCost(2 * matrices, 4 * self.width * self.depth)

    def flops(self, tokens: int, squares: float) -> int:
        """Floating-point operations of texts; see `FlopCost.of`."""
        return int(self.cost.of(tokens, squares))


def read_geometry(
    folder: ModelFolder,
    dtype: torch.dtype,
    *,
    layers: Sequence[int],
    project_out: bool = False,
    trust_remote_code: bool = False,
) -> Geometry:
    """Measure a model without loading it; `config.json` is enough.

    Args:
        folder: the model folder, or a file of word vectors.
        dtype: type to compute in.
        layers: requested layers; blocks above the highest do not count.
        project_out: keep OPT's projection after the last layer.
        trust_remote_code: run the folder's own code if transformers has none for this model.

    Raises:
        ModelError: no model can be built from the configuration.
    """
    if folder.family == "words":
        return _words_geometry(folder, dtype)
    whole, model = (empty_model(folder, dtype, trust_remote_code=trust_remote_code, buffers=False) for _ in range(2))
    leave_out_unused(model, folder, project_out=project_out)
    stack = cut_blocks(model, folder, layers)
    stored = stored_type(folder)
    within = {id(parameter) for parameter in stack.parameters()} if stack is not None else set()
    blocks = tuple(_part(_weights(block), folder, stored) for block in stack or ())
    around = _part((entry for entry in _weights(model) if id(entry[1]) not in within), folder, stored, model)
    largest = max(stack or (model,), key=lambda block: sum(p.numel() for p in block.parameters()))
    products = tuple(_shape(owner, weight) for owner, weight in _weights(largest) if _is_matrix(owner, weight))
    return Geometry(
        family=folder.family,
        dtype=dtype,
        stored_dtype=stored,
        width=folder.width,
        last_width=layer_width(folder, LAST, project_out=project_out),
        inner_width=max((n for _, n in products), default=folder.width),
        around=around,
        blocks=blocks,
        quantised=quantisation_of(folder.path, folder.settings) is not None,
        depth=folder.n_blocks if stack is None else len(stack),
        products=products,
        checkpoint_bytes=checkpoint_bytes(folder) or stored.itemsize * (around.parameters + _parameters(blocks)),
        max_positions=folder.max_positions,
        file=largest_file(folder),
        model=whole,
        stack=stack,
    )


def _words_geometry(folder: ModelFolder, dtype: torch.dtype) -> Geometry:
    from tcf.encoders.word_vectors.read_words import read_words

    numbers = len(read_words(folder.path, vectors=False).words) * folder.width
    table = ModelPart(numbers, numbers * dtype.itemsize, folder.path.stat().st_size, 0)
    return Geometry(
        family="words",
        dtype=dtype,
        stored_dtype=torch.float32,
        width=folder.width,
        last_width=folder.width,
        inner_width=folder.width,
        around=table,
        blocks=(),
        quantised=False,
        depth=0,
        products=(),
        checkpoint_bytes=table.stored_bytes,
        max_positions=None,
        file=folder.path,
        model=None,
        stack=None,
    )


def _weights(module: nn.Module) -> Iterator[tuple[nn.Module, nn.Parameter]]:
    """Every parameter once, with the module that owns it."""
    seen: set[int] = set()
    for owner in module.modules():
        for parameter in owner.parameters(recurse=False):
            if id(parameter) not in seen:
                seen.add(id(parameter))
                yield owner, parameter


def _part(
    weights: Iterable[tuple[nn.Module, nn.Parameter]],
    folder: ModelFolder,
    stored: torch.dtype,
    model: nn.Module | None = None,
) -> ModelPart:
    """Add up weights; the model's pooler, if any, counts as parameters but not as computed for every token."""
    found = list(weights)
    pooler = getattr(model, "pooler", None)
    once = set(pooler.modules()) if isinstance(pooler, nn.Module) else set()
    numbers = sum(weight.numel() for _, weight in found)
    return ModelPart(
        parameters=numbers,
        compute_bytes=sum(weight.numel() * weight.dtype.itemsize for _, weight in found),
        stored_bytes=numbers * stored.itemsize,
        matrices=sum(
            _multiplied_numbers(weight, folder.settings)
            for owner, weight in found
            if owner not in once and _is_matrix(owner, weight)
        ),
    )


def _parameters(parts: Sequence[ModelPart]) -> int:
    return sum(part.parameters for part in parts)


def _is_matrix(owner: nn.Module, weight: nn.Parameter) -> bool:
    """Whether tokens are multiplied by this weight; embeddings, of any subclass, are looked up instead."""
    return weight.ndim >= 2 and not isinstance(owner, nn.Embedding)


def _multiplied_numbers(weight: nn.Parameter, settings: Mapping[str, Any]) -> int:
    """Parameters of a matrix that a token is multiplied by: of stacked experts, those of the experts chosen for it.

    ALBERT has one block, or a few, and a token passes through the same one several times.
    """
    if settings.get("model_type") == "albert":
        again: int = settings.get("num_hidden_layers", 12) // settings.get("num_hidden_groups", 1)
        return weight.numel() * again
    chosen = settings.get("num_experts_per_tok")
    if weight.ndim == 3 and isinstance(chosen, int):
        return weight.numel() // weight.shape[0] * min(chosen, weight.shape[0])
    return weight.numel()


def _shape(owner: nn.Module, weight: nn.Parameter) -> tuple[int, int]:
    """Inputs and outputs of a matrix."""
    rows, columns = weight.shape[-2:]
    return (columns, rows) if isinstance(owner, nn.Linear) else (rows, columns)
