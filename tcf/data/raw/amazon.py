"""Amazon reviews as published by McAuley Lab: a folder with the reviews and the metadata file of one category.

Both are JSON lines, plain or packed (`.json`, `.jsonl`, with or without `.gz`); the name of the metadata file begins
with `meta_`. The keys of the first reviews show the edition:

- 2018: `reviewerID`, `asin`, `unixReviewTime` in seconds, `overall`; items have `asin`, `title`, `brand` ...
- 2023: `user_id`, `parent_asin`, `timestamp` in milliseconds, `rating`; items have `parent_asin`, `title` ...

Reviews of 2023 may also be the published benchmark files, which have the same columns: one `NAME.csv`, or the parts of
a split, `NAME.train.csv`, `NAME.valid.csv` (or `.validation`, `.val`, `.dev`) and `NAME.test.csv`. If a folder has
reviews of both kinds, `--split` must be given: `given` reads the parts, another split the other file. A split's parts
follow one another, whatever the times.
A column `history`, ids with spaces between them, has what a user reviewed before; what the rows themselves do not show
of it becomes part of the history (`tcf.data.raw.benchmark.connect_lists`).

A review is an event; its item is the product, in 2023 the parent product of all sizes and colours. The text of an item
is its title as published, unless a template is given; lists such as `category` are joined by commas.

The published files repeat items and reviews, and have items without a title, items with a page script in its place
(2018), and reviews of items without metadata. These are always left out and counted, whatever the setting for bad rows:
`duplicate_item`, `duplicate_event` (same user, item and time), `title_is_script` (the title counts as missing),
`empty_text`, `event_of_skipped_item`, `unknown_item`.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from tcf.common.errors import DataError
from tcf.data.events.group_events import group_events, with_ids
from tcf.data.events.html_references import text_columns
from tcf.data.events.items import Items, read_items, require_rows
from tcf.data.events.timestamps import read_times
from tcf.data.raw.benchmark.one_table import EventColumns, one_table
from tcf.data.raw.benchmark.split_files import EventFiles, SplitKind, event_files, part_of
from tcf.data.raw.ratings import leave_out_lower, require_numbers
from tcf.data.raw.raw_log import RawLog
from tcf.data.tables.bad_rows import BadRows
from tcf.data.tables.engine import Engine
from tcf.data.tables.open_table import open_table, scope_of_columns
from tcf.data.tables.several_tables import look_for
from tcf.data.tables.source_file import require_folder
from tcf.data.tables.table import RawTable, TableFile, listed_columns
from tcf.data.text_template import Template, joined_columns

__all__ = ["amazon_files", "amazon_paths", "read_amazon"]

_PACKED = ("", ".gz", ".zst")
_LINES = tuple(f".{kind}{packed}" for kind in ("json", "jsonl") for packed in _PACKED)
_TABLES = tuple(f".csv{packed}" for packed in _PACKED)
_HISTORY = "history"
_OWN = "manifest.json"  # in a folder made by `tcf data download`
_SCRIPT = "getTime"  # occurs in the titles of 2018 that are page scripts


@dataclass(frozen=True)
class _Edition:
    """The keys in the files of one edition.

    Attributes:
        events: user id, item id and time in reviews; metadata have the same item id.
        rating: rating in reviews.
        metadata: all keys that metadata may have, separated by spaces.
    """

    events: tuple[str, str, str]
    rating: str
    metadata: str


_EDITION_2018 = _Edition(
    events=("reviewerID", "asin", "unixReviewTime"),
    rating="overall",
    metadata="asin title brand category main_cat description feature price date rank fit details also_buy also_view "
    "similar_item tech1 tech2 imageURL imageURLHighRes",
)
_EDITION_2023 = _Edition(
    events=("user_id", "parent_asin", "timestamp"),
    rating="rating",
    metadata="parent_asin title store main_category categories features description price average_rating rating_number "
    "details images videos bought_together subtitle author",
)


def amazon_files(folder: Path, split: SplitKind = None) -> tuple[EventFiles, Path]:
    """Find the files of the format in a folder: reviews and metadata.

    Raises:
        ConfigError: there are reviews of two kinds, and no split says which to use.
        DataError: a file is missing, or there are several of a kind.
    """
    expected = (
        "expected one reviews file, or NAME.train.csv with NAME.valid.csv and NAME.test.csv, and one metadata file, "
        "such as Software_5.json.gz and meta_Software.json.gz"
    )
    require_folder(folder)
    suffixes = {path: _suffix(path) for path in sorted(folder.iterdir()) if path.name != _OWN and _suffix(path)}
    metadata = [path for path, suffix in suffixes.items() if path.name.startswith("meta_") and suffix in _LINES]
    names = {path: path.name.removesuffix(suffix) for path, suffix in suffixes.items() if path not in metadata}
    reviews = event_files(folder, names, split)
    if reviews is None or len(metadata) != 1:
        found = ", ".join(path.name for path in suffixes) or "neither"
        raise DataError(f"{folder}: {expected}, found {found}; name a folder with one category")
    return reviews, metadata[0]


def amazon_paths(folder: Path, split: SplitKind = None) -> tuple[Path, ...]:
    """Return the files that `amazon_files` finds, one after another."""
    reviews, metadata = amazon_files(folder, split)
    return (*reviews.paths, metadata)


def _suffix(path: Path) -> str:
    return next((suffix for suffix in (*_LINES, *_TABLES) if path.name.endswith(suffix)), "")


def read_amazon(
    engine: Engine,
    folder: Path,
    *,
    bad_rows: Literal["error", "skip"],
    template: Template | None = None,
    unescape_html: bool = False,
    min_rating: float | None = None,
    split: SplitKind = None,
) -> RawLog:
    """Read a category of Amazon reviews.

    Args:
        engine: reads and orders the rows.
        folder: the folder of the files.
        bad_rows: raise an error at the first kind of unusable row, or skip and count such rows: `bad_json`,
            `bad_utf8`, `nul_byte`, `empty_id`, `bad_timestamp`, `bad_rating`. The known flaws of the published files
            are counted in either case.
        template: the text of an item, made from keys of the metadata; None takes the title.
        unescape_html: whether character references in texts become characters.
        min_rating: leave out reviews with a lower rating, and count them (`below_min_rating`); None keeps all. Reviews
            that only a `history` shows have no rating and are kept.
        split: decides between one file of reviews and the parts of a split.

    Raises:
        ConfigError: `template` names a key that the metadata lack, or it must be said which files are to be read.
        DataError: a file is missing, empty, in another format or a copy of another, or a row is unusable and not to be
            skipped.
    """
    files, metadata_path = amazon_files(folder, split)
    reviews, metadata = [open_table(path) for path in files.paths], open_table(metadata_path)
    edition, template = _one_edition(reviews), template or joined_columns(["title"])
    published = edition.metadata.split()
    look_for(metadata, [name for name in template.columns if name not in published])
    there = tuple(dict.fromkeys((*published, *metadata.columns)))
    template.check(there, metadata_path, scope_of_columns(metadata_path))
    bad, known = BadRows(bad_rows), BadRows("skip")
    user, item, time = edition.events
    products = metadata.load(engine, tuple(dict.fromkeys((item, *template.columns))), bad)
    require_rows(products, bad)
    items = _read_items(products, edition, template, known, unescape_html)
    columns = EventColumns(
        user,
        item,
        time,
        items=_HISTORY if any(_has_history(file) for file in reviews) else None,
        rating=None if min_rating is None else edition.rating,
    )
    loaded = [_load_reviews(engine, file, columns, bad, known) for file in reviews]
    events = one_table(loaded, files.parts, columns, known)
    if columns.rating is not None:
        leave_out_lower(events, columns.rating, min_rating, bad)
    times, part = read_times(events, time, bad), part_of(files, split)
    exact = columns.items is None  # of rows with lists, those that are repeated have been left out
    once = "duplicate_event" if exact else None
    log = group_events(events, user, item, times, items, known, once=once, part=part, has_exact_times=exact)
    read = RawLog.of(items, log, dict(Counter(bad.skipped) + Counter(known.skipped)), (*loaded, products))
    return replace(read, rows_are_distinct=True)


def _has_history(reviews: TableFile) -> bool:
    return reviews.path.name.endswith(_TABLES) and _HISTORY in reviews.columns


def _load_reviews(engine: Engine, reviews: TableFile, columns: EventColumns, bad: BadRows, known: BadRows) -> RawTable:
    names = (*columns.kept, *([_HISTORY] if _has_history(reviews) else []))
    events = reviews.load(engine, names, bad)
    events = with_ids(events, columns.user, columns.item, bad)
    if columns.rating is not None:
        require_numbers(events, columns.rating, bad)
    if _has_history(reviews) and columns.time is not None:
        read_times(events, columns.time, bad)  # a row without a time has no place among those with lists
    if columns.items is not None:
        _leave_out_repeated(events, [name for name in names if name != columns.rating], known)
    return events


def _leave_out_repeated(events: RawTable, names: Sequence[str], known: BadRows) -> None:
    """Leave out further rows with the same values, as `duplicate_event`: each would be another target."""
    engine, values = events.engine, ", ".join(events[name] for name in names)
    hashes, again = engine.name("hashes"), engine.name("again")
    of_rows = f"select hash({values}) as key from {events.name}"  # so that few rows are compared in full
    engine.run(f"create temp table {hashes} as select key from ({of_rows}) group by key having count(*) > 1")
    engine.run(
        f"create temp table {again} as select row from (select rowid as row, row_number() over (partition by {values} "
        f"order by rowid) as number from {events.name} where hash({values}) in (select key from {hashes})) "
        "where number > 1"
    )
    events.leave_out(f"rowid in (select row from {again})", "duplicate_event", known)
    engine.run(f"drop table {hashes}; drop table {again}")


def _one_edition(reviews: Sequence[TableFile]) -> _Edition:
    """Return the edition that all reviews files belong to."""
    editions = [_edition_of(file) for file in reviews]
    if any(edition is not editions[0] for edition in editions):
        raise DataError(
            f"{reviews[0].path.parent}: expected parts of one split, found reviews of 2018 and of 2023; name a folder "
            "with one category"
        )
    return editions[0]


def _edition_of(reviews: TableFile) -> _Edition:
    """Return the edition that a reviews file belongs to."""
    editions = (_EDITION_2018, _EDITION_2023)
    for edition in editions:
        if set(edition.events) <= set(reviews.columns):
            return edition
    wanted = " or ".join(", ".join(edition.events) for edition in editions)
    raise DataError(
        f"{reviews.path}:1: expected a review with the keys {wanted}, found {listed_columns(reviews.columns)}; check "
        "that it is the reviews file"
    )


def _read_items(
    products: RawTable, edition: _Edition, template: Template, known: BadRows, unescape_html: bool
) -> Items:
    products, columns = text_columns(products, template.columns, unescape_html)
    if "title" in columns and edition is _EDITION_2018:
        is_script = f"contains({columns['title']}, '{_SCRIPT}')"
        number = products.engine.number(f"select count(*) from {products.name} where {is_script}")
        known.count("title_is_script", number)
        columns["title"] = f"case when {is_script} then '' else {columns['title']} end"
    return read_items(products, products[edition.events[1]], template.text(columns), known)
