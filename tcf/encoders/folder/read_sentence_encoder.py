"""Reading `modules.json` and the files that it names, as sentence-transformers does.

Whatever these files say is applied or refused by name.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tcf.assets.module_list import MODULES, is_within
from tcf.common.errors import ModelError, value_words
from tcf.config.extract import Pooling
from tcf.encoders.folder.module_settings import ModuleSettings
from tcf.encoders.folder.sentence_encoder import (
    TANH,
    Dense,
    LayerNorm,
    Normalize,
    SentenceEncoder,
    Truncate,
    VectorModule,
)
from tcf.encoders.folder.sentence_settings import read_encoder_settings, read_text_settings
from tcf.encoders.folder.weight_files import read_json_list

__all__ = ["read_sentence_encoder"]

_ONLY_POOLING = Path("1_Pooling", "config.json")  # read even without the list of modules
_LIBRARY = "sentence_transformers."
_KNOWN = ("Transformer", "Pooling", "Dense", "LayerNorm", "Normalize", "Dropout")
_VECTOR = "sentence_embedding"  # sentence-transformers' name of the pooled vector
_POOLINGS: Mapping[str, Pooling] = {
    "cls": "first",
    "max": "max",
    "mean": "mean",
    "mean_sqrt_len_tokens": "mean_sqrt_len",
    "weightedmean": "weighted_mean",
    "lasttoken": "last",
}
# Entries of older versions, in the order in which their vectors are concatenated.
_POOLING_FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}


@dataclass(frozen=True)
class _Entry:
    """An entry of `modules.json`.

    Attributes:
        kind: name of the module's class.
        folder: the module's folder.
    """

    kind: str
    folder: Path

    @property
    def settings(self) -> ModuleSettings:
        return ModuleSettings.read(self.folder / "config.json")


def read_sentence_encoder(path: Path) -> SentenceEncoder | None:
    """Read what a folder says beside its language model; None if it is no folder of a sentence encoder.

    Args:
        path: the folder.

    Raises:
        ModelError: a file is damaged, or names a module, a pooling or a setting that tcf does not know.
    """
    file = path / MODULES
    if file.is_file():
        return _read_modules(file)
    if (path / _ONLY_POOLING).is_file():
        settings = ModuleSettings.read(path / _ONLY_POOLING)
        found = SentenceEncoder(
            settings.file,
            path,
            _poolings(settings),
            include_prompt=settings.flag("include_prompt", default=True),
            stated_widths=_stated_widths(settings),
        )
        settings.refuse_others()
        return found
    return None


def _read_modules(file: Path) -> SentenceEncoder:
    first, *others = _entries(file)
    if first.kind != "Transformer":
        raise ModelError(
            f"{file}: expected a Transformer as the first module, found {first.kind}; choose another model"
        )
    later = [entry for entry in others if entry.kind != "Dropout"]  # which is for training
    if not later or later[0].kind != "Pooling":
        found = later[0].kind if later else "none"
        raise ModelError(f"{file}: expected a Pooling after the Transformer, found {found}; choose another model")
    own = read_encoder_settings(file.with_name("config_sentence_transformers.json"))
    texts = read_text_settings(first.folder)
    pooling = later[0].settings
    modules = [_vector_module(entry, file) for entry in later[1:]]
    cut = [] if own.truncate_dim is None else [Truncate(own.truncate_dim)]
    encoder = SentenceEncoder(
        file=file,
        transformer=first.folder,
        poolings=_poolings(pooling),
        include_prompt=pooling.flag("include_prompt", default=True),
        modules=(*modules, *cut),
        prompts=own.prompts,
        default_prompt=own.default_prompt,
        max_tokens=texts.max_tokens,
        limited_by=texts.limited_by if texts.max_tokens is not None else "",
        lower_case=texts.lower_case,
        unused=own.unused,
        stated_widths=_stated_widths(pooling),
    )
    pooling.refuse_others()
    return encoder


def _entries(file: Path) -> list[_Entry]:
    """Return the modules; there is at least one.

    Raises:
        ModelError: an entry has another form or the name of another one, a module is not known, or its folder lies
            elsewhere.
    """
    content = read_json_list(file)
    if not content:
        raise ModelError(f"{file}: expected a list of modules, found an empty one; download the model again")
    found = [_entry(value, file) for value in content]
    # Sentence-transformers keeps modules by name: a later one would take the place of an earlier one.
    names = [value.get("name") for value in content]
    twice = next((name for name in names if name is not None and names.count(name) > 1), None)
    if twice is not None:
        raise ModelError(
            f"{file}: expected a name of its own for each module, found {value_words(twice)} twice; download the model "
            "again"
        )
    return found


def _entry(value: Any, file: Path) -> _Entry:
    match value:
        case {"type": str(kind), "path": str(place)}:
            pass
        case _:
            raise ModelError(
                f"{file}: expected modules with a type and a path, found {value_words(value)}; download the model again"
            )
    name = kind.rpartition(".")[2]
    if not kind.startswith(_LIBRARY) or name not in _KNOWN:
        raise ModelError(
            f"{file}: expected modules of sentence-transformers that tcf knows ({', '.join(_KNOWN)}), found "
            f"{value_words(kind)}; choose another model"
        )
    if not is_within(place):
        raise ModelError(f"{file}: expected paths within the folder, found {value_words(place)}; choose another model")
    return _Entry(name, file.parent / place)


def _poolings(settings: ModuleSettings) -> tuple[Pooling, ...]:
    """Return the poolings, given by a name, by several, or by the flags of older versions; the mean if none is.

    Raises:
        ModelError: one of them is not known.
    """
    flags = [name for key, name in _POOLING_FLAGS.items() if settings.flag(key, default=False)]
    stated = settings.take("pooling_mode", flags or "mean")
    names = stated if isinstance(stated, list) else [stated]
    unknown = [name for name in names if not isinstance(name, str) or name not in _POOLINGS]
    if unknown or not names:
        settings.refuse("pooling_mode", f"one of {', '.join(_POOLINGS)}", unknown[0] if unknown else names)
    return tuple(_POOLINGS[name] for name in names)


def _stated_widths(settings: ModuleSettings) -> dict[str, int]:
    """Return the width of the language model, by the entry of the pooling that states it."""
    keys = ("embedding_dimension", "word_embedding_dimension")
    found = {f"{settings.file}: {key}": settings.optional_whole(key) for key in keys}
    return {entry: width for entry, width in found.items() if width is not None}


def _vector_module(entry: _Entry, file: Path) -> VectorModule:
    """Return a module after the pooling.

    Raises:
        ModelError: it does not work on pooled vectors, or has a setting that tcf does not know.
    """
    match entry.kind:
        case "Dense":
            return _dense(entry.settings, entry.folder)
        case "LayerNorm":
            settings = entry.settings
            found = LayerNorm(entry.folder, settings.whole("dimension"))
            settings.refuse_others()
            return found
        case "Normalize":
            return _normalize(entry.folder)
        case _:
            raise ModelError(f"{file}: expected one Transformer and one Pooling, found another {entry.kind}")


def _dense(settings: ModuleSettings, folder: Path) -> Dense:
    _check_names(settings)
    found = Dense(
        folder=folder,
        in_width=settings.whole("in_features"),
        out_width=settings.whole("out_features"),
        bias=settings.flag("bias", default=True),
        activation=settings.text("activation_function", TANH),
        residual=settings.flag("use_residual", default=False),
    )
    settings.refuse_others()
    return found


def _normalize(folder: Path) -> Normalize:
    file = folder / "config.json"
    if file.is_file():  # older versions write none
        settings = ModuleSettings.read(file)
        _check_names(settings)
        settings.refuse_others()
    return Normalize()


def _check_names(settings: ModuleSettings) -> None:
    """Refuse a module that reads or writes something other than the pooled vector."""
    for key in ("module_input_name", "module_output_name"):
        name = settings.take(key)
        if name not in (None, _VECTOR):
            settings.refuse(key, f"'{_VECTOR}'", name)
