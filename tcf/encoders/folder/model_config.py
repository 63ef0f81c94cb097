"""Reading a model's `config.json` with transformers: whether it is a text model, and whether it needs its own code."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tcf.common.errors import ModelError, value_words
from tcf.encoders.failures import failures, quiet, reason
from tcf.encoders.transformers_internals import input_kinds

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

__all__ = ["is_bidirectional", "may_run_code", "read_configuration", "starts_positions_after_padding"]

# Models that number positions from the padding token's id plus one, so they read fewer tokens than they have positions.
_AFTER_PADDING = frozenset(
    "camembert data2vec-text esm ibert lilt longformer luke markuplm mpnet roberta roberta-prelayernorm xlm-roberta "
    "xlm-roberta-xl xmod".split()
)


def read_configuration(path: Path, settings: dict[str, Any], *, trust_remote_code: bool) -> "PreTrainedConfig":
    """Read a model's configuration with transformers, including the defaults of its family.

    Args:
        path: the model folder.
        settings: its `config.json`.
        trust_remote_code: run code of the folder if transformers has none for this model.

    Raises:
        ModelError: transformers does not know the model, it is not a text model, an entry is invalid, or the folder's
            own code is needed but not trusted.
    """
    from transformers import CONFIG_MAPPING, AutoConfig

    file = path / "config.json"
    quiet()
    own_code = may_run_code(path, settings, trust_remote_code=trust_remote_code)
    if not own_code and settings.get("model_type") not in CONFIG_MAPPING:
        raise ModelError(
            f"{file}: expected a model_type that this version of transformers knows, found "
            f"{value_words(settings.get('model_type'))}; choose another model, or update transformers"
        )
    if "transformers_weights" in settings:
        raise ModelError(
            f"{file}: expected weights under their usual names, found an entry 'transformers_weights'; remove it"
        )
    try:
        config: PreTrainedConfig = AutoConfig.from_pretrained(
            str(path), local_files_only=True, trust_remote_code=own_code
        )
    except failures() as error:
        raise ModelError(f"{file}: cannot be read ({reason(error)}); download the model again") from None
    if hasattr(config, "quantization_config"):
        del config.quantization_config  # the weights are dequantised here, and not by transformers
    if not own_code:
        _check_reads_text(file, config)
    return config


def may_run_code(path: Path, settings: dict[str, Any], *, trust_remote_code: bool) -> bool:
    """Whether the folder's own code is needed and may be run; it is not needed if transformers has the model.

    Raises:
        ModelError: the code is needed but not trusted, or is not in the folder.
    """
    from transformers import CONFIG_MAPPING, MODEL_MAPPING

    auto_map = settings.get("auto_map")
    if not isinstance(auto_map, dict) or not {"AutoConfig", "AutoModel"} & set(auto_map):
        return False
    kind = str(settings.get("model_type"))
    if kind in CONFIG_MAPPING and CONFIG_MAPPING[kind] in MODEL_MAPPING:
        return False
    if not trust_remote_code:
        raise ModelError(
            f"{path / 'config.json'}: this model comes with its own code, which tcf does not run by default; read "
            f"{path}/*.py and, if you trust it, pass --trust-remote-code"
        )
    if any("--" in str(reference) for reference in auto_map.values()):
        raise ModelError(
            f"{path / 'config.json'}: this model's code is in another repository; copy its files into {path} and "
            "name them in 'auto_map' without OWNER/NAME--"
        )
    return True


def _check_reads_text(file: Path, config: "PreTrainedConfig") -> None:
    """Refuse models of images, audio and the like, and models with several kinds of input."""
    from transformers import MODEL_MAPPING

    kind = config.model_type
    if type(config) not in MODEL_MAPPING:
        raise ModelError(
            f"{file}: expected a model that computes token states, found model_type {kind!r}; choose a text model"
        )
    found = MODEL_MAPPING[type(config)]
    try:
        model: Any = found[0] if isinstance(found, tuple) else found
        inputs, main_input = input_kinds(model)
    except failures() as error:
        raise ModelError(
            f"{file}: model_type {kind!r} cannot be loaded here ({reason(error)}); choose another model"
        ) from None
    if inputs != ("text",) or main_input != "input_ids":
        raise ModelError(
            f"{file}: expected a model that reads only text, found model_type {kind!r}, which reads "
            f"{', '.join(inputs)} ({main_input}); choose a text model, such as this one's language model saved alone"
        )


def is_bidirectional(config: "PreTrainedConfig") -> bool:
    """Whether a model is an encoder whose tokens attend to later ones, as in masked language models."""
    from transformers import MODEL_FOR_MASKED_LM_MAPPING

    decodes = config.is_encoder_decoder or getattr(config, "is_decoder", False)
    return type(config) in MODEL_FOR_MASKED_LM_MAPPING and not decodes


def starts_positions_after_padding(config: "PreTrainedConfig") -> bool:
    """Whether a model numbers its positions from the padding token's id plus one."""
    return config.model_type in _AFTER_PADDING
