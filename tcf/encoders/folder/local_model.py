"""Where a model lies that can be read as it is: resolved by name or path, and converted if it comes as GGUF."""

from pathlib import Path

from tcf.assets.resolve import resolve_model
from tcf.common.errors import ModelError, RunError

__all__ = ["local_model"]


def local_model(name_or_path: str) -> Path:
    """The folder of a model in Hugging Face layout, or the file of word vectors; fetched and converted if need be.

    A known model that comes as GGUF is converted at its first use, into a folder beside it. A user's own GGUF file is
    not: the error names the command that does it.

    Args:
        name_or_path: as `tcf.assets.resolve.resolve_model` takes it.

    Raises:
        ModelError: there is no such model, or it can be neither fetched nor converted.
    """
    path = resolve_model(name_or_path)
    if path.is_file() or (path / "config.json").is_file():
        return path
    from tcf.encoders.convert.convert import convert

    try:
        return convert(path, path.with_name(f"{path.name}.converted")).folder
    except RunError as error:
        raise ModelError(f"{error}; TCF_HOME names the folder for downloads") from None
