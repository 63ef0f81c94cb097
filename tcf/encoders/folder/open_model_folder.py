"""Opening a model folder and checking its configuration."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tcf.common.errors import ModelError, value_words
from tcf.common.manifest import digest, sha256_file
from tcf.encoders.folder.config_sizes import check_counts
from tcf.encoders.folder.model_config import may_run_code, read_configuration, starts_positions_after_padding
from tcf.encoders.folder.model_folder import OPT_BOS, Family, ModelFolder
from tcf.encoders.folder.read_sentence_encoder import read_sentence_encoder
from tcf.encoders.folder.sentence_encoder import SentenceEncoder
from tcf.encoders.folder.weight_files import read_json_object
from tcf.encoders.pooling import default_pooling
from tcf.encoders.quantised.method import quantisation_of

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

__all__ = ["open_model_folder"]


def open_model_folder(path: Path, *, trust_remote_code: bool = False) -> ModelFolder:
    """Read a model folder's configuration, and what a sentence encoder's folder says beside it.

    Args:
        path: the folder, or a file of word vectors; a sentence encoder may have its language model in a subfolder.
        trust_remote_code: run code of the folder if transformers has none for this model.

    Raises:
        ModelError: there is no readable `config.json`, the model does not read texts, an entry is not a number, the
            folder's own code is needed but not trusted, or the folder has a module that tcf does not know.
    """
    if path.is_file():
        from tcf.encoders.word_vectors.word_encoder import open_word_vectors

        return open_word_vectors(path)
    sentence = read_sentence_encoder(path)
    if sentence is not None:
        path = sentence.transformer
    file = path / "config.json"
    settings = read_json_object(file)
    quantisation_of(path, settings)  # refuses methods that cannot be undone, before anything else is read
    check_counts(file, settings)  # a configuration makes lists of an entry for each block
    config = read_configuration(path, settings, trust_remote_code=trust_remote_code)
    family = _family(settings.get("model_type"))
    if family == "opt":
        _whole({"bos_token_id": OPT_BOS, **settings}.get("bos_token_id"), "bos_token_id", 0, file)
    width = _whole(getattr(config, "hidden_size", None), "hidden_size", 1, file)
    if sentence is not None:
        _check_stated_widths(sentence, width, settings, path)
    vocabulary = getattr(config, "vocab_size", None)
    if family != "other" or vocabulary is not None:
        vocabulary = _whole(vocabulary, "vocab_size", 1, file)
    return ModelFolder(
        path=path,
        settings=settings,
        family=family,
        width=width,
        max_positions=_max_positions(config, family, file),
        n_blocks=_n_blocks(config, family, file),
        poolings=sentence.poolings
        if sentence is not None
        else (default_pooling(path, config, family, trust_remote_code=trust_remote_code),),
        vocabulary=vocabulary,
        code=_code(path, settings, trust_remote_code=trust_remote_code),
        sentence=sentence,
    )


def _check_stated_widths(sentence: SentenceEncoder, width: int, settings: dict[str, Any], path: Path) -> None:
    """Refuse a pooling that was made for states of another width.

    Raises:
        ModelError: it says so.
    """
    # Of OPT-350M's kind, states may have the width before or after the projection.
    widths = (width, settings.get("word_embed_proj_dim"))
    for entry, stated in sentence.stated_widths.items():
        if stated not in widths:
            raise ModelError(
                f"{entry}: expected {width}, the width of {path}, found {stated}; correct it if the pooling belongs to "
                "this model, or download the model again"
            )


def _family(model_type: Any) -> Family:
    match model_type:
        case "opt" | "gpt2" | "gpt_neox" | "llama" | "qwen2" | "mistral" | "bert" | "roberta" | "t5":
            family: Family = model_type
            return family
        case _:
            return "other"


def _max_positions(config: "PreTrainedConfig", family: Family, file: Path) -> int | None:
    """Return the maximum length; models with only relative positions have none, whatever their configuration says."""
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


def _code(path: Path, settings: dict[str, Any], *, trust_remote_code: bool) -> str:
    """Return the digest of the folder's Python files if they are run, otherwise an empty text."""
    if not may_run_code(path, settings, trust_remote_code=trust_remote_code):
        return ""
    return digest([[str(file.relative_to(path)), sha256_file(file)] for file in sorted(path.rglob("*.py"))])


def _whole(value: Any, key: str, least: int, file: Path) -> int:
    if type(value) is not int or value < least:
        raise ModelError(
            f"{file}: expected an entry '{key}', a whole number from {least}, found {value_words(value)}; "
            "download the model again"
        )
    return value
