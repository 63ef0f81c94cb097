"""The geometry of an OPT model, derived from the shapes of its tensors, and the tensors that such a model must have."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

from tcf.common.errors import ModelError, shape_words, value_words
from tcf.encoders.convert.file_ranges import ConcatenatedTensor
from tcf.encoders.folder.opt_sizes import OPT_SIZES, OptSize
from tcf.encoders.folder.weight_files import read_json_object

__all__ = ["check_tensors", "opt_settings"]

_OFFSET = 2  # position 0 is row 2: transformers 5.23, models/opt/modeling_opt.py, OPTLearnedPositionalEmbedding
# The entries of config.json that follow from shapes.
_FROM_SHAPES = (
    "vocab_size",
    "word_embed_proj_dim",
    "max_position_embeddings",
    "hidden_size",
    "num_hidden_layers",
    "ffn_dim",
)


class _Shaped(Protocol):
    @property
    def shape(self) -> tuple[int, ...]: ...


_Some = TypeVar("_Some", bound=_Shaped)


def opt_settings(source: Path, weights: Mapping[str, ConcatenatedTensor]) -> dict[str, Any]:
    """Return the entries of `config.json`: those of the published size with these shapes, or the source's own.

    Args:
        source: file or folder of the weights.
        weights: tensors of the model.

    Raises:
        ModelError: the model is none of the nine sizes and there is no `config.json`, or that does not match.
    """
    found = _distinct_by_shapes(source, weights)
    file = (source if source.is_dir() else source.parent) / "config.json"
    if file.is_file():
        return _checked(file, found)
    for size in OPT_SIZES:
        if all(size.settings[key] == found[key] for key in _FROM_SHAPES):
            return size.settings
    raise ModelError(
        f"{source}: expected one of the nine sizes of OPT, found {_listed(found)}{_nearest(found)}; download what is "
        "missing or, for another model of this kind, put its config.json beside the weights"
    )


def check_tensors(source: Path, settings: Mapping[str, Any], weights: Mapping[str, _Some]) -> dict[str, _Some]:
    """Check that a model has exactly the expected tensors with the expected shapes.

    Returns:
        The tensors in the order in which the model uses them.

    Raises:
        ModelError: naming the first missing, unexpected or mismatched tensor.
    """
    expected = dict(_expected(settings))
    lacking = [name for name in expected if name not in weights]
    if lacking:
        raise ModelError(
            f"{source}: lacks {len(lacking)} of {len(expected)} tensors, such as {lacking[0]}; download or convert "
            "it again"
        )
    more = sorted(weights.keys() - expected.keys())
    if more:
        raise ModelError(
            f"{source}: expected the {len(expected)} tensors of OPT, found {len(more)} more, such as {more[0]}; this "
            "is not an OPT checkpoint, or one of another variant"
        )
    for name, shape in expected.items():
        if weights[name].shape != shape:
            raise ModelError(
                f"{source}: expected {name} of shape {shape_words(shape)}, found {shape_words(weights[name].shape)}; "
                "download or convert it again"
            )
    return {name: weights[name] for name in expected}


def _distinct_by_shapes(source: Path, weights: Mapping[str, ConcatenatedTensor]) -> dict[str, int]:
    vocabulary, embedding = _shape(source, weights, "decoder.embed_tokens.weight")
    positions, width = _shape(source, weights, "decoder.embed_positions.weight")
    hidden, _ = _shape(source, weights, "decoder.layers.0.fc1.weight")
    numbers = [int(matched[1]) for name in weights if (matched := re.match(r"decoder\.layers\.(\d+)\.", name))]
    values = (vocabulary, embedding, positions - _OFFSET, width, 1 + max(numbers), hidden)
    return dict(zip(_FROM_SHAPES, values, strict=True))


def _shape(source: Path, weights: Mapping[str, ConcatenatedTensor], name: str) -> tuple[int, int]:
    if name not in weights:
        raise ModelError(
            f"{source}: expected OPT's tensors, found no {name}; this is not an OPT checkpoint, or only a part of one"
        )
    shape = weights[name].shape
    if len(shape) != 2:
        raise ModelError(f"{source}: expected a matrix {name}, found shape {shape_words(shape)}; download it again")
    return shape[0], shape[1]


def _checked(file: Path, found: Mapping[str, int]) -> dict[str, Any]:
    """Return a source's own settings, after checking that they are OPT's and match the shapes."""
    settings = read_json_object(file)
    if settings.get("model_type") != "opt":
        kind = value_words(settings.get("model_type"))
        raise ModelError(f"{file}: expected model_type 'opt', found {kind}; remove the file")
    settings.setdefault("word_embed_proj_dim", settings.get("hidden_size"))
    for key in _FROM_SHAPES:
        if settings.get(key) != found[key]:
            raise ModelError(
                f"{file}: expected {key} {found[key]}, as in the weights, found {value_words(settings.get(key))}; the "
                "file belongs to another model, or a part of the weights is missing"
            )
    heads = settings.get("num_attention_heads")
    if type(heads) is not int or heads < 1 or found["hidden_size"] % heads:
        raise ModelError(
            f"{file}: expected num_attention_heads to divide hidden_size {found['hidden_size']}, found "
            f"{value_words(heads)}; download the file again"
        )
    return {"do_layer_norm_before": True, **settings}


def _listed(found: Mapping[str, int]) -> str:
    return ", ".join(f"{key} {value}" for key, value in found.items())


def _nearest(found: Mapping[str, int]) -> str:
    """Describe the size that differs in one or two numbers only, if there is one."""

    def shared(size: OptSize) -> int:
        return sum(size.settings[key] == found[key] for key in _FROM_SHAPES)

    nearest = max(OPT_SIZES, key=shared)
    if shared(nearest) < len(_FROM_SHAPES) - 2:
        return ""
    other = [key for key in _FROM_SHAPES if nearest.settings[key] != found[key]]
    return f" (opt-{nearest.name} has {', '.join(f'{key} {nearest.settings[key]}' for key in other)})"


def _expected(settings: Mapping[str, Any]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield names and shapes of a model's tensors, in the order in which it uses them.

    They follow transformers 5.23, models/opt/modeling_opt.py, OPTDecoder; a post-norm model has no final norm.
    """
    width, embedding = settings["hidden_size"], settings["word_embed_proj_dim"]
    yield "decoder.embed_tokens.weight", (settings["vocab_size"], embedding)
    yield "decoder.embed_positions.weight", (settings["max_position_embeddings"] + _OFFSET, width)
    if embedding != width:
        yield "decoder.project_in.weight", (width, embedding)
    for number in range(settings["num_hidden_layers"]):
        yield from _block(f"decoder.layers.{number}", width, settings["ffn_dim"])
    if settings["do_layer_norm_before"] and not settings.get("_remove_final_layer_norm", False):
        yield "decoder.final_layer_norm.weight", (width,)
        yield "decoder.final_layer_norm.bias", (width,)
    if embedding != width:
        yield "decoder.project_out.weight", (embedding, width)


def _block(prefix: str, width: int, hidden: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    for name in ("self_attn.k_proj", "self_attn.v_proj", "self_attn.q_proj", "self_attn.out_proj"):
        yield f"{prefix}.{name}.weight", (width, width)
        yield f"{prefix}.{name}.bias", (width,)
    yield f"{prefix}.self_attn_layer_norm.weight", (width,)
    yield f"{prefix}.self_attn_layer_norm.bias", (width,)
    yield f"{prefix}.fc1.weight", (hidden, width)
    yield f"{prefix}.fc1.bias", (hidden,)
    yield f"{prefix}.fc2.weight", (width, hidden)
    yield f"{prefix}.fc2.bias", (width,)
    yield f"{prefix}.final_layer_norm.weight", (width,)
    yield f"{prefix}.final_layer_norm.bias", (width,)
