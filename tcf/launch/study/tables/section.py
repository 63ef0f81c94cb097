"""A table of a study file: some entries are read one by one, the others are a stage's settings."""

import dataclasses
import re
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tcf.common.errors import ConfigError, did_you_mean, value_words
from tcf.launch.file_terms import settings_from

__all__ = ["FileSection", "known_words", "tables_of"]

_C = TypeVar("_C")
_KINDS: dict[type, str] = {str: "a string", int: "a whole number", list: "a list", dict: "a table"}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,99}")


def known_words(name: str, known: Sequence[str]) -> str:
    """Return the hint that follows an unknown name: the known one that is close, or all that are known."""
    return did_you_mean(name, known) or f" (known: {', '.join(known)})"


@dataclass
class FileSection:
    """A table of the file.

    Attributes:
        path: the file.
        name: the table's name; empty for the entries above all tables.
        values: its entries.
        taken: names of the entries that are not settings of a stage.
    """

    path: Path
    name: str
    values: dict[str, Any]
    taken: list[str] = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        if not isinstance(self.values, dict):
            raise ConfigError(f"{self.where} expected a table, found {value_words(self.values)}")

    @property
    def where(self) -> str:
        """The file and the table, for messages."""
        return f"{self.path}: [{self.name}]" if self.name else f"{self.path}:"

    def take(self, key: str, kind: type[_C]) -> _C | None:
        """Return an entry of this type; None if there is none.

        Raises:
            ConfigError: it has another type, or is an empty string.
        """
        self.taken.append(key)
        value = self.values.get(key)
        if value is None or (isinstance(value, kind) and not isinstance(value, bool) and value != ""):
            return value
        raise ConfigError(f"{self.where} {key}: expected {_KINDS.get(kind, kind.__name__)}, found {value_words(value)}")

    def count(self, key: str) -> int:
        """Return a whole number of 0 or more; 0 if there is none."""
        value = self.take(key, int) or 0
        if value < 0:
            raise ConfigError(f"{self.where} {key}: expected 0 or more, found {value}")
        return value

    def whole_numbers(self, key: str) -> tuple[int, ...]:
        """Return different whole numbers, none of them negative; empty if there is no such entry."""
        values = self.take(key, list)
        if values is None:
            return ()
        for place, value in enumerate(values):
            if not isinstance(value, int) or isinstance(value, bool) or value < 0 or value in values[:place]:
                raise ConfigError(
                    f"{self.where} {key}: expected different whole numbers of 0 or more, found {value_words(value)}"
                )
        if not values:
            raise ConfigError(f"{self.where} {key}: expected a number or more, found none; leave {key} out")
        return tuple(values)

    def choose(self, key: str, known: tuple[Any, ...]) -> Any:
        """Return an entry that is one of these."""
        value = self.take(key, str)
        if value in known:
            return value
        hint = did_you_mean(value or "", known)
        raise ConfigError(f"{self.where} {key}: expected one of {', '.join(known)}, found {value_words(value)}{hint}")

    def choices(self, key: str, known: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return a list of some of these; empty if there is no such entry."""
        values = self.take(key, list) or []
        for value in values:
            if value not in known:
                found = f"{value_words(value)}{did_you_mean(value, known) if isinstance(value, str) else ''}"
                raise ConfigError(f"{self.where} {key}: expected any of {', '.join(known)}, found {found}")
        return tuple(values)

    def different(self, key: str) -> tuple[Any, ...] | None:
        """Return a list of one or more different strings, numbers, true or false; None if there is no such entry."""
        values = self.take(key, list)
        if values is None:
            return None
        if not values:
            raise ConfigError(f"{self.where} {key}: expected a value or more, found none; leave {key} out")
        for place, value in enumerate(values):
            if not isinstance(value, str | int | float | bool) or value in values[:place]:
                raise ConfigError(f"{self.where} {key}: expected different values, found {value_words(value)}; fix it")
        return tuple(values)

    def strings(self, key: str) -> tuple[str, ...]:
        """Return a list of strings; empty if there is no such entry."""
        values = self.take(key, list) or []
        for value in values:
            if not isinstance(value, str) or not value:
                raise ConfigError(f"{self.where} {key}: expected strings, found {value_words(value)}")
        return tuple(values)

    def refuse(self, reasons: Mapping[str, str]) -> None:
        """Refuse settings that belong elsewhere.

        Args:
            reasons: what to do instead, by the setting's name.

        Raises:
            ConfigError: one of them is there.
        """
        for key, reason in reasons.items():
            if key in self.values:
                raise ConfigError(f"{self.where} {key}: expected no such setting here; {reason}")

    def others(self, kind: type[Any], but: Iterable[str] = ()) -> dict[str, Any]:
        """Return the entries that have not been taken, each the name of a stage's setting.

        Args:
            kind: one of the settings classes of `tcf.config`.
            but: names of its settings that are not known here.

        Raises:
            ConfigError: there is another entry.
        """
        fields = [entry.name for entry in dataclasses.fields(typing.cast(Any, kind)) if entry.name not in {*but}]
        rest = {key: value for key, value in self.values.items() if key not in self.taken}
        for key in rest:
            if key not in fields:
                raise ConfigError(f"{self.where} unknown setting {key}{known_words(key, [*self.taken, *fields])}")
        return rest

    def rest(self, kind: type[_C], base: Mapping[str, Any] | None = None) -> _C:
        """Return a stage's settings, made of the entries that have not been taken.

        Args:
            kind: one of the settings classes of `tcf.config`.
            base: settings that these entries override.

        Raises:
            ConfigError: an entry is unknown, has the wrong type, or contradicts another.
        """
        return settings_from(kind, {**(base or {}), **self.others(kind)}, self.path, self.name)


def tables_of(path: Path, name: str, values: Any, example: str) -> dict[str, FileSection]:
    """Return the tables within a table, by name.

    Args:
        path: the file.
        name: the table's name.
        values: its content.
        example: what one of them may look like.

    Raises:
        ConfigError: it has something else, or a name that no folder should have.
    """
    if not isinstance(values, dict) or not all(isinstance(table, dict) for table in values.values()):
        raise ConfigError(f"{path}: [{name}] expected tables such as {example}, found {value_words(values)}")
    for own in values:
        if not _NAME.fullmatch(own):
            raise ConfigError(
                f"{path}: [{name}.{own}] expected a name of letters, digits, . _ + -, that begins with a letter or "
                f"digit, found {own!r}; rename the table"
            )
    return {own: FileSection(path, f"{name}.{own}", table) for own, table in values.items()}
