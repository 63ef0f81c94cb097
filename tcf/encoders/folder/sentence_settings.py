"""Reading what a sentence encoder does before its language model: prompts, letters and the limit of tokens."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tcf.encoders.folder.module_settings import ModuleSettings
from tcf.encoders.folder.weight_files import read_json_object

__all__ = ["EncoderSettings", "TextSettings", "read_encoder_settings", "read_text_settings"]

_TRANSFORMER_FILES = tuple(
    f"sentence_{kind}_config.json"
    for kind in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
_READS_TEXT = {"method": "forward", "method_output_name": "last_hidden_state"}
_UNLIMITED = 10**9  # tokenizers without a limit state a number beyond it
# Arguments that change how something is loaded or computed, not what comes of it.
_INCIDENTAL: Mapping[str, tuple[str, ...]] = {
    "model": ("attn_implementation", "torch_dtype", "dtype", "add_pooling_layer", "low_cpu_mem_usage",
              "use_safetensors", "device_map", "trust_remote_code"),
    "processor": ("use_fast", "padding_side", "trust_remote_code"),
    "config": ("trust_remote_code",),
}  # fmt: skip
_OLD_NAMES = {"model": "model_args", "processor": "tokenizer_args", "config": "config_args"}


@dataclass(frozen=True)
class EncoderSettings:
    """`config_sentence_transformers.json`.

    Attributes:
        prompts: texts to put before an item's text, by name.
        default_prompt: name of the prompt to use by default.
        truncate_dim: numbers of a vector to keep; None for all.
        unused: entries that tcf does not use.
    """

    prompts: Mapping[str, str] = field(default_factory=dict)
    default_prompt: str | None = None
    truncate_dim: int | None = None
    unused: tuple[str, ...] = ()


@dataclass(frozen=True)
class TextSettings:
    """How texts become tokens.

    Attributes:
        max_tokens: maximum number of tokens, special tokens included; None if not limited.
        lower_case: whether texts are lower-cased first.
        limited_by: the entry that limits them, for messages: its file and name.
    """

    max_tokens: int | None
    lower_case: bool
    limited_by: str


def read_encoder_settings(file: Path) -> EncoderSettings:
    """Read the prompts of a sentence encoder, and what else its own file says; older versions have none.

    Raises:
        ModelError: the file is damaged, or is that of a sparse encoder or another kind of model.
    """
    if not file.is_file():
        return EncoderSettings()
    settings = ModuleSettings.read(file)
    kind = settings.take("model_type", "SentenceTransformer")
    if kind != "SentenceTransformer":
        settings.refuse("model_type", "'SentenceTransformer'", kind)
    prompts = settings.table("prompts")
    for name, prompt in prompts.items():
        if not isinstance(prompt, str | None):
            settings.refuse(f"prompts.{name}", "a string", prompt)
    default = settings.take("default_prompt_name")
    known = {"query": "", "document": "", **{name: prompt or "" for name, prompt in prompts.items()}}
    if default is not None and default not in known:
        settings.refuse("default_prompt_name", f"one of {', '.join(known)}", default)
    truncate_dim = settings.optional_whole("truncate_dim")
    for key in ("__version__", "similarity_fn_name"):  # of who wrote it, and of comparing vectors
        settings.take(key)
    named = known if default in known else {name: known[name] for name in prompts}
    return EncoderSettings(named, default, truncate_dim, tuple(settings.others))


def read_text_settings(folder: Path) -> TextSettings:
    """Read how a sentence encoder's texts become tokens.

    Args:
        folder: the folder of the language model.

    Raises:
        ModelError: a file is damaged, or has a setting that tcf does not know.
    """
    tokenizer = folder / "tokenizer_config.json"
    stated = read_json_object(tokenizer) if tokenizer.is_file() else {}
    key = "model_max_length" if "model_max_length" in stated else "max_len"
    limit, limited_by = stated.get(key), f"{tokenizer}: {key}"
    files = [folder / name for name in _TRANSFORMER_FILES if (folder / name).is_file()]
    settings = next((found for found in map(ModuleSettings.read, files) if found.entries), None)
    if settings is None:
        return TextSettings(_limit(limit), lower_case=False, limited_by=limited_by)
    _check_reads_text(settings)
    arguments = {kind: _arguments(settings, kind) for kind in _OLD_NAMES}
    own = settings.optional_whole("max_seq_length")
    if own is not None:
        limit, limited_by = own, f"{settings.file}: max_seq_length"
    if "model_max_length" in arguments["processor"]:
        limit, limited_by = arguments["processor"]["model_max_length"], f"{settings.file}: model_max_length"
    found = TextSettings(_limit(limit), settings.flag("do_lower_case", default=False), limited_by)
    settings.refuse_others()
    return found


def _limit(value: Any) -> int | None:
    return int(value) if type(value) in (int, float) and 0 < value < _UNLIMITED else None


def _check_reads_text(settings: ModuleSettings) -> None:
    """Refuse a Transformer that does not give the last states of plain texts.

    Raises:
        ModelError: it wraps texts in a chat template, or gives something other than token states.
    """
    settings.take("unpad_inputs")  # how it is computed
    for key, expected in (("transformer_task", "feature-extraction"), ("module_output_name", "token_embeddings")):
        if (found := settings.take(key, expected)) != expected:
            settings.refuse(key, f"'{expected}'", found)
    modalities = settings.table("modality_config")
    if "message" in modalities:
        settings.refuse("modality_config", "of plain texts", "a chat template (message)")
    if modalities and modalities.get("text") != _READS_TEXT:
        settings.refuse("modality_config", "whose 'text' gives the last states", modalities.get("text"))


def _arguments(settings: ModuleSettings, kind: str) -> dict[str, Any]:
    """Return arguments for transformers' loaders.

    Raises:
        ModelError: one of them changes what the model computes.
    """
    key = _OLD_NAMES[kind] if _OLD_NAMES[kind] in settings.entries else f"{kind}_kwargs"
    settings.take(f"{kind}_kwargs")
    found = settings.table(key)
    known = (*_INCIDENTAL[kind], "model_max_length") if kind == "processor" else _INCIDENTAL[kind]
    for name, value in found.items():
        if name not in known:
            settings.refuse(f"{key}.{name}", "left out", value)
    return found
