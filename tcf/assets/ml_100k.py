"""Converting GroupLens' MovieLens 100K to the two atomic files of RecBole's copy."""

from collections.abc import Iterator
from pathlib import Path

from tcf.assets.archives import read_named
from tcf.assets.source import SourceError

__all__ = ["convert_ml_100k"]

_INTERACTIONS_HEADER = "user_id:token\titem_id:token\trating:float\ttimestamp:float"
_ITEMS_HEADER = "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq"
_COLUMNS_BEFORE_GENRES = 5
# RecBole's spelling for the title and year of the one film without them; both copies must be the same.
_NO_TITLE = "unkonwn"


def convert_ml_100k(archive: Path, into: Path) -> None:
    """Write `ml-100k.inter` and `ml-100k.item` from GroupLens' `ml-100k.zip`.

    The result equals RecBole's copy of the dataset: interactions in the order of `u.data`, titles without the year in
    parentheses at the end, genres by name.

    Args:
        archive: the zip, with `ml-100k/u.data`, `u.item` and `u.genre`.
        into: an existing folder.

    Raises:
        SourceError: the zip is damaged or lacks a file, or a line has another form.
    """
    data, items, genres = read_named(archive, [f"ml-100k/{name}" for name in ("u.data", "u.item", "u.genre")])
    _write(into / "ml-100k.inter", _INTERACTIONS_HEADER, _interactions(data))
    _write(into / "ml-100k.item", _ITEMS_HEADER, _items(items, _genre_names(genres)))


def _write(path: Path, header: str, lines: Iterator[str]) -> None:
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8", newline="\n")


def _rows(content: bytes, separator: str, columns: int, name: str) -> Iterator[list[str]]:
    """Yield the rows of a file, which GroupLens writes in Latin-1; some files end with an empty line."""
    for number, line in enumerate(content.decode("latin-1").split("\n"), start=1):
        if not line.strip():
            continue
        row = line.rstrip("\r").split(separator)
        if len(row) != columns:
            raise SourceError(f"ml-100k/{name}:{number}: expected {columns} columns, found {len(row)}")
        yield row


def _interactions(content: bytes) -> Iterator[str]:
    for row in _rows(content, "\t", 4, "u.data"):
        yield "\t".join(row)


def _genre_names(content: bytes) -> list[str]:
    """Return the genres in the order of their columns."""
    rows = [(int(number), name) for name, number in _rows(content, "|", 2, "u.genre")]
    return [name for _, name in sorted(rows)]


def _items(content: bytes, genres: list[str]) -> Iterator[str]:
    for row in _rows(content, "|", _COLUMNS_BEFORE_GENRES + len(genres), "u.item"):
        title, year = _title_and_year(row[1])
        marks = row[_COLUMNS_BEFORE_GENRES:]
        classes = [name for name, mark in zip(genres, marks, strict=True) if mark == "1"]
        yield "\t".join([row[0], title, year, " ".join(classes)])


def _title_and_year(written: str) -> tuple[str, str]:
    """Split off the last word, the year in parentheses: `Seven (Se7en) (1995)` is `Seven (Se7en)` of `1995`."""
    *title, year = written.split()
    if not title:
        return _NO_TITLE, _NO_TITLE
    return " ".join(title), year[1:-1]
