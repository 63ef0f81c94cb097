"""An extraction's settings with every `auto` resolved."""

from dataclasses import dataclass

import torch

from tcf.common.devices import resolve_devices
from tcf.config.extract import ExtractConfig, Pooling
from tcf.encoders.encoder import check_layers, resolve_dtype
from tcf.encoders.folder.model_config import is_bidirectional, read_configuration
from tcf.encoders.folder.model_folder import ModelFolder
from tcf.encoders.tokenize import TextTokenizer, check_max_tokens, count_prompt_tokens
from tcf.extract.sentence_options import poolings, text_prefix, token_limit, vector_width

__all__ = ["Settings", "check_settings", "count_unpooled", "may_share_prefixes", "resolve"]


_BY_LENGTH = ("dynamic", "longrope", "su")  # rope_type in config.json; the last is an old name of longrope


@dataclass(frozen=True)
class Settings:
    """Settings that depend on the model and this machine.

    Attributes:
        poolings: how a text's states become a vector; those of several are concatenated.
        prefix: put before every text.
        max_tokens: maximum number of tokens of a text.
        dtype: type to compute in.
        device: where to compute.
    """

    poolings: tuple[Pooling, ...]
    prefix: str
    max_tokens: int
    dtype: torch.dtype
    device: torch.device


def check_settings(config: ExtractConfig, folder: ModelFolder) -> None:
    """Refuse a text length, a prompt, a pooling or layers that do not suit the model.

    Raises:
        ConfigError: naming the option.
        ModelError: the modules of a sentence encoder do not fit together.
    """
    check_max_tokens(folder, token_limit(config, folder))
    text_prefix(config, folder)
    if config.pooled_layers:
        check_layers(folder, config.pooled_layers)
    for layer in config.pooled_layers:
        vector_width(config, folder, layer)
    if config.token_states is not None:
        check_layers(folder, (config.token_states,), option="--token-states")


def may_share_prefixes(config: ExtractConfig, folder: ModelFolder) -> bool:
    """Return whether texts that begin alike are to share states if the model turns out to allow it.

    Raises:
        ModelError: the configuration cannot be read.
    """
    if not config.share_prefixes or config.compile:  # compiled blocks are for texts of equal length
        return False
    match folder.family:
        case "words" | "bert" | "roberta" | "t5":
            return False
        case "other":
            code = config.trust_remote_code
            read = read_configuration(folder.path, folder.settings, trust_remote_code=code)
            return not (read.is_encoder_decoder or is_bidirectional(read) or _turns_by_length(config, folder))
        case _:
            return not _turns_by_length(config, folder)


def _turns_by_length(config: ExtractConfig, folder: ModelFolder) -> bool:
    """Whether rotary angles depend on the longest text of a call, so that texts of other lengths would change them."""
    settings = folder.settings
    rope = settings.get("rope_parameters") or settings.get("rope_scaling") or {}
    kinds = [rope, *rope.values()] if isinstance(rope, dict) else []
    for kind in kinds:
        if isinstance(kind, dict) and kind.get("rope_type", kind.get("type")) in _BY_LENGTH:
            longest = kind.get("original_max_position_embeddings") or settings.get("original_max_position_embeddings")
            return token_limit(config, folder) > int(longest or settings.get("max_position_embeddings") or 0)
    return False


def resolve(config: ExtractConfig, folder: ModelFolder) -> Settings:
    """Resolve every `auto`, and refuse what the model or this machine cannot do.

    Raises:
        ConfigError: naming the option.
        ModelError: the modules of a sentence encoder do not fit together.
    """
    device = resolve_devices(config.devices)[0]
    check_settings(config, folder)
    return Settings(
        poolings=poolings(config, folder),
        prefix=text_prefix(config, folder),
        max_tokens=token_limit(config, folder),
        dtype=resolve_dtype(config.dtype, folder, device),
        device=device,
    )


def count_unpooled(tokenizer: TextTokenizer, prefix: str, max_tokens: int) -> int:
    """Return how many tokens at the start of every text are not pooled: those of a prompt that the folder excludes.

    Args:
        tokenizer: the model's tokenizer.
        prefix: put before every text.
        max_tokens: maximum length of a text.

    Raises:
        ConfigError: nothing of any text would be pooled.
        ModelError: the same, because of the folder's own limit.
    """
    sentence = tokenizer.folder.sentence
    if sentence is None or sentence.include_prompt:
        return 0
    return count_prompt_tokens(tokenizer, prefix, max_tokens)
