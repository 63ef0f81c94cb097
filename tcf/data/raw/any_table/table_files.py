"""The files that the options of format `table` name: single files, patterns such as `part-*.csv`, and folders.

A folder stands for all files in it and in the folders below, except those whose name begins with `_` or `.` or that lie
in such a folder: Spark, Hive and others give these names to what is not data. A folder with a name such as
`date=2020-01-01` is a column of the files in it.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import unquote

from tcf.common.errors import ConfigError, DataError, did_you_mean, os_error_words
from tcf.common.output.folders import real_path
from tcf.data.tables.several_tables import ListedFile
from tcf.data.tables.source_file import unreadable
from tcf.data.tables.table import listed_columns

__all__ = ["list_files"]

_PATTERN = re.compile(r"[*?\[]")
_NULL = "__HIVE_DEFAULT_PARTITION__"
_LOGS = {"_delta_log": "Delta", ".hoodie": "Hudi"}


def list_files(raw: Path, names: Sequence[str], option: str) -> list[ListedFile]:
    """Return the files that an option names, in its order; those of a pattern or folder are sorted by path.

    Args:
        raw: the folder that names are relative to.
        names: files, folders or patterns.
        option: the option, for messages.

    Raises:
        ConfigError: a file is named twice, lies outside `raw`, or a pattern is malformed.
        DataError: there is no such file, or a folder has none or a name that is no column.
    """
    files = [file for name in names for file in _files_of(raw, name, option)]
    first: dict[Path, Path] = {}
    for file in files:
        known = first.setdefault(real_path(file.path), file.path)
        if known is not file.path:
            also = f", once as {known}" if known != file.path else ""
            raise ConfigError(f"{option}: expected each file once, found {file.path} twice{also}; name it once")
    return files


def _files_of(raw: Path, name: str, option: str) -> list[ListedFile]:
    path = raw / name
    if not path.is_relative_to(raw):
        raise ConfigError(f"{option}: expected a path relative to {raw}, found {name}; name a file in that folder")
    if path.is_file():
        return [ListedFile(path, _constants(raw, path))]
    paths = [path] if path.is_dir() else _matches(raw, name, option)
    if not paths:
        raise _none(raw, name, option)
    files = [file for found in paths for file in (sorted(_below(found, ())) if found.is_dir() else [found])]
    if not files:
        raise DataError(
            f"{option}: expected files in {paths[0]}, found none (names that begin with _ or . do not count); check "
            "the name"
        )
    return [ListedFile(file, _constants(raw, file), is_named=False) for file in files]


def _matches(raw: Path, name: str, option: str) -> list[Path]:
    """Return what a pattern stands for; names that begin with `_` or `.` only if the pattern has such a name too."""
    if not _PATTERN.search(name):
        return []
    try:
        found = sorted(raw.glob(name))
    except (ValueError, NotImplementedError) as error:
        raise ConfigError(f"{option}: expected a pattern such as part-*.csv, found {name!r} ({error})") from None
    if any(map(_is_hidden, Path(name).parts)):
        return found
    return [path for path in found if not any(map(_is_hidden, path.relative_to(raw).parts))]


def _below(folder: Path, above: tuple[Path, ...]) -> Iterator[Path]:
    """Yield the files in a folder and those below it, links included, in no order."""
    real = real_path(folder)
    if real in above:
        raise DataError(f"{folder}: expected files and folders, found a link to a folder around it; remove the link")
    try:
        entries = list(folder.iterdir())
    except OSError as error:
        raise unreadable(folder, error) from None
    for entry in entries:
        if entry.name in _LOGS:
            raise DataError(
                f"{folder}: expected files whose rows all count, found a {_LOGS[entry.name]} table, whose own log says "
                "which of them do; write its rows to a new folder of Parquet files, and name that"
            )
        if _is_hidden(entry.name):
            continue
        if entry.is_dir():
            yield from _below(entry, (*above, real))
        else:
            yield entry


def _is_hidden(name: str) -> bool:
    return name[:1] in ("_", ".") and name != ".."


def _constants(raw: Path, path: Path) -> dict[str, str]:
    """Return the columns that the folders of a file give, with their values, without white space at either end."""
    constants: dict[str, str] = {}
    for folder in path.relative_to(raw).parts[:-1]:
        name, equals, value = folder.partition("=")
        if not name or not equals:
            continue
        try:
            column, text = unquote(name, errors="strict"), unquote(value, errors="strict").strip()
            text.encode()
        except UnicodeError:
            raise DataError(
                f"{path}: expected folders with names in UTF-8, found {folder!r}; rename the folder"
            ) from None
        if "\0" in text or column in constants:
            fault = "a NUL" if "\0" in text else f"two with {column}="
            raise DataError(f"{path}: expected folders that each name a column, found {fault}; rename one")
        constants[column] = "" if value == _NULL else text
    return constants


def _none(raw: Path, name: str, option: str) -> DataError:
    """Return the error for a name that stands for nothing: it lists what is there."""
    folder = raw
    for part in Path(name).parts[:-1]:
        if not (folder / part).is_dir():
            break
        folder /= part
    try:
        present = sorted(path.name for path in folder.iterdir())
    except OSError as error:
        return DataError(f"{option}: expected a readable folder {folder}, found none ({os_error_words(error)})")
    where = "it" if folder == raw else str(folder)
    there = f"{where} has {listed_columns(present)}" if present else f"{where} is empty"
    what = "files that match" if _PATTERN.search(name) else "a file"
    advice = did_you_mean(Path(name).name, present) or "; check the name"
    return DataError(f"{option}: expected {what} {name} in {raw}, found none ({there}){advice}")
