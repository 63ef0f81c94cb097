"""Checking that a checkpoint has every weight of a model's body, and no other weights that belong to it."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tcf.common.errors import ModelError, shape_words
from tcf.encoders.quantised.dequantised import quantised_name
from tcf.encoders.transformers_internals import read_loading_report

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["POOLER", "check_report"]

# Part of transformers' models, but not used for token states: it may be missing.
POOLER = "pooler"

# Buffers that older versions saved within a body, in addition to those that transformers ignores itself, and the head
# in OPT's first files.
_NO_WEIGHTS = re.compile(
    r".*\.(position_ids|token_type_ids|masked_bias)|(.*\.)?decoder\.(version|output_projection\.weight)"
)


def _body_names(model: "PreTrainedModel") -> re.Pattern[str]:
    """Return a pattern of the body's weight names, with or without the prefix that models with a head add.

    All other weights of a checkpoint belong to a head, for language modelling, classification or another task.
    """
    children = {name for name, _ in model.named_children()} - {POOLER}
    own = {name for name, _ in model.named_parameters(recurse=False)}
    prefix = f"({re.escape(model.base_model_prefix)}\\.)?" if model.base_model_prefix else ""
    return re.compile(rf"{prefix}({'|'.join(map(re.escape, sorted(children | own)))})(\..*)?")


def check_report(report: Mapping[str, Any], model: "PreTrainedModel", path: Path) -> None:
    """Refuse weights that are missing, have a shape other than the configuration's, or do not belong to the model.

    Args:
        report: transformers' loading report.
        model: the loaded model.
        path: the model folder, for messages.

    Raises:
        ModelError: there are such weights.
    """
    body, loading = _body_names(model), read_loading_report(report)
    quantised = quantised_name(loading.unexpected)
    if quantised is not None:
        raise ModelError(
            f"{path}: expected weights in full precision, found {quantised}, a part of a quantised weight, and no "
            "quantization_config in config.json that explains it; use the config.json that the weights were saved "
            "with, or the model that was quantised"
        )
    differing = sorted(entry for entry in loading.mismatched if not entry[0].startswith(f"{POOLER}."))
    if differing:
        name, stored, expected = differing[0]
        raise ModelError(
            f"{path}: expected weights with the shapes of config.json, found {len(differing)} others, such as {name} "
            f"with shape {shape_words(stored)} instead of {shape_words(expected)}; download the model again"
        )
    missing = sorted(key for key in loading.missing if not key.startswith(f"{POOLER}."))
    if missing:
        raise ModelError(
            f"{path}: the checkpoint lacks {len(missing)} weights, such as {missing[0]}; "
            f"{_remedy(missing, loading.unexpected)}"
        )
    unplaced = sorted(key for key in loading.unexpected if body.fullmatch(key) and not _NO_WEIGHTS.fullmatch(key))
    if unplaced:
        raise ModelError(
            f"{path}: the checkpoint has {len(unplaced)} weights that do not belong to the model of config.json, such "
            f"as {unplaced[0]}; download the model again, or use the config.json that it was saved with"
        )


def _remedy(missing: Sequence[str], unexpected: Sequence[str]) -> str:
    """Say what to do about missing weights; those of a model within another are all there, below its name."""
    others = set(unexpected)
    for name in sorted(others):
        prefix = name.removesuffix(missing[0])
        if prefix != name and prefix.endswith(".") and all(f"{prefix}{one}" in others for one in missing):
            return (
                f"it has them with {prefix!r} before their names, as a part of another model: save that part with "
                f"save_pretrained, or remove {prefix!r} from the names"
            )
    return "download the model again"
