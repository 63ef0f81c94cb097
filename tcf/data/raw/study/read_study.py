r"""The study's raw format, and what its authors released besides: histories and items in two files of one folder.

`behaviors.tsv` has one line for each user: `user \t item ids, separated by spaces, oldest first`. One of `items.tsv`,
`news.tsv` and `videos.tsv` has one line for each item: `item id \t title`. Other names, and item files with more
columns, are described in the modules `file_names` and `item_files`. Titles are used as written, without white space at
either end; a template may put text around them, and refers to the column as `title`, whatever a header says. Several
spaces between item ids count as one.

`NAME_pair.csv` has one event on each line, in any order: user, item and, in some files, time. The histories of
`westlake-repl/NineRec` are published in this form. Its README.md has the user first; its script (get_behaviour.py, next
to its baselines) and third parties' readers of the files have the item first; no file has a header. So, without a
header, the item column is the one that contains ids of the item file: in the first rows, at least twice as many of its
values must be such ids as in the other column. Events are sorted by time, and events of one time keep the order of the
file; without times all events do.

Each file may begin with a header line. Items are matched with histories by id, so a header never shifts rows:

- The first line of `behaviors.tsv` is a header if its first field names a user column (`user`, `uid`, `user_id`, ...)
  and none of the ids after it is in the item file.
- The first line of the item file is a header if its first field names an id column (`id`, `iid`, `item_id`, `news_id`,
  ...) and no history contains an item with that id; if events are pairs, the first condition suffices.
- The first line of a file of pairs is a header if it names one user column and one item column.

Case, spaces, hyphens and underscores in those names do not matter. Header lines are counted as skipped: `header_line`.
"""

import csv
from collections import Counter
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Literal

from tcf.common.errors import DataError
from tcf.data.events.group_events import Grouped, group_events, with_ids
from tcf.data.events.had_items import note_had
from tcf.data.events.items import Items, require_rows
from tcf.data.events.timestamps import read_times
from tcf.data.raw.raw_log import RawLog
from tcf.data.raw.study.file_names import is_item_column, is_time_column, is_user_column, tcf_files
from tcf.data.raw.study.item_files import first_row, items_of, load_items, load_tabs
from tcf.data.tables.bad_rows import BadRows
from tcf.data.tables.engine import Engine, literal
from tcf.data.tables.source_file import unreadable
from tcf.data.tables.table import RawTable
from tcf.data.tables.text_form import TextForm
from tcf.data.tables.text_table import TextTable
from tcf.data.text_template import Template

__all__ = ["read_tcf"]

_USER, _ITEMS = "user id", "item ids separated by spaces"
_FIRST, _SECOND, _THIRD = "first", "second", "third"
_SAMPLED_ROWS = 10_000
_LEAST_RATIO = 2  # of item ids in one column to those in the other
_PAIR_FORM = "a user id, an item id and, if there are times, a time, separated by commas"


def read_tcf(
    engine: Engine,
    folder: Path,
    *,
    bad_rows: Literal["error", "skip"],
    template: Template | None = None,
    unescape_html: bool = False,
) -> RawLog:
    """Read the study's raw format.

    Args:
        engine: reads and orders the rows.
        folder: the folder of the two files.
        bad_rows: raise an error at the first kind of unusable row, or skip and count such rows: `nul_byte`,
            `bad_utf8`, `wrong_columns`, `torn_quotes` and `quote_over_rows` (CSV), `empty_id`, `empty_text`,
            `duplicate_item`, `duplicate_user` (the first line of a user is used), `empty_history`, `bad_timestamp`; and
            single events within rows: `unknown_item`, `event_of_skipped_item`.
        template: the text of an item, made from columns of the item file, usually only `title`; None takes `title_en`
            if there is such a column, else the title.
        unescape_html: whether character references in texts become characters.

    Raises:
        ConfigError: `template` names a column that the item file lacks, or a template is required.
        DataError: a file is missing, empty or in another format, or a row is unusable and not to be skipped.
    """
    events_path, items_path = tcf_files(folder)
    bad = BadRows(bad_rows)
    described = load_items(engine, items_path, bad)
    if events_path.suffix.casefold() == ".csv":
        items = items_of(described, is_item_column(first_row(described)[0]), template, bad, unescape_html)
        events, log = _read_pairs(engine, events_path, items, bad)
    else:
        users = load_tabs(engine, events_path, (_USER, _ITEMS), bad)
        users_header, items_header = _headers(users, described)
        if users_header:
            users.leave_out("rowid = 0", "header_line", bad)
        items = items_of(described, items_header, template, bad, unescape_html)
        events = _one_row_each(users, bad)
        log = group_events(events, _USER, _ITEMS, None, items, bad)
    return RawLog.of(items, log, bad.skipped, (events, described))


def _headers(users: RawTable, items: RawTable) -> tuple[bool, bool]:
    """Return whether the first line of each file is a header."""
    engine, first_user, first_item = users.engine, first_row(users)[0], first_row(items)[0]
    item_named, users_header = is_item_column(first_item), is_user_column(first_user)
    if users_header:
        # If both files have a header, both may use the same name for the item column.
        named = f"select unnest(string_split({users[_ITEMS]}, ' ')) from {users.name} where rowid = 0"
        known = f"select c0 from {items.name} where rowid >= {int(item_named)}"
        users_header = engine.number(f"select count(*) from ({known}) where c0 in ({named})") == 0
    used = f"contains(' ' || {users[_ITEMS]} || ' ', {literal(f' {first_item} ')})"
    history = f"from {users.name} where rowid >= {int(users_header)} and {used}"
    return users_header, item_named and engine.number(f"select count(*) {history}") == 0


def _one_row_each(users: RawTable, bad: BadRows) -> RawTable:
    """Return a table with one row for each event of the usable users, in the same columns."""
    engine, name, user, ids = users.engine, users.engine.name("events"), users[_USER], users[_ITEMS]
    shown = f"{user} || chr(9) || {ids}"
    users.reject(f"{user} = ''", "empty_id", "a user id", bad, shown)
    users.reject(f"{ids} = ''", "empty_history", "a user with item ids", bad, shown)
    again = f"rowid not in (select min(rowid) from {users.name} group by {user})"
    listed = f"list_filter(string_split({ids}, ' '), lambda id: id <> '')"

    def note(rows: RawTable, left_out: str) -> None:
        note_had(engine, f"select {user}, unnest({listed}) from {rows.name} where {left_out}")

    users = replace(users, note_had=note)
    users.reject(again, "duplicate_user", "a user id that no earlier line has", bad, shown, is_had=True)
    engine.run(f"create temp table {name} as select {user}, unnest({listed}) as {ids}, rowid as row from {users.name}")
    engine.run(f"drop table {users.name}")
    return replace(users, name=name, row="row")


def _read_pairs(engine: Engine, path: Path, items: Items, bad: BadRows) -> tuple[RawTable, Grouped]:
    """Return the rows of a file of pairs, and the histories that they make."""
    rows = _first_rows(path)
    header = _named(rows[0])
    if header:
        bad.count("header_line", 1)
        table = TextTable(path, TextForm()).load(engine, header, bad)
        user, item, *time = header
    else:
        ((size, _),) = Counter(map(len, rows)).most_common(1)
        if size not in (2, 3):
            raise DataError(
                f"{path}:1: expected {_PAIR_FORM}, found {size} columns; remove the others, or add a header"
            )
        names = (_FIRST, _SECOND, _THIRD)[:size]
        table = TextTable(path, TextForm(header=names)).load(engine, names, bad)
        require_rows(table, bad)
        user, item, *time = _told_apart(table, items)
    table = with_ids(table, user, item, bad)
    times = read_times(table, time[0], bad) if time else None
    return table, group_events(table, user, item, times, items, bad)


def _told_apart(table: RawTable, items: Items) -> tuple[str, ...]:
    """Return which columns of a file without a header hold users, items and, if there are any, times."""
    is_item = [f"avg(({table[column]} in (select id from {items.known}))::int)" for column in (_FIRST, _SECOND)]
    is_timed = f"bool_or({table[_THIRD]} <> '')" if _THIRD in table.columns else "false"
    first_rows = f"(select * from {table.name} order by rowid limit {_SAMPLED_ROWS})"
    ((*shares, timed),) = table.engine.rows(f"select {', '.join(is_item)}, {is_timed} from {first_rows}")
    # If user ids look like item ids, a few unknown items must not decide.
    if max(shares) < _LEAST_RATIO * min(shares) or not any(shares):
        held = f"{shares[0]:.1%} of the first column and {shares[1]:.1%} of the second are ids of {items.source}"
        raise DataError(
            f"{table.path}:1: expected {_PAIR_FORM}, found that {held}, so users and items cannot be distinguished; "
            "add a header such as user,item,timestamp"
        )
    columns = (_FIRST, _SECOND) if shares[1] > shares[0] else (_SECOND, _FIRST)
    return (*columns, _THIRD) if timed else columns


def _first_rows(path: Path) -> list[list[str]]:
    try:
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as stream:
            rows = [row for row in islice(csv.reader(stream), _SAMPLED_ROWS) if row]
    except OSError as error:
        raise unreadable(path, error) from None
    except csv.Error as error:
        raise DataError(f"{path}: expected {_PAIR_FORM}, found something else ({error}); check its source") from None
    if not rows:
        raise DataError(f"{path}: expected rows, found an empty file; check its source")
    return rows


def _named(first: list[str]) -> tuple[str, ...]:
    """Return the columns of users, items and, if there is one, times that a header names; none if it is no header."""
    names = [name.strip() for name in first]
    users, items, times = (
        list(filter(is_column, names)) for is_column in (is_user_column, is_item_column, is_time_column)
    )
    return (*users, *items, *times) if len(users) == 1 and len(items) == 1 and len(times) <= 1 else ()
