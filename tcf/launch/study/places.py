"""Where the results of a study are: each place belongs to one setting of what is there, and other settings get another.

So a changed setting makes a new result beside the old one, and when it is changed back, the old one is found again.
What belongs where is noted in `state/places.json`, and a result without such a note is asked itself.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tcf.common.errors import RunError, os_error_words
from tcf.common.files import publish_file
from tcf.common.integrity.sealed_json import sealed_json, unsealed_json
from tcf.common.output.folders import make_folder
from tcf.common.parsing import LARGEST_JSON, read_small_file

__all__ = ["PLACES", "Places"]

PLACES = Path("state", "places.json")
"""The file, below the study's folder."""
_SHORT = 8  # hexadecimal digits


@dataclass
class Places:
    """The places of a study's results.

    Attributes:
        out: the study's folder.
        noted: digest of what belongs to a place, by its path below the folder.
    """

    out: Path
    noted: dict[str, str]
    _new: dict[str, str] = field(default_factory=dict)
    _found: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self._found = {digest: place for place, digest in reversed(self.noted.items())}

    @classmethod
    def open(cls, out: Path) -> "Places":
        """Read the notes of a study's folder, if there are any.

        Raises:
            RunError: they are damaged.
        """
        return cls(out, {**_read(out / PLACES)})

    def of(self, wanted: str, digest: str, belongs: Callable[[Path], bool]) -> Path:
        """Return the place of a result; one that is not noted yet is, to be written by `write`.

        Args:
            wanted: its path below the study's folder, if nothing else is there.
            digest: of everything that decides what is there.
            belongs: whether a folder without a note holds this result.
        """
        if digest in self._found:
            return self.out / self._found[digest]
        place = wanted if self._is_free(wanted, belongs) else f"{wanted}-{digest[:_SHORT]}"
        self.noted[place] = self._new[place] = digest
        self._found[digest] = place
        return self.out / place

    def write(self) -> None:
        """Write the notes, if there are new ones, beside those that others have written meanwhile.

        Raises:
            RunError: they cannot be written.
        """
        if self._new:
            file = self.out / PLACES
            make_folder(file.parent)
            places = {**_read(file), **self._new}
            publish_file(file, sealed_json({"version": 1, "places": places}).encode())
            self._new.clear()

    def _is_free(self, place: str, belongs: Callable[[Path], bool]) -> bool:
        """Whether nothing is there, or this result from before there were notes."""
        if place in self.noted:
            return False
        path = self.out / place
        if path.is_dir():
            there = [entry for entry in path.iterdir() if not entry.name.startswith(".")]
            return not there or belongs(path)
        return not path.exists()


def _read(file: Path) -> Mapping[str, str]:
    """The notes in a file; none if there is no file."""
    try:
        values = unsealed_json(read_small_file(file, LARGEST_JSON))
        places = values["places"]
        if values["version"] != 1 or not isinstance(places, dict):
            raise ValueError("another version or form")
        return {str(place): str(digest) for place, digest in places.items()}
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise RunError(f"{file}: cannot be read ({os_error_words(error)}); fix that and retry") from None
    except (ValueError, KeyError) as error:
        raise RunError(
            f"{file}: expected notes of which results belong to which settings, as tcf wrote them, found something "
            f"else ({error}); remove this file: results that have the names of the study's file say themselves what "
            "they are and are found again, others are made again"
        ) from None
