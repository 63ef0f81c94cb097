"""The modules that a sentence encoder applies to pooled vectors, with their weights, in float32.

Shapes: B texts, D width of the input, E width of the output.
"""

import hashlib
import inspect
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn import functional

from tcf.common.errors import ModelError, shape_words, value_words
from tcf.encoders.failures import failures, reason
from tcf.encoders.folder.lfs_pointer import refuse_pointers
from tcf.encoders.folder.sentence_encoder import TANH, Dense, LayerNorm, Normalize, Truncate, VectorModule, output_width

__all__ = ["describe_modules", "load_modules", "modules_width"]

_ACTIVATION = re.compile(r"torch\.nn\.(?:modules\.\w+\.)?(\w+)")
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")


class _DenseLayer(nn.Module):
    """A linear layer, its activation, and the input added to it if the layer is residual.

    Args:
        module: its sizes.
        function: its activation.
    """

    def __init__(self, module: Dense, function: nn.Module) -> None:
        super().__init__()
        self.linear = nn.Linear(module.in_width, module.out_width, bias=module.bias)
        self.function = function
        self.is_residual = module.residual
        if module.residual and module.in_width != module.out_width:
            self.residual = nn.Linear(module.in_width, module.out_width, bias=False)

    def forward(self, vectors_BD: Tensor) -> Tensor:
        """Return the output, (B, E)."""
        out_BE: Tensor = self.function(self.linear(vectors_BD))
        if not self.is_residual:
            return out_BE
        return out_BE + (self.residual(vectors_BD) if hasattr(self, "residual") else vectors_BD)


class _NormLayer(nn.Module):
    """A layer norm under sentence-transformers' name of its weights.

    Args:
        width: width of its input.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)

    def forward(self, vectors_BD: Tensor) -> Tensor:
        """Return the output, (B, D)."""
        out_BD: Tensor = self.norm(vectors_BD)
        return out_BD


class _UnitLength(nn.Module):
    def forward(self, vectors_BD: Tensor) -> Tensor:
        """Return vectors of length one, (B, D); a zero vector stays."""
        return functional.normalize(vectors_BD, dim=-1)


class _FirstNumbers(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, vectors_BD: Tensor) -> Tensor:
        """Return the first numbers, (B, E)."""
        return vectors_BD[:, : self.width]


def modules_width(modules: Sequence[VectorModule], width: int) -> int:
    """Return the width of the vectors that come out of modules; their weights are not needed.

    Args:
        modules: the modules, in order.
        width: width of a pooled vector.

    Raises:
        ModelError: a module reads vectors of another width.
    """
    for module in modules:
        match module:
            case Dense(folder=folder, in_width=expected) | LayerNorm(folder=folder, width=expected):
                if expected != width:
                    raise ModelError(
                        f"{folder / 'config.json'}: expected a module for vectors of width {width}, which come before "
                        f"it, found one for width {expected}; download the model again"
                    )
        width = output_width(module, width)
    return width


def load_modules(modules: Sequence[VectorModule]) -> nn.Sequential:
    """Load modules with their weights, in float32 on the CPU.

    Raises:
        ModelError: weights are missing, unreadable or of another shape, or an activation is not known.
    """
    loaded = nn.Sequential(*map(_loaded, modules))
    return loaded.float().eval().requires_grad_(False)


def describe_modules(modules: Sequence[VectorModule], loaded: nn.Sequential) -> str:
    """Return what modules compute, on one line, with a digest of the weights of each; for a cache's identity."""
    return ", ".join(_described(module, layer) for module, layer in zip(modules, loaded, strict=True))


def _loaded(module: VectorModule) -> nn.Module:
    match module:
        case Dense():
            return _with_weights(_DenseLayer(module, _activation(module)), module.folder)
        case LayerNorm():
            return _with_weights(_NormLayer(module.width), module.folder)
        case Normalize():
            return _UnitLength()
        case Truncate():
            return _FirstNumbers(module.width)


def _described(module: VectorModule, layer: nn.Module) -> str:
    weights = hashlib.sha256()
    for name, weight in sorted(layer.state_dict().items()):
        weights.update(f"{name} {tuple(weight.shape)}".encode())
        weights.update(weight.contiguous().numpy().tobytes())
    match module:
        case Dense():
            extras = ("no bias" * (not module.bias), "residual" * module.residual)
            words = " ".join(
                ["dense", str(module.out_width), module.activation.rpartition(".")[2], *filter(None, extras)]
            )
            return f"{words} {weights.hexdigest()}"
        case LayerNorm():
            return f"layer norm {weights.hexdigest()}"
        case Normalize():
            return "normalize"
        case Truncate():
            return f"truncate {module.width}"


def _activation(module: Dense) -> nn.Module:
    """Return the activation, a class of `torch.nn` without weights of its own.

    Raises:
        ModelError: it is something else, which sentence-transformers runs only as code that the user trusts.
    """
    named = _ACTIVATION.fullmatch(module.activation)
    found = getattr(nn, named[1], None) if named else None
    if inspect.isclass(found) and issubclass(found, nn.Module):
        try:
            made = found().eval()
            fits = made(torch.zeros(1, module.out_width)).shape == (1, module.out_width)
        except failures():  # it needs settings, or reads something other than vectors
            fits = False
        if fits and not made.state_dict():
            return made
    raise ModelError(
        f"{module.folder / 'config.json'}: expected an activation of torch.nn without weights, such as "
        f"{TANH}, found {value_words(module.activation)}; choose another model"
    )


def _with_weights(layer: nn.Module, folder: Path) -> nn.Module:
    """Fill a layer from the weight file of its folder.

    Raises:
        ModelError: there is none, it is a git-LFS pointer or cannot be read, or it has other weights than the layer.
    """
    file = next((folder / name for name in _WEIGHTS if (folder / name).is_file()), None)
    if file is None:
        raise ModelError(f"{folder}: expected weights ({' or '.join(_WEIGHTS)}), found none; download the model again")
    refuse_pointers([file])
    try:
        stored: Mapping[str, Tensor] = (
            safetensors.torch.load_file(file)
            if file.suffix == ".safetensors"
            else torch.load(file, map_location="cpu", weights_only=True)
        )
        found = {name: tuple(weight.shape) for name, weight in stored.items()}
    except failures() as error:
        raise ModelError(f"{file}: cannot be read ({reason(error)}); download the model again") from None
    expected = {name: tuple(weight.shape) for name, weight in layer.state_dict().items()}
    if found != expected:
        raise ModelError(
            f"{file}: expected weights {_listed(expected)}, found {_listed(found)}; download the model again"
        )
    layer.load_state_dict(stored)
    return layer


def _listed(shapes: Mapping[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{name} ({shape_words(shape)})" for name, shape in sorted(shapes.items())[:4]) or "none"
