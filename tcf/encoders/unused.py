"""What of a model is not needed for the layers that are asked for: left out before anything runs."""

from collections.abc import Sequence
from typing import Any

from torch import nn

from tcf.common.errors import ModelError
from tcf.encoders.blocks import LAST, find_blocks
from tcf.encoders.folder.model_folder import ModelFolder

__all__ = ["cut_blocks", "leave_out_unused"]


def leave_out_unused(model: Any, folder: ModelFolder, *, project_out: bool) -> None:
    """Drop what comes after the states that we pool."""
    match folder.family:
        case "opt" if not project_out:
            model.decoder.project_out = None
        case "bert" | "roberta":
            model.pooler = None
        case _:
            pass


def cut_blocks(model: nn.Module, folder: ModelFolder, layers: Sequence[int]) -> nn.ModuleList | None:
    """The model's blocks up to the highest layer that is asked for; those above are dropped from the model.

    Returns:
        The blocks; None if they cannot be told, and only the last layer is asked for.

    Raises:
        ModelError: a layer inside the model is asked for, but its blocks cannot be told.
    """
    blocks = find_blocks(model, folder.n_blocks)
    if blocks is None and any(layer != LAST for layer in layers):
        raise ModelError(
            f"{folder.path}: the blocks of {type(model).__name__} cannot be told, so only its last layer can be had; "
            "pass --layers -1"
        )
    if blocks is not None and LAST not in layers:
        # The first one stays to mark where layer 0 is; it is not run for that.
        del blocks[max(1, *layers) :]
    return blocks
