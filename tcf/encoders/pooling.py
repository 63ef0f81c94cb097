"""Pooling an encoder's token states into one vector per text, and choosing the pooling of a model folder.

Shapes: B texts, T tokens, D width.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, assert_never

from torch import Tensor

from tcf.config.extract import Pooling
from tcf.encoders.folder.load_tokenizer import begins_with_class_token
from tcf.encoders.folder.model_config import is_bidirectional
from tcf.encoders.folder.model_folder import Family
from tcf.encoders.folder.weight_files import read_json

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

__all__ = ["pool", "pooling_of"]


def pool(states_BTD: Tensor, pooling: Pooling) -> Tensor:
    """Pool token states into one vector per text (study, section on text encoders).

    Args:
        states_BTD: last hidden states, without padding, (B, T, D), any float type.
        pooling: `mean` over all tokens, special tokens included; `first` or `last` token.

    Returns:
        (B, D) float32; the mean is computed in float32 even for 16-bit states.
    """
    match pooling:
        case "mean":
            return states_BTD.float().mean(dim=1)
        case "first":
            return states_BTD[:, 0].float()
        case "last":
            return states_BTD[:, -1].float()
        case _:
            assert_never(pooling)


def pooling_of(path: Path, config: "PreTrainedConfig", family: Family, *, trust_remote_code: bool) -> Pooling | None:
    """Choose the pooling: a sentence encoder's own, the class token for BERT-like models, otherwise the mean."""
    file = path / "1_Pooling" / "config.json"
    if file.is_file():
        return _sentence_pooling(read_json(file))
    match family:
        case "bert" | "roberta":
            return "first"
        case "other" if is_bidirectional(config) and begins_with_class_token(path, trust_remote_code=trust_remote_code):
            return "first"
        case _:
            return "mean"


def _sentence_pooling(settings: dict[str, Any]) -> Pooling | None:
    """Return the pooling of a sentence encoder, given by name or by the one flag that is set; None if unsupported."""
    flags = [key for key, value in settings.items() if key.startswith("pooling_mode_") and value]
    match settings.get("pooling_mode", flags):
        case "mean" | ["pooling_mode_mean_tokens"]:
            return "mean"
        case "cls" | ["pooling_mode_cls_token"]:
            return "first"
        case "lasttoken" | ["pooling_mode_lasttoken"]:
            return "last"
        case _:
            return None
