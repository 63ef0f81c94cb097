"""Amazon reviews as published by McAuley Lab: a folder with the reviews file and the metadata file of one category.

Both are JSON lines, plain or gzip (`.json`, `.jsonl`, with or without `.gz`); the name of the metadata file begins with
`meta_`. The keys of the first review show the edition:

- 2018: `reviewerID`, `asin`, `unixReviewTime` in seconds, `overall`; items have `asin`, `title`, `brand` ...
- 2023: `user_id`, `parent_asin`, `timestamp` in milliseconds, `rating`; items have `parent_asin`, `title` ...

A review is an event; its item is the product, in 2023 the parent product of all sizes and colours. The text of an item
is its title as published, unless a template is given; lists such as `category` are joined by spaces.

The published files repeat items and reviews, and have items without a title, items with a page script in its place
(2018), and reviews of items without metadata. These are always left out and counted, whatever the setting for bad rows:
`duplicate_item`, `duplicate_event` (same user, item and time), `title_is_script` (the title counts as missing),
`empty_text`, `event_of_skipped_item`, `unknown_item`.
"""

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from tcf.common.errors import DataError
from tcf.data.events.checked_items import Items, Pairs, check_items
from tcf.data.events.drop_repeats import without_repeats
from tcf.data.events.event_log import EventLog, Grouped
from tcf.data.events.timestamps import TimeReader
from tcf.data.raw.ratings import rated_at_least, timed, whole_table, with_ids
from tcf.data.raw.raw_log import RawLog
from tcf.data.tables.bad_rows import BadRows
from tcf.data.tables.open_table import open_table
from tcf.data.tables.source_file import require_folder
from tcf.data.tables.table import TableFile, listed_columns
from tcf.data.text_template import Template, joined_columns

__all__ = ["amazon_files", "read_amazon"]

_SUFFIXES = (".json", ".jsonl", ".json.gz", ".jsonl.gz")
_METADATA = "meta_"
_OWN = "manifest.json"  # in a folder made by `tcf data download`
_SCRIPT = "getTime"  # occurs in the titles of 2018 that are page scripts


@dataclass(frozen=True)
class _Edition:
    """The keys in the files of one edition.

    Attributes:
        user: user id in reviews.
        item: item id in reviews and metadata.
        time: time in reviews.
        rating: rating in reviews.
        metadata: all keys that metadata may have.
    """

    user: str
    item: str
    time: str
    rating: str
    metadata: tuple[str, ...]


_EDITIONS = (
    _Edition(
        user="reviewerID",
        item="asin",
        time="unixReviewTime",
        rating="overall",
        metadata=tuple(
            "asin title brand category main_cat description feature price date rank fit details also_buy also_view "
            "similar_item tech1 tech2 imageURL imageURLHighRes".split()
        ),
    ),
    _Edition(
        user="user_id",
        item="parent_asin",
        time="timestamp",
        rating="rating",
        metadata=tuple(
            "parent_asin title store main_category categories features description price average_rating rating_number "
            "details images videos bought_together subtitle author".split()
        ),
    ),
)


def amazon_files(folder: Path) -> tuple[Path, Path]:
    """Find the files of the format in a folder: reviews, then metadata.

    Raises:
        DataError: a file is missing, or there are several of a kind.
    """
    expected = "expected one reviews file and one metadata file, such as Software_5.json.gz and meta_Software.json.gz"
    require_folder(folder)
    found = sorted(path for path in folder.iterdir() if path.name.endswith(_SUFFIXES) and path.name != _OWN)
    metadata = [path for path in found if path.name.startswith(_METADATA)]
    reviews = [path for path in found if path not in metadata]
    if len(reviews) != 1 or len(metadata) != 1:
        names = ", ".join(path.name for path in found) or "neither"
        raise DataError(f"{folder}: {expected}, found {names}; name a folder with one category")
    return reviews[0], metadata[0]


def read_amazon(
    folder: Path,
    *,
    bad_rows: Literal["error", "skip"],
    template: Template | None = None,
    min_rating: float | None = None,
) -> RawLog:
    """Read a category of Amazon reviews.

    Args:
        folder: the folder of the two files.
        bad_rows: raise an error at the first kind of unusable row, or skip and count such rows: `bad_json`,
            `bad_utf8`, `nul_byte`, `empty_id`, `bad_timestamp`, `bad_rating`. The known flaws of the published files
            are counted in either case.
        template: the text of an item, made from keys of the metadata; None takes the title.
        min_rating: leave out reviews with a lower rating, and count them (`below_min_rating`); None keeps all.

    Raises:
        ConfigError: `template` names a key that the metadata lack.
        DataError: a file is missing, empty or in another format, or a row is unusable and not to be skipped.
    """
    reviews_path, metadata_path = amazon_files(folder)
    reviews, edition = _opened_reviews(reviews_path)
    metadata = open_table(metadata_path)
    template = template or joined_columns(["title"])
    template.check(tuple(dict.fromkeys((*edition.metadata, *metadata.columns))), metadata_path)
    bad, known = BadRows(bad_rows), BadRows("skip")
    items = _read_items(metadata, edition, template, bad, known)
    log = _read_events(reviews, edition, items, min_rating, bad, known)
    files = {table.path.name: table.sha256 for table in (reviews, metadata)}
    skipped = dict(Counter(bad.skipped) + Counter(known.skipped))
    return RawLog(items.ids, items.texts, log.user_ids, log.offsets, log.items, skipped, files, log.times)


def _opened_reviews(path: Path) -> tuple[TableFile, _Edition]:
    """Open a reviews file, and find its edition."""
    table = open_table(path)
    for edition in _EDITIONS:
        if {edition.user, edition.item, edition.time} <= set(table.columns):
            numbers, decimals = frozenset({edition.time}), frozenset({edition.rating})
            return open_table(path, numbers=numbers, decimals=decimals), edition
    wanted = " or ".join(", ".join((edition.user, edition.item, edition.time)) for edition in _EDITIONS)
    raise DataError(
        f"{path}:1: expected a review with the keys {wanted}, found {listed_columns(table.columns)}; check that it is "
        "the reviews file"
    )


def _read_items(table: TableFile, edition: _Edition, template: Template, bad: BadRows, known: BadRows) -> Items:
    rows = whole_table(table, tuple(dict.fromkeys((edition.item, *template.columns))), bad)
    columns = dict(rows.columns)
    if "title" in template.columns and edition is _EDITIONS[0]:
        script = pc.match_substring(columns["title"], _SCRIPT)
        known.count("title_is_script", pc.sum(script).as_py() or 0)
        columns["title"] = pc.if_else(script, pa.scalar("", pa.large_string()), columns["title"])
    return check_items(Pairs(table.path, rows.lines, columns[edition.item], template.fill(columns), rows.unit), known)


def _read_events(
    table: TableFile, edition: _Edition, items: Items, min_rating: float | None, bad: BadRows, known: BadRows
) -> Grouped:
    columns = (edition.user, edition.item, edition.time, *((edition.rating,) if min_rating is not None else ()))
    clock = TimeReader()
    with EventLog(table.path, table.unit) as log:
        for rows in table.blocks(columns, bad):
            rows = with_ids(rows, edition.user, edition.item, bad)
            rows, times = timed(rated_at_least(rows, edition.rating, min_rating, bad), edition.time, clock, bad)
            log.add(rows.lines, rows.columns[edition.user], rows.columns[edition.item], times)
        found, again = without_repeats(log.histories(items, known), len(items.ids))
    known.count("duplicate_event", again)
    return replace(found, times=None if found.times is None else clock.seconds(found.times))
