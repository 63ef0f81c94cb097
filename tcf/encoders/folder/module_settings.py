"""The settings of one module of a sentence encoder: typed, and complete, so that none is ignored."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, Self

from tcf.common.errors import ModelError, value_words
from tcf.encoders.folder.weight_files import read_json_object

__all__ = ["ModuleSettings"]


@dataclass
class ModuleSettings:
    """The entries of a JSON file; those that are taken are known.

    Attributes:
        file: the file.
        entries: its entries.
    """

    file: Path
    entries: dict[str, Any]
    _taken: set[str] = field(default_factory=set)

    @classmethod
    def read(cls, file: Path) -> Self:
        """Read a file.

        Raises:
            ModelError: it is missing or damaged.
        """
        return cls(file, read_json_object(file))

    def take(self, key: str, default: Any = None) -> Any:
        """Return an entry of any type; the default if it is missing or null."""
        self._taken.add(key)
        value = self.entries.get(key)
        return default if value is None else value

    def flag(self, key: str, *, default: bool) -> bool:
        """Return a truth value; 0 and 1 are some too.

        Raises:
            ModelError: the entry is something else.
        """
        value = self.take(key, default)
        if value not in (True, False):
            self.refuse(key, "true or false", value)
        return bool(value)

    def text(self, key: str, default: str) -> str:
        """Return a string.

        Raises:
            ModelError: the entry is something else.
        """
        value = self.take(key, default)
        if not isinstance(value, str):
            self.refuse(key, "a string", value)
        return value

    def whole(self, key: str) -> int:
        """Return a whole number from 1.

        Raises:
            ModelError: the entry is something else.
        """
        found = self.optional_whole(key)
        if found is None:
            self.refuse(key, "a whole number from 1", None)
        return found

    def optional_whole(self, key: str) -> int | None:
        """Return a whole number from 1; None if the entry is missing.

        Raises:
            ModelError: the entry is something else.
        """
        value = self.take(key)
        if value is not None and (type(value) is not int or value < 1):
            self.refuse(key, "a whole number from 1", value)
        found: int | None = value
        return found

    def table(self, key: str) -> dict[str, Any]:
        """Return an object; an empty one if the entry is missing.

        Raises:
            ModelError: the entry is something else.
        """
        value = self.take(key, {})
        if not isinstance(value, dict):
            self.refuse(key, "an object", value)
        return value

    @property
    def others(self) -> list[str]:
        """Entries with a value that were not taken."""
        return [key for key, value in self.entries.items() if key not in self._taken and value]

    def refuse(self, key: str, expected: str, found: Any) -> NoReturn:
        """Refuse the value of an entry.

        Raises:
            ModelError: always.
        """
        raise ModelError(
            f"{self.file}: expected an entry '{key}', {expected}, found {value_words(found)}; choose another model"
        )

    def refuse_others(self) -> None:
        """Refuse entries that were not taken, unless they are off.

        Raises:
            ModelError: there is one; tcf does not know what it does.
        """
        if self.others:
            key = self.others[0]
            raise ModelError(
                f"{self.file}: expected settings that tcf knows, found '{key}': {value_words(self.entries[key])}; "
                "choose another model"
            )
