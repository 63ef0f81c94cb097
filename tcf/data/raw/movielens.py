"""MovieLens as published by GroupLens: a folder with one of three pairs of files.

- 100K: `u.data` (user, film, rating, time; tab-separated) and `u.item` (separated by `|`, Latin-1, a column of 0 or 1
  for each genre).
- 1M and 10M: `ratings.dat` and `movies.dat` (separated by `::`, no header; Latin-1 or UTF-8).
- 20M, 25M, 32M and similar: `ratings.csv` and `movies.csv` (quoted, with a header, UTF-8).

An item has the columns `item_id`, `title`, `year` and `genres`. GroupLens writes the year after the title, as in
`Heat (1995)`: it is removed, so the text of an item is its title alone unless a template is given. Genres are separated
by a comma and a space; `unknown` and `(no genres listed)` count as no genre.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from tcf.common.errors import DataError
from tcf.data.events.checked_items import Items, Pairs, check_items
from tcf.data.events.event_log import EventLog, Grouped
from tcf.data.events.timestamps import TimeReader
from tcf.data.raw.ratings import rated_at_least, timed, whole_table, with_ids
from tcf.data.raw.raw_log import RawLog
from tcf.data.tables.bad_rows import BadRows
from tcf.data.tables.csv_table import TextTable
from tcf.data.tables.records import TextForm
from tcf.data.tables.source_file import require_folder, unreadable
from tcf.data.tables.table import TableBlock, TableFile
from tcf.data.text_template import Template, joined_columns

__all__ = ["movielens_files", "read_movielens"]

_PAIRS = (("u.data", "u.item"), ("ratings.dat", "movies.dat"), ("ratings.csv", "movies.csv"))
_COLUMNS = ("item_id", "title", "year", "genres")
_RATING_COLUMNS = ("userId", "movieId", "rating", "timestamp")
_FILM_COLUMNS = ("movieId", "title", "genres")
# The genre columns of u.item, in this order, as u.genre lists them.
_GENRES_100K = tuple(
    "unknown Action Adventure Animation Children's Comedy Crime Documentary Drama Fantasy Film-Noir Horror Musical "
    "Mystery Romance Sci-Fi Thriller War Western".split()
)
_FILM_COLUMNS_100K = ("movieId", "title", "released", "released on video", "url", *_GENRES_100K)
_COMMA = ", "
_NO_GENRES = ("unknown", "(no genres listed)")
# A title, and the year or years after it; 100K marks films made for video with a (V) at the end.
_TITLE_AND_YEAR = r"^(?P<title>.*\S)\s*\((?P<year>[0-9]{4})(?:\s?[-–]\s?[0-9]{0,4})?\)(?:\s*\(V\))?$"


@dataclass(frozen=True)
class _Opened:
    """The two files of a folder.

    Attributes:
        ratings: user, film, rating and time; columns are named as in the CSV files.
        films: ids, titles and genres; columns are named as in the CSV files.
    """

    ratings: TableFile
    films: TableFile


def movielens_files(folder: Path) -> tuple[Path, Path]:
    """Find the files of the format in a folder: ratings, then films.

    Raises:
        DataError: there is no pair of files, or there are several.
    """
    expected = f"expected one of {', '.join(' and '.join(pair) for pair in _PAIRS)}"
    require_folder(folder)
    there = [pair for pair in _PAIRS if all((folder / name).is_file() for name in pair)]
    if len(there) != 1:
        known = [name for pair in _PAIRS for name in pair]
        found = ", ".join(name for name in known if (folder / name).is_file()) or "none of these files"
        raise DataError(f"{folder}: {expected}, found {found}; name a folder with one of the GroupLens datasets")
    return folder / there[0][0], folder / there[0][1]


def read_movielens(
    folder: Path,
    *,
    bad_rows: Literal["error", "skip"],
    template: Template | None = None,
    min_rating: float | None = None,
) -> RawLog:
    """Read MovieLens.

    Args:
        folder: the folder of the two files.
        bad_rows: raise an error at the first kind of unusable row, or skip and count such rows: `nul_byte`,
            `bad_utf8`, `wrong_columns`, `torn_quotes`, `empty_id`, `empty_text`, `duplicate_item`, `bad_timestamp`,
            `bad_rating`, `unknown_item`, `event_of_skipped_item`.
        template: the text of an item, made from `item_id`, `title`, `year` and `genres`; None takes the title.
        min_rating: leave out events with a lower rating, and count them (`below_min_rating`); None keeps all.

    Raises:
        ConfigError: `template` names another column.
        DataError: a file is missing, empty or in another format, or a row is unusable and not to be skipped.
    """
    ratings_path, films_path = movielens_files(folder)
    template = template or joined_columns(["title"])
    template.check(_COLUMNS, films_path)
    opened, bad = _open(ratings_path, films_path), BadRows(bad_rows)
    items = _read_items(opened.films, template, bad)
    log = _read_events(opened.ratings, items, min_rating, bad)
    files = {table.path.name: table.sha256 for table in (opened.ratings, opened.films)}
    return RawLog(items.ids, items.texts, log.user_ids, log.offsets, log.items, bad.skipped, files, log.times)


def _open(ratings: Path, films: Path) -> _Opened:
    match ratings.name:
        case "u.data":
            events = TextForm("\t", quoting=False, header=_RATING_COLUMNS)
            items = TextForm("|", quoting=False, header=_FILM_COLUMNS_100K, encoding="latin-1")
        case "ratings.dat":
            events = TextForm("::", quoting=False, header=_RATING_COLUMNS)
            items = TextForm("::", quoting=False, header=_FILM_COLUMNS, encoding=_encoding(films))
        case _:
            events = items = TextForm()
    return _Opened(TextTable(ratings, events), TextTable(films, items))


def _encoding(films: Path) -> Literal["utf-8", "latin-1"]:
    """Return the encoding of a `movies.dat`: that of 10M is UTF-8, that of 1M is not."""
    try:
        films.read_bytes().decode()
    except UnicodeDecodeError:
        return "latin-1"
    except OSError as error:
        raise unreadable(films, error) from None
    return "utf-8"


def _read_items(table: TableFile, template: Template, bad: BadRows) -> Items:
    of_100k = table.columns == _FILM_COLUMNS_100K
    columns = ("movieId", "title", *_GENRES_100K) if of_100k else _FILM_COLUMNS
    rows = whole_table(table, columns, bad)
    titles, years = _titles_and_years(rows.columns["title"])
    genres = _marked_genres(rows) if of_100k else _named_genres(rows.columns["genres"])
    values = {"item_id": rows.columns["movieId"], "title": titles, "year": years, "genres": genres}
    texts = template.fill({name: values[name] for name in template.columns})
    return check_items(Pairs(table.path, rows.lines, values["item_id"], texts), bad)


def _titles_and_years(written: "pa.LargeStringArray") -> "tuple[pa.LargeStringArray, pa.LargeStringArray]":
    """Split titles from years; a missing year is empty."""
    found = pc.extract_regex(written, _TITLE_AND_YEAR)
    titles = pc.coalesce(pc.struct_field(found, "title"), written)
    return titles, pc.coalesce(pc.struct_field(found, "year"), _text(""))


def _named_genres(written: "pa.LargeStringArray") -> "pa.LargeStringArray":
    """Convert `Crime|Drama` to `Crime, Drama`."""
    none = pc.is_in(written, value_set=pa.array(_NO_GENRES, pa.large_string()))
    return pc.replace_substring(pc.if_else(none, _text(""), written), "|", _COMMA)


def _marked_genres(rows: TableBlock) -> "pa.LargeStringArray":
    """Join the names of the genre columns that are 1, except `unknown`."""
    marked = [
        pc.if_else(pc.equal(rows.columns[name], _text("1")), _text(name), pa.scalar(None, pa.large_string()))
        for name in _GENRES_100K
        if name not in _NO_GENRES
    ]
    # Each row begins with an empty text: pyarrow omits rows that are all null, which makes the column too short.
    joined = pc.binary_join_element_wise(_text(""), *marked, _text(_COMMA), null_handling="skip")
    return pc.utf8_slice_codeunits(joined, len(_COMMA))


def _read_events(table: TableFile, items: Items, min_rating: float | None, bad: BadRows) -> Grouped:
    columns = _RATING_COLUMNS if min_rating is not None else tuple(c for c in _RATING_COLUMNS if c != "rating")
    clock = TimeReader()
    with EventLog(table.path, table.unit) as log:
        for rows in table.blocks(columns, bad):
            rows, times = timed(_wanted(rows, min_rating, bad), "timestamp", clock, bad)
            log.add(rows.lines, rows.columns["userId"], rows.columns["movieId"], times)
        found = log.histories(items, bad)
    return replace(found, times=None if found.times is None else clock.seconds(found.times))


def _wanted(rows: TableBlock, min_rating: float | None, bad: BadRows) -> TableBlock:
    return rated_at_least(with_ids(rows, "userId", "movieId", bad), "rating", min_rating, bad)


def _text(text: str) -> "pa.LargeStringScalar":
    return pa.scalar(text, pa.large_string())
