r"""The study's raw format, and what its authors released besides: histories and items in two files of one folder.

`behaviors.tsv` has one line for each user: `user \t item ids, separated by spaces, oldest first`. One of `items.tsv`,
`news.tsv` and `videos.tsv` has one line for each item: `item id \t title`. Other names, events as pairs with times, and
item files with more columns are described in the modules `file_names`, `pair_files` and `item_files`. Titles are used
as written, without white space at either end; a template may put text around them, and refers to the column as `title`,
whatever a header says. Several spaces between item ids count as one.

Either file may begin with a header line. Items are matched with histories by id, so a header never shifts rows:

- The first line of `behaviors.tsv` is a header if its first field names a user column (`user`, `uid`, `user_id`, ...)
  and none of the ids after it is in the item file.
- The first line of the item file is a header if its first field names an id column (`id`, `iid`, `item_id`, `news_id`,
  ...) and no history contains an item with that id; if events are pairs, the first condition suffices.
- The first line of a file of pairs is a header if it names one user column and one item column.

Case, spaces, hyphens and underscores in those names do not matter. Header lines are counted as skipped: `header_line`.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tcf.data.events.checked_items import Items, Pairs, find_items, offsets_of, repeated
from tcf.data.raw.raw_log import RawLog
from tcf.data.raw.study.file_names import RawFiles, find_files, is_item_column, is_user_column
from tcf.data.raw.study.item_files import ItemRows, items_of, read_item_rows
from tcf.data.raw.study.pair_files import read_pairs
from tcf.data.tables.bad_rows import BadRows
from tcf.data.tables.tsv_file import empty_strings, read_rows, read_text_file, select_strings
from tcf.data.text_template import Template

__all__ = ["read_tcf"]

_USER_FORM = "a user id, a tab and item ids separated by spaces"


def read_tcf(folder: Path, *, bad_rows: Literal["error", "skip"], template: Template | None = None) -> RawLog:
    """Read the study's raw format.

    Args:
        folder: the folder of the two files.
        bad_rows: raise an error at the first kind of unusable row, or skip and count such rows: `nul_byte`,
            `bad_utf8`, `wrong_columns`, `torn_quotes` (CSV), `empty_id`, `empty_text`, `duplicate_item`,
            `duplicate_user` (the first line of a user is used), `empty_history`, `bad_timestamp`; and single events
            within rows: `unknown_item`, `event_of_skipped_item`.
        template: the text of an item, made from columns of the item file, usually only `title`; None takes `title_en`
            if there is such a column, else the title.

    Raises:
        ConfigError: `template` names a column that the item file lacks, or a template is required.
        DataError: a file is missing, empty or in another format, or a row is unusable and not to be skipped.
    """
    files, bad = find_files(folder), BadRows(bad_rows)
    rows = read_item_rows(files.items, bad)
    return (_from_pairs if files.pairs else _from_histories)(files, rows, template, bad)


def _from_histories(files: RawFiles, rows: ItemRows, template: Template | None, bad: BadRows) -> RawLog:
    file = read_text_file(files.events)
    table = read_rows(file, 2, _USER_FORM, bad)
    users = Pairs(table.path, table.lines, table.column(0), table.column(1))
    if _is_behaviors_header(users, rows.pairs):
        users = users.from_row(1)
        bad.count("header_line", 1)
    if _is_items_header(rows.pairs, users):
        rows = rows.after_header()
        bad.count("header_line", 1)
    items = items_of(rows, template, bad)
    users = _check_users(users, bad)
    offsets, events = _find_events(users, items, bad)
    checksums = {files.events.name: file.sha256, files.items.name: rows.sha256}
    return RawLog(items.ids, items.texts, users.ids, offsets, events, bad.skipped, checksums)


def _from_pairs(files: RawFiles, rows: ItemRows, template: Template | None, bad: BadRows) -> RawLog:
    if _first_line_names(is_item_column, rows.pairs):
        rows = rows.after_header()
        bad.count("header_line", 1)
    items = items_of(rows, template, bad)
    found, sha256 = read_pairs(files.events, items, bad)
    checksums = {files.events.name: sha256, files.items.name: rows.sha256}
    return RawLog(
        items.ids, items.texts, found.user_ids, found.offsets, found.items, bad.skipped, checksums, found.times
    )


def _is_behaviors_header(users: Pairs, items: Pairs) -> bool:
    if not _first_line_names(is_user_column, users):
        return False
    # If both files have a header, both may use the same name for the item column.
    certain = items.from_row(int(_first_line_names(is_item_column, items)))
    named = pa.array(users.values[0].as_py().split(" "), pa.large_string())
    return not pc.any(pc.is_in(named, value_set=certain.ids)).as_py()


def _is_items_header(items: Pairs, users: Pairs) -> bool:
    if not _first_line_names(is_item_column, items):
        return False
    used = pc.match_substring_regex(users.values, rf"(^| ){re.escape(items.ids[0].as_py())}( |$)")
    return not pc.any(used).as_py()


def _first_line_names(is_column: Callable[[str], bool], rows: Pairs) -> bool:
    return len(rows) > 0 and rows.lines[0] == 1 and is_column(rows.ids[0].as_py())


def _check_users(users: Pairs, bad: BadRows) -> Pairs:
    users = users.without(empty_strings(users.ids), "empty_id", "a user id", bad)
    users = users.without(empty_strings(users.values), "empty_history", "a user with item ids", bad)
    return users.without(repeated(users.ids), "duplicate_user", "a user id that no earlier line has", bad)


def _find_events(users: Pairs, items: Items, bad: BadRows) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    """Return every user's events as item positions, in CSR form."""
    split = pc.split_pattern(users.values, " ")
    events = split.flatten()
    owners = np.repeat(np.arange(len(users), dtype=np.int32), np.asarray(pc.list_value_length(split)))
    filled = ~empty_strings(events)
    if not filled.all():  # runs of spaces
        events, owners = select_strings(events, filled), owners[filled]
    found, known = find_items(events, items, users.path, lambda at: users.lines[owners[at]], bad)
    return offsets_of(owners[known], len(users)), found[known]
