"""Converting OPT's raw tensors to those of a model folder: names, fused projections, model-parallel ranks.

The conversion of each tensor follows the published converters:

- [glue] facebookresearch/metaseq at 0bfc07b, metaseq/distributed/stitch_fsdp_ckpt.py
- [hf] huggingface/transformers 4.40.0,
  src/transformers/models/opt/convert_opt_original_pytorch_checkpoint_to_pytorch.py
- [flexgen] FlexGen 0.1.8, flexgen/opt_config.py
- [reshard] facebookresearch/metaseq at 39976ff, metaseq/scripts/reshard_mp.py
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from tcf.common.devices import dtype_name
from tcf.common.errors import ModelError, shape_words
from tcf.encoders.convert.compare_ranks import RankDifference, check_not_copied, compare_shared
from tcf.encoders.convert.file_ranges import ConcatenatedTensor, TensorInFiles, are_equal, joined
from tcf.encoders.convert.raw_parts import RankTensors, RawTensors

__all__ = ["MergedWeights", "merge_ranks"]

# [hf] lines 46-51; [flexgen] lines 164 and 246 name the final norm as metaseq does.
_RENAMED = (
    (re.compile(r"^model\."), ""),
    (re.compile(r"^decoder\.project_(in|out)_dim\."), r"decoder.project_\1."),
    (re.compile(r"^decoder\.layer_norm\."), "decoder.final_layer_norm."),
)
# [hf] lines 38-41 drops the first kind of name and the tied head; [glue] lines 333-341 has `_float_tensor` for
# fixed positions.
_NO_WEIGHTS = re.compile(r"(decoder\.)?version|.*\._float_tensor")
# The head is tied to the embedding: metaseq at 03748bf, metaseq/models/transformer_decoder.py, TransformerDecoder,
# `self.output_projection.weight = self.embed_tokens.weight`; [flexgen] lines 251-254 copies them to lm_head.weight.
_TIED = ("decoder.output_projection.weight", "lm_head.weight")
_EMBEDDING = "decoder.embed_tokens.weight"
_TYPES = (torch.float16, torch.bfloat16, torch.float32)


@dataclass(frozen=True)
class MergedWeights:
    """The tensors of a whole model.

    Attributes:
        weights: tensors by their names in a model folder, without the leading `model.`.
        left_out: names in the source that are not separate weights, with the reason.
        rank_difference: differences between ranks; the first rank's tensors are used, as in metaseq ([glue] lines
            265-275, 291-293).
    """

    weights: Mapping[str, ConcatenatedTensor]
    left_out: Mapping[str, str]
    rank_difference: RankDifference


def merge_ranks(raw: RawTensors) -> MergedWeights:
    """Merge the tensors of all model-parallel ranks; only shared and tied tensors are read, and the start of others.

    Args:
        raw: the tensors of each rank.

    Raises:
        ModelError: a rank lacks a tensor, has one of another shape or type, has a head that is not tied, has the
            numbers of another rank, or differs from it, by more than rounding, in what all ranks share.
    """
    named = [_renamed(part) for part in raw.ranks]
    _check_alike(named)
    weights: dict[str, ConcatenatedTensor] = {}
    left_out = dict.fromkeys(raw.other_tensors, "no part of the model")
    shared: dict[str, list[TensorInFiles]] = {}
    own: dict[str, list[TensorInFiles]] = {}
    for name in named[0]:
        tensors = [part[name] for part in named]
        if _NO_WEIGHTS.fullmatch(name):
            left_out[name] = "no weight"
        elif name in _TIED:
            _check_tied(name, tensors, [part.get(_EMBEDDING) for part in named])
            left_out[name] = f"the numbers of {_EMBEDDING}"
        else:
            weights.update(_weights_of(name, tensors))
            (shared if _is_shared(name) else own)[name] = tensors
    check_not_copied(own)
    return MergedWeights(weights, left_out, compare_shared(shared))


def _renamed(part: RankTensors) -> RankTensors:
    named: RankTensors = {}
    for old, tensor in part.items():
        name = old
        for pattern, new in _RENAMED:
            name = pattern.sub(new, name)
        if name in named:
            raise ModelError(f"{tensor.files[0]}: expected {name} once, found it as {old} too; remove one of them")
        named[name] = tensor
    return named


def _check_alike(parts: Sequence[RankTensors]) -> None:
    """Refuse ranks that do not have the same tensors with the same shapes: all ranks are equally large."""
    first = parts[0]
    for number, part in enumerate(parts):
        for name in sorted(first.keys() ^ part.keys()):
            lacking = number if name in first else 0
            raise ModelError(
                f"model-parallel rank {lacking}: expected {name}, which other ranks have, found none; download its "
                "files again"
            )
        for name, tensor in part.items():
            if tensor.shape != first[name].shape or tensor.dtype != first[name].dtype:
                raise ModelError(
                    f"{tensor.files[0]}: expected {name} as in rank 0, {_described(first[name])}, found "
                    f"{_described(tensor)}; download all files from the same checkpoint"
                )
            if tensor.dtype not in _TYPES and not _NO_WEIGHTS.fullmatch(name):
                raise ModelError(
                    f"{tensor.files[0]}: expected {name} in float16, bfloat16 or float32, found "
                    f"{dtype_name(tensor.dtype)}; convert it to one of them"
                )


def _described(tensor: TensorInFiles) -> str:
    return f"{dtype_name(tensor.dtype)} of shape {shape_words(tensor.shape)}"


def _weights_of(name: str, tensors: Sequence[TensorInFiles]) -> Iterator[tuple[str, ConcatenatedTensor]]:
    """Yield the weights that the ranks' tensors with this name become."""
    match _owner(name), name.rpartition(".")[2]:
        case "qkv_proj", _:
            yield from _split_fused(name, tensors)
        # Column-parallel: rows of weight and bias, [glue] lines 312-320; vocabulary: lines 331-332, with the
        # rows that fill it up to a multiple of 8, which published models have too: 50,265 become 50,272 (metaseq at
        # 21b2019, metaseq/tasks/language_modeling.py, `self.dictionary.pad_to_multiple_(8)`).
        case "q_proj" | "k_proj" | "v_proj" | "fc1" | "embed_tokens", _:
            yield name, ConcatenatedTensor(tuple(tensors))
        # Row-parallel: columns of the weight, [glue] lines 327-330. All ranks have its bias: lines 323-326.
        case "out_proj" | "fc2", "weight":
            yield name, ConcatenatedTensor(tuple(tensors), axis=1)
        case _:
            yield name, ConcatenatedTensor((tensors[0],))


def _is_shared(name: str) -> bool:
    """Whether every rank has the whole tensor: norms, positions, projections and biases of row-parallel layers."""
    match _owner(name), name.rpartition(".")[2]:
        case "qkv_proj" | "q_proj" | "k_proj" | "v_proj" | "fc1" | "embed_tokens", _:
            return False
        case "out_proj" | "fc2", "weight":
            return False
        case _:
            return True


def _owner(name: str) -> str:
    """Return the layer that a tensor belongs to, such as `fc1` for `decoder.layers.0.fc1.bias`."""
    return name.split(".")[-2] if "." in name else ""


def _split_fused(name: str, tensors: Sequence[TensorInFiles]) -> Iterator[tuple[str, ConcatenatedTensor]]:
    """Split a fused projection into keys, values and queries.

    Each rank's rows are its keys, then its values, then its queries: [glue] lines 193-200 (`k, v, q = torch.split`);
    metaseq at 02dd7a8, metaseq/model_parallel/modules/multihead_attention.py, `k, v, q = split_tensor_along_last_dim`;
    [hf] lines 66-74.
    """
    rows = tensors[0].shape[0]
    if rows % 3:
        raise ModelError(
            f"{tensors[0].files[0]}: expected {name} with equally many rows for keys, values and queries, found {rows} "
            "rows; download it again"
        )
    for place, one in enumerate("kvq"):
        third = slice(place * rows // 3, (place + 1) * rows // 3)
        yield (
            name.replace("qkv_proj", f"{one}_proj"),
            ConcatenatedTensor(tuple(tensor.rows(third.start, third.stop) for tensor in tensors)),
        )


def _check_tied(name: str, heads: Sequence[TensorInFiles], embeddings: Sequence[TensorInFiles | None]) -> None:
    """Refuse a head that is not tied to the embedding.

    Ranks may also have one range of its rows each: [reshard] gives every new rank the head of the last old one
    (`unsharded_dict[key] = value` for `output_projection`).
    """
    there = [embedding for embedding in embeddings if embedding is not None]
    whole = joined(there) if there else None
    if whole is None or not (are_equal(joined(heads), whole) or all(_is_range(head, whole) for head in heads)):
        raise ModelError(
            f"{heads[0].files[0]}: expected {name} to equal {_EMBEDDING}, as in OPT, found other numbers; this is not "
            "an OPT checkpoint"
        )


def _is_range(head: TensorInFiles, embedding: TensorInFiles) -> bool:
    """Whether a head equals one of the equally large ranges of rows of an embedding."""
    n_rows, total = head.shape[0], embedding.shape[0]
    return n_rows > 0 and any(
        are_equal(head, embedding.rows(start, start + n_rows)) for start in range(0, total - n_rows + 1, n_rows)
    )
