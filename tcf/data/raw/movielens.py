"""MovieLens as published by GroupLens: a folder with one of three pairs of files.

- 100K: `u.data` (user, film, rating, time; tab-separated) and `u.item` (separated by `|`, Latin-1, a column of 0 or 1
  for each genre).
- 1M and 10M: `ratings.dat` and `movies.dat` (separated by `::`, no header; Latin-1 or UTF-8).
- 20M, 25M, 32M and similar: `ratings.csv` and `movies.csv` (quoted, with a header, UTF-8).

An item has the columns `item_id`, `title`, `year` and `genres`. GroupLens writes the year after the title, as in
`Heat (1995)`: it is removed, so the text of an item is its title alone unless a template is given. Genres are separated
by a comma and a space; `unknown` and `(no genres listed)` count as no genre.
"""

from dataclasses import replace
from pathlib import Path
from typing import Literal

from tcf.common.errors import DataError
from tcf.data.events.group_events import group_events, with_ids
from tcf.data.events.html_references import text_columns
from tcf.data.events.items import read_items, require_rows
from tcf.data.events.timestamps import read_times
from tcf.data.raw.ratings import rated_at_least
from tcf.data.raw.raw_log import RawLog
from tcf.data.tables.bad_rows import BadRows
from tcf.data.tables.engine import Engine, literal
from tcf.data.tables.source_file import require_folder, unreadable
from tcf.data.tables.table import RawTable
from tcf.data.tables.text_form import TextForm
from tcf.data.tables.text_table import TextTable
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
_USED_100K = ("movieId", "title", *_GENRES_100K)
_COMMA = ", "
_NO_GENRES = ("unknown", "(no genres listed)")
# A title, and the year or years after it; 100K marks films made for video with a (V) at the end.
_TITLE_AND_YEAR = r"^(?P<title>.*\S)\s*\((?P<year>[0-9]{4})(?:\s?[-–]\s?[0-9]{0,4})?\)(?:\s*\(V\))?$"


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
    engine: Engine,
    folder: Path,
    *,
    bad_rows: Literal["error", "skip"],
    template: Template | None = None,
    unescape_html: bool = False,
    min_rating: float | None = None,
) -> RawLog:
    """Read MovieLens.

    Args:
        engine: reads and orders the rows.
        folder: the folder of the two files.
        bad_rows: raise an error at the first kind of unusable row, or skip and count such rows: `nul_byte`,
            `bad_utf8`, `wrong_columns`, `torn_quotes`, `quote_over_rows`, `empty_id`, `empty_text`, `duplicate_item`,
            `bad_timestamp`, `bad_rating`, `unknown_item`, `event_of_skipped_item`.
        template: the text of an item, made from `item_id`, `title`, `year` and `genres`; None takes the title.
        unescape_html: whether character references in texts become characters.
        min_rating: leave out events with a lower rating, and count them (`below_min_rating`); None keeps all.

    Raises:
        ConfigError: `template` names another column.
        DataError: a file is missing, empty or in another format, or a row is unusable and not to be skipped.
    """
    ratings_path, films_path = movielens_files(folder)
    template, bad = template or joined_columns(["title"]), BadRows(bad_rows)
    template.check(_COLUMNS, films_path)
    events_form, films_form = _forms(ratings_path.name, films_path)
    of_100k = films_form.header == _FILM_COLUMNS_100K
    films = TextTable(films_path, films_form).load(engine, _USED_100K if of_100k else _FILM_COLUMNS, bad)
    require_rows(films, bad)
    films, columns = text_columns(films, ("title",) if of_100k else ("title", "genres"), unescape_html)
    texts = _values(replace(films, columns=columns), of_100k)
    items = read_items(films, films["movieId"], template.text(texts), bad)
    events = TextTable(ratings_path, events_form).load(engine, _RATING_COLUMNS, bad)
    events = with_ids(events, "userId", "movieId", bad)
    rated_at_least(events, "rating", min_rating, bad)
    log = group_events(events, "userId", "movieId", read_times(events, "timestamp", bad), items, bad)
    return RawLog.of(items, log, bad.skipped, (events, films))


def _forms(ratings: str, films: Path) -> tuple[TextForm, TextForm]:
    """Return the formats of the ratings and of the films."""
    match ratings:
        case "u.data":
            events = TextForm("\t", quoting=False, header=_RATING_COLUMNS)
            return events, TextForm("|", quoting=False, header=_FILM_COLUMNS_100K, encoding="latin-1")
        case "ratings.dat":
            events = TextForm("::", quoting=False, header=_RATING_COLUMNS)
            return events, TextForm("::", quoting=False, header=_FILM_COLUMNS, encoding=_encoding(films))
        case _:
            return TextForm(), TextForm()


def _encoding(films: Path) -> Literal["utf-8", "latin-1"]:
    """Return the encoding of a `movies.dat`: that of 10M is UTF-8, that of 1M is not."""
    try:
        films.read_bytes().decode()
    except UnicodeDecodeError:
        return "latin-1"
    except OSError as error:
        raise unreadable(films, error) from None
    return "utf-8"


def _values(films: RawTable, of_100k: bool) -> dict[str, str]:
    """Return an expression in SQL for each column of an item."""
    written = films["title"]
    years = f"regexp_extract({written}, {literal(_TITLE_AND_YEAR)}, ['title', 'year'])"
    split = f"regexp_matches({written}, {literal(_TITLE_AND_YEAR)})"
    title = f"case when {split} then {years}.title else {written} end"
    genres = _marked_genres(films) if of_100k else _named_genres(films["genres"])
    return {"item_id": films["movieId"], "title": title, "year": f"{years}.year", "genres": genres}


def _named_genres(written: str) -> str:
    """Convert `Crime|Drama` to `Crime, Drama`."""
    none = ", ".join(map(literal, _NO_GENRES))
    return f"case when {written} in ({none}) then '' else replace({written}, '|', '{_COMMA}') end"


def _marked_genres(films: RawTable) -> str:
    """Join the names of the genre columns that are 1, except `unknown`."""
    marked = [
        f"case when {films[name]} = '1' then {literal(name)} end" for name in _GENRES_100K if name not in _NO_GENRES
    ]
    return f"concat_ws('{_COMMA}', {', '.join(marked)})"
