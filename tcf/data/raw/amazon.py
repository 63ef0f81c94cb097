"""Amazon reviews as published by McAuley Lab: a folder with the reviews file and the metadata file of one category.

Both are JSON lines, plain or gzip (`.json`, `.jsonl`, with or without `.gz`); the name of the metadata file begins with
`meta_`. The keys of the first reviews show the edition:

- 2018: `reviewerID`, `asin`, `unixReviewTime` in seconds, `overall`; items have `asin`, `title`, `brand` ...
- 2023: `user_id`, `parent_asin`, `timestamp` in milliseconds, `rating`; items have `parent_asin`, `title` ...

A review is an event; its item is the product, in 2023 the parent product of all sizes and colours. The text of an item
is its title as published, unless a template is given; lists such as `category` are joined by commas.

The published files repeat items and reviews, and have items without a title, items with a page script in its place
(2018), and reviews of items without metadata. These are always left out and counted, whatever the setting for bad rows:
`duplicate_item`, `duplicate_event` (same user, item and time), `title_is_script` (the title counts as missing),
`empty_text`, `event_of_skipped_item`, `unknown_item`.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tcf.common.errors import DataError
from tcf.data.events.group_events import group_events, with_ids
from tcf.data.events.html_references import text_columns
from tcf.data.events.items import Items, read_items, require_rows
from tcf.data.events.timestamps import read_times
from tcf.data.raw.ratings import rated_at_least
from tcf.data.raw.raw_log import RawLog
from tcf.data.tables.bad_rows import BadRows
from tcf.data.tables.engine import Engine
from tcf.data.tables.open_table import open_table, scope_of_columns
from tcf.data.tables.several_tables import look_for
from tcf.data.tables.source_file import require_folder
from tcf.data.tables.table import RawTable, TableFile, listed_columns
from tcf.data.text_template import Template, joined_columns

__all__ = ["amazon_files", "read_amazon"]

_SUFFIXES = tuple(f".{kind}{packed}" for kind in ("json", "jsonl") for packed in ("", ".gz", ".zst"))
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


def amazon_files(folder: Path) -> tuple[Path, Path]:
    """Find the files of the format in a folder: reviews, then metadata.

    Raises:
        DataError: a file is missing, or there are several of a kind.
    """
    expected = "expected one reviews file and one metadata file, such as Software_5.json.gz and meta_Software.json.gz"
    require_folder(folder)
    found = sorted(path for path in folder.iterdir() if path.name.endswith(_SUFFIXES) and path.name != _OWN)
    metadata = [path for path in found if path.name.startswith("meta_")]
    reviews = [path for path in found if path not in metadata]
    if len(reviews) != 1 or len(metadata) != 1:
        names = ", ".join(path.name for path in found) or "neither"
        raise DataError(f"{folder}: {expected}, found {names}; name a folder with one category")
    return reviews[0], metadata[0]


def read_amazon(
    engine: Engine,
    folder: Path,
    *,
    bad_rows: Literal["error", "skip"],
    template: Template | None = None,
    unescape_html: bool = False,
    min_rating: float | None = None,
) -> RawLog:
    """Read a category of Amazon reviews.

    Args:
        engine: reads and orders the rows.
        folder: the folder of the two files.
        bad_rows: raise an error at the first kind of unusable row, or skip and count such rows: `bad_json`,
            `bad_utf8`, `nul_byte`, `empty_id`, `bad_timestamp`, `bad_rating`. The known flaws of the published files
            are counted in either case.
        template: the text of an item, made from keys of the metadata; None takes the title.
        unescape_html: whether character references in texts become characters.
        min_rating: leave out reviews with a lower rating, and count them (`below_min_rating`); None keeps all.

    Raises:
        ConfigError: `template` names a key that the metadata lack.
        DataError: a file is missing, empty or in another format, or a row is unusable and not to be skipped.
    """
    reviews_path, metadata_path = amazon_files(folder)
    reviews, metadata = open_table(reviews_path), open_table(metadata_path)
    edition, template = _edition_of(reviews), template or joined_columns(["title"])
    published = edition.metadata.split()
    look_for(metadata, [name for name in template.columns if name not in published])
    there = tuple(dict.fromkeys((*published, *metadata.columns)))
    template.check(there, metadata_path, scope_of_columns(metadata_path))
    bad, known = BadRows(bad_rows), BadRows("skip")
    user, item, time = edition.events
    products = metadata.load(engine, tuple(dict.fromkeys((item, *template.columns))), bad)
    require_rows(products, bad)
    items = _read_items(products, edition, template, known, unescape_html)
    events = reviews.load(engine, edition.events if min_rating is None else (*edition.events, edition.rating), bad)
    with_ids(events, user, item, bad)
    rated_at_least(events, edition.rating, min_rating, bad)
    times = read_times(events, time, bad)
    log = group_events(events, user, item, times, items, known, once="duplicate_event")
    return RawLog.of(items, log, dict(Counter(bad.skipped) + Counter(known.skipped)), (events, products))


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
