"""Resolving a model's name or path to a folder that can be loaded, converting known GGUF models."""

from pathlib import Path

from tcf.assets.module_list import MARKS_OF_MODELS
from tcf.assets.resolve import resolve_model
from tcf.common.errors import ModelError, RunError

__all__ = ["local_model"]


def local_model(name_or_path: str) -> Path:
    """Return a model's folder in Hugging Face layout, or a file of word vectors, after any download and conversion.

    A known model that is published as GGUF is converted at its first use, into a folder beside it. A user's own GGUF
    file is not: the error names the command for it.

    Args:
        name_or_path: as in `tcf.assets.resolve.resolve_model`.

    Raises:
        ModelError: there is no such model, or it cannot be downloaded or converted.
    """
    path = resolve_model(name_or_path)
    if path.is_file() or any((path / name).is_file() for name in MARKS_OF_MODELS):
        return path
    from tcf.encoders.convert.convert import convert

    try:
        return convert(path, path.with_name(f"{path.name}.converted")).folder
    except RunError as error:
        raise ModelError(f"{error}; TCF_HOME sets the folder for downloads") from None
