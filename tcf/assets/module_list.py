"""`modules.json`, in which a folder of sentence-transformers names the folders of its modules.

Here only which files there are; `tcf.encoders.folder.read_sentence_encoder` reads what they say.
"""

from pathlib import Path, PurePosixPath

from tcf.common.parsing import read_json

__all__ = ["MARKS_OF_MODELS", "MODULES", "first_module", "is_within", "lacks_settings", "module_paths"]

MODULES = "modules.json"
MARKS_OF_MODELS = ("config.json", MODULES)
"""A folder with one of these files is taken for a model in Hugging Face layout."""
_WITH_SETTINGS = ("Pooling", "Dense", "LayerNorm")
_LONGEST_NAME, _LONGEST_PATH = 255, 4096 // 4  # bytes, as Linux has it; characters, of up to four bytes


def module_paths(folder: Path) -> list[str]:
    """Return the subfolders of the modules, without those in the folder itself; none if the list is damaged."""
    return [path for _, path in _entries(folder) if path not in ("", ".")]


def first_module(folder: Path) -> str:
    """Return the subfolder of the first module, the language model; empty if it is the folder itself."""
    return next((path for _, path in _entries(folder)), "")


def lacks_settings(folder: Path) -> bool:
    """Whether a module that cannot be without settings has none."""
    needed = [path for kind, path in _entries(folder) if kind.rpartition(".")[2] in _WITH_SETTINGS]
    return not all((folder / path / "config.json").is_file() for path in needed)


def is_within(path: str) -> bool:
    """Whether a path stays within the folder that it is relative to, and a file may have it."""
    place = PurePosixPath(path)
    names = all(name != ".." and _encoded_length(name) <= _LONGEST_NAME for name in place.parts)
    return names and not place.is_absolute() and "\0" not in path and len(path) < _LONGEST_PATH


def _encoded_length(name: str) -> int:
    """Bytes of a name; more than any file's if it is not UTF-8."""
    try:
        return len(name.encode())
    except UnicodeEncodeError:
        return _LONGEST_NAME + 1


def _entries(folder: Path) -> list[tuple[str, str]]:
    """Return class and subfolder of each module."""
    try:
        entries = read_json(folder / MODULES)
        found = [(str(entry["type"]), entry["path"]) for entry in entries]
    except (OSError, ValueError, TypeError, KeyError):
        return []
    return [(kind, path) for kind, path in found if isinstance(path, str) and is_within(path)]
