"""A language model's folder before its weights are loaded: geometry, family, and what identifies it."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tcf.common.errors import ModelError
from tcf.common.manifest import digest, sha256_file
from tcf.encoders.folder.load_tokenizer import begins_with_class_token
from tcf.encoders.folder.model_config import (
    is_bidirectional,
    may_run_code,
    read_configuration,
    starts_positions_after_padding,
)
from tcf.encoders.folder.weight_files import read_json, shown, weight_files, weights_digest

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

__all__ = ["Family", "ModelFolder", "Pooling", "open_model_folder", "weight_files", "weights_digest"]

Pooling = Literal["mean", "first", "last"]
Family = Literal[
    "opt", "gpt2", "gpt_neox", "llama", "qwen2", "mistral", "bert", "roberta", "t5", "words", "other"
]  # fmt: skip

_BOS = 2  # of OPT, where config.json does not say
# Entries of config.json that say how a model was saved or is to be run, not what it computes.
_INCIDENTAL = ("_name_or_path", "transformers_version", "torch_dtype", "dtype", "use_cache", "architectures")


@dataclass(frozen=True)
class ModelFolder:
    """A local model folder in Hugging Face layout, or a file of word vectors.

    Attributes:
        path: the folder or file.
        settings: its `config.json`.
        family: which model family it is of; `other` for those that transformers knows beside the named ones.
        width: numbers a token state.
        max_positions: longest token sequence that the model can read; None where it sets no limit.
        n_blocks: transformer blocks, of an encoder-decoder those of the encoder; 0 where there are none.
        pooling: how this encoder's token states become one vector unless told otherwise; None for a sentence encoder
            that was trained with a pooling which is not supported.
        vocabulary: token ids are below it; None where that is not known.
        code: digest of the folder's own code where that is run, else empty.
    """

    path: Path
    settings: dict[str, Any]
    family: Family
    width: int
    max_positions: int | None
    n_blocks: int
    pooling: Pooling | None
    vocabulary: int | None = None
    code: str = ""

    @property
    def architecture(self) -> str:
        """Digest of the entries of `config.json` that decide what the model computes, and of code of its own."""
        entries = {key: value for key, value in self.settings.items() if key not in _INCIDENTAL}
        return digest([entries, self.code] if self.code else entries)

    @property
    def bos_token_id(self) -> int:
        """The token that OPT reads first (study, section on text encoders: `</s>`, id 2)."""
        return int(self.settings.get("bos_token_id", _BOS))


def open_model_folder(path: Path, *, trust_remote_code: bool = False) -> ModelFolder:
    """Read a model folder's configuration.

    Args:
        path: the folder, or a file of word vectors.
        trust_remote_code: run code of the folder where transformers has none for this model.

    Raises:
        ModelError: there is no readable `config.json`, the model is not one that reads texts, a number is none, or code
            of the folder would have to be run without being trusted.
    """
    if path.is_file():
        from tcf.encoders.word_vectors.word_encoder import open_word_vectors

        return open_word_vectors(path)
    file = path / "config.json"
    settings = read_json(file)
    config = read_configuration(path, settings, trust_remote_code=trust_remote_code)
    family = _family(settings.get("model_type"))
    if family == "opt":
        _whole({"bos_token_id": _BOS, **settings}.get("bos_token_id"), "bos_token_id", 0, file)
    vocabulary = getattr(config, "vocab_size", None)
    if family != "other" or vocabulary is not None:
        vocabulary = _whole(vocabulary, "vocab_size", 1, file)
    return ModelFolder(
        path=path,
        settings=settings,
        family=family,
        width=_whole(getattr(config, "hidden_size", None), "hidden_size", 1, file),
        max_positions=_max_positions(config, family, file),
        n_blocks=_n_blocks(config, family, file),
        pooling=_pooling(path, config, family, trust_remote_code=trust_remote_code),
        vocabulary=vocabulary,
        code=_code(path, settings, trust_remote_code=trust_remote_code),
    )


def _family(model_type: Any) -> Family:
    match model_type:
        case "opt" | "gpt2" | "gpt_neox" | "llama" | "qwen2" | "mistral" | "bert" | "roberta" | "t5":
            family: Family = model_type
            return family
        case _:
            return "other"


def _max_positions(config: "PreTrainedConfig", family: Family, file: Path) -> int | None:
    """Longest sequence; models with relative positions alone have none, whatever their configuration says."""
    value = getattr(config, "max_position_embeddings", None)
    match family:
        case "t5":
            return None
        case "other" if value is None or value == -1:
            return None
        case _:
            positions = _whole(value, "max_position_embeddings", 1, file)
    if not starts_positions_after_padding(config):
        return positions
    padding = 1 if config.pad_token_id is None else config.pad_token_id
    return positions - padding - 1


def _n_blocks(config: "PreTrainedConfig", family: Family, file: Path) -> int:
    value = getattr(config, "num_hidden_layers", None)
    if family == "other" and value is None:
        return 0
    return _whole(value, "num_hidden_layers", 1, file)


def _pooling(path: Path, config: "PreTrainedConfig", family: Family, *, trust_remote_code: bool) -> Pooling | None:
    """How to pool: as a sentence encoder's folder says, the class token of BERT and its like, else the mean."""
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
    """How a sentence encoder was trained to pool: one name, or one flag of several that is on."""
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


def _code(path: Path, settings: dict[str, Any], *, trust_remote_code: bool) -> str:
    """Digest of the folder's Python files where they are run."""
    if not may_run_code(path, settings, trust_remote_code=trust_remote_code):
        return ""
    return digest([[str(file.relative_to(path)), sha256_file(file)] for file in sorted(path.rglob("*.py"))])


def _whole(value: Any, key: str, least: int, file: Path) -> int:
    if type(value) is not int or value < least:
        raise ModelError(
            f"{file}: expected an entry '{key}', a whole number from {least}, found {shown(value)}; "
            "fetch the model anew"
        )
    return value
