"""MIND, the Microsoft News Dataset, as published: folders with `news.tsv` and `behaviors.tsv`.

The raw folder is one of these folders (`MINDsmall_train`, `MINDlarge_dev`, ...) or contains several. Both files are
tab-separated without a header; quotes are ordinary characters.

`news.tsv`: id, category, subcategory, title, abstract, url, title_entities, abstract_entities. The text is the title,
or is made by a template from these columns. If several folders have an article, the first one in the order of their
names is used; rows that repeat its text are counted as `duplicate_item`, rows with another text as
`duplicate_item_other_text`.

`behaviors.tsv`: impression id, user, time, history (news ids, oldest first), impressions (`N1-1` clicked, `N2-0` not;
the test folders have neither -1 nor -0, so none of their impressions count as clicked).

**A user's history** is the longest history in any of the user's rows, followed by the clicks that it does not contain:

1. The rows of all folders are sorted by time; rows of one time are sorted by folder name, then line. Of a user's rows
   with the longest history, the first is used. In the published files a history is the clicks of the weeks before the
   period of the folder, so it is the same in nearly all rows of a user in a folder, and longer in a later folder.
   Shorter histories are its beginning, and are not read; if one is not, the user has had its items all the same, and
   they are noted (`RawLog.others`).
2. A click in that row or a later one happened after the history was recorded, so it is appended.
3. A click before that row may be in its history. If the history contains the item, the click is one of the history's
   events and is left out (`click_in_later_history`). Each occurrence in the history matches one click, the earliest
   clicks first, so an item that was clicked twice and occurs once in the history appears twice. If the history does
   not contain the item, the click is appended with the others.
4. The appended clicks are in the order of their rows, and within a row in the order of its impressions.

A user may have clicked an article long before the files begin, so that it is in the history, and again in a row before
that of the longest history. The occurrence is then matched with the click in the files: an event may be missed if an
article is read again, but none is counted twice.

**Times.** A click has the time of its row. The times of the events in a history are not published, only bounds: the
time of the user's first row whose history is long enough to contain the event (the user's first row, if histories do
not grow), the time of the click that an item is matched with, and the times of the items after it. An item gets the
earliest of these times. So a split by time trains on nothing that happened after its date. A click that is appended to
a history published later gets the time of the history's last item. Events of news that no `news.tsv` contains are left
out and counted as `unknown_item`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tcf.common.errors import DataError
from tcf.common.ragged import offsets_from
from tcf.data.events.group_events import collect_had
from tcf.data.events.had_items import note_had
from tcf.data.events.html_references import text_columns
from tcf.data.events.items import require_rows
from tcf.data.histories import Histories
from tcf.data.raw.mind.merge_histories import merge_histories
from tcf.data.raw.raw_log import RawLog
from tcf.data.tables.bad_rows import BadRows, skipped_words
from tcf.data.tables.engine import Engine
from tcf.data.tables.source_file import require_folder
from tcf.data.tables.table import RawTable
from tcf.data.tables.text_form import TextForm
from tcf.data.tables.text_table import TextTable
from tcf.data.text_template import Template, joined_columns

__all__ = ["mind_files", "read_mind"]

_BEHAVIORS, _NEWS = "behaviors.tsv", "news.tsv"
_NEWS_COLUMNS = ("id", "category", "subcategory", "title", "abstract", "url", "title_entities", "abstract_entities")
_ROW_COLUMNS = ("impression", "user", "time", "history", "impressions")
_EDITIONS = ("mindsmall", "mindlarge")
_TIME_FORMAT = "%m/%d/%Y %I:%M:%S %p"
_TIME_FORM = "a time such as 11/12/2019 2:14:46 PM"
_IMPRESSION_FORM = "impressions such as `N1-1 N2-0`, or ids none of which has -1 or -0"
# Control characters do not belong in a list of ids, and separate them as a space does.
_SPACE, _ID = r"[\x01-\x20]", r"[^\x01-\x20]+"
_LABEL, _LABELLED = f"-[01]({_SPACE}|$)", f"({_ID}-[01] )*{_ID}-[01]"


def mind_files(raw: Path) -> tuple[Path, ...]:
    """Find the files of the format in a folder and up to two levels below: both files of each published folder.

    Raises:
        DataError: there are none, one of a pair is missing, or there are folders of both MINDsmall and MINDlarge.
    """
    expected = f"expected {_BEHAVIORS} and {_NEWS}, or folders that hold them (MINDsmall_train, MINDsmall_dev, ...)"
    require_folder(raw)
    folders = sorted(file.parent for pattern in ("", "*/", "*/*/") for file in raw.glob(pattern + _BEHAVIORS))
    if not folders:
        raise DataError(f"{raw}: {expected}, found neither; name the folder that holds them")
    for folder in folders:
        if not (folder / _NEWS).is_file():
            raise DataError(f"{folder}: expected {_NEWS} next to {_BEHAVIORS}, found none; unpack the whole folder")
    editions = {edition for folder in folders for edition in _EDITIONS if folder.name.lower().startswith(edition)}
    if len(editions) > 1:
        raise DataError(
            f"{raw}: expected folders of one edition, found {', '.join(folder.name for folder in folders)}; MINDsmall "
            "is a part of MINDlarge, and its clicks would count twice: move one of them elsewhere"
        )
    return tuple(folder / name for folder in folders for name in (_BEHAVIORS, _NEWS))


def read_mind(
    engine: Engine,
    raw: Path,
    *,
    bad_rows: Literal["error", "skip"],
    template: Template | None = None,
    unescape_html: bool = False,
) -> RawLog:
    """Read the published folders of MIND.

    Args:
        engine: reads and orders the rows; it has no tables yet.
        raw: one published folder, or the parent of several.
        bad_rows: raise an error at the first kind of unusable row, or skip and count such rows: `nul_byte`,
            `bad_utf8`, `wrong_columns`, `empty_id`, `empty_text`, `bad_timestamp`, `bad_impression`.
        template: the text of an item, made from the columns of `news.tsv`; None takes the title.
        unescape_html: whether character references in texts become characters.

    Raises:
        ConfigError: `template` names a column that `news.tsv` lacks.
        DataError: a file is missing, empty, in another format, a copy of another or changes while it is read, or a row
            is unusable and not to be skipped.
    """
    files, bad = mind_files(raw), BadRows(bad_rows)
    template = template or joined_columns(["title"])
    news = [_load_news(engine, file, template, bad, unescape_html) for file in files[1::2]]
    item_ids, texts = _distinct_news(engine, files[1], bad)
    tables = [_load_rows(engine, file, bad) for file in files[::2]]
    _refuse_copies(tables)
    if not any(len(table) for table in tables):
        require_rows(tables[0], bad)
    checksums = {
        path.relative_to(raw).as_posix(): sha256 for table in (*tables, *news) for path, sha256 in table.files.items()
    }
    user_ids = _number_users(engine, tables)
    log = merge_histories(engine, user_ids, bad)
    known = _known(log.items, len(item_ids), files[0], bad)
    offsets = offsets_from(known.astype(np.int64))[log.offsets]
    times = None if log.times is None else log.times[known]
    others = _others(engine, user_ids, len(item_ids))
    return RawLog(item_ids, texts, user_ids, offsets, log.items[known], bad.skipped, checksums, times, others=others)


def _load_news(engine: Engine, path: Path, template: Template, bad: BadRows, unescape_html: bool) -> RawTable:
    """Add the ids and texts of a `news.tsv` to the table `texts`, which has empty ones too."""
    template.check(_NEWS_COLUMNS, path)
    form = TextForm("\t", quoting=False, header=_NEWS_COLUMNS)
    table = TextTable(path, form).load(engine, tuple(dict.fromkeys(("id", *template.columns))), bad)
    table, columns = text_columns(table, template.columns, unescape_html)
    news_id, text = table["id"], template.text(columns)
    shown = f"{news_id} || chr(9) || {text}"
    table.reject(f"{news_id} = ''", "empty_id", "a news id", bad, shown)
    engine.run("create temp table if not exists texts (id varchar, text varchar)")
    engine.run(f"insert into texts select {news_id}, {text} from {table.name} order by rowid")
    table.reject(f"{text} = ''", "empty_text", "news with a text", bad, shown)
    return table


def _distinct_news(engine: Engine, path: Path, bad: BadRows) -> "tuple[pa.LargeStringArray, pa.LargeStringArray]":
    """Number news by their first rows in the table `news`, and return the ids and texts, (n_items,) both.

    News without a text follow the others, so that their events can be distinguished from those of unknown news.
    """
    engine.run(
        "create temp table news as "
        "select id, text, (row_number() over (order by first nulls last) - 1)::int as item from ("
        "select id, min(rowid) filter (text <> '') as first, arg_min(text, rowid) filter (text <> '') as text "
        "from texts group by id)"
    )
    ids, texts = engine.strings("select id, text from news where text is not null order by item")
    if len(ids) == 0:
        raise DataError(
            f"{path}: expected news, found none that can be used (skipped: {skipped_words(bad.skipped)}); check the "
            "file"
        )
    again = "select count(*) from texts join news using (id) where texts.text <> '' and texts.text"
    bad.count("duplicate_item", engine.number(f"{again} = news.text") - len(ids))
    bad.count("duplicate_item_other_text", engine.number(f"{again} <> news.text"))
    return ids, texts


def _load_rows(engine: Engine, path: Path, bad: BadRows) -> RawTable:
    """Load the rows of a `behaviors.tsv`, with one space between the ids of a history, and between labelled ones."""
    form = TextForm("\t", quoting=False, header=_ROW_COLUMNS)
    table = TextTable(path, form).load(engine, _ROW_COLUMNS[1:], bad)
    user, time, history, impressions = table.columns.values()
    table.reject(f"{user} = ''", "empty_id", "a user id", bad, user)
    table.reject(f"try_strptime({time}, '{_TIME_FORMAT}') is null", "bad_timestamp", _TIME_FORM, bad, time)
    mixed = f"regexp_matches({impressions}, '{_LABEL}') and not regexp_full_match({impressions}, '{_LABELLED}')"
    irregular = f"contains({history}, '  ') or regexp_matches({history}, '[\\x01-\\x1f]')"
    engine.run(f"update {table.name} set {history} = {_single_spaces(history)} where {irregular}")
    if engine.number(f"select count(*) from {table.name} where {mixed}"):
        engine.run(f"update {table.name} set {impressions} = {_single_spaces(impressions)} where {mixed}")
        table.reject(mixed, "bad_impression", _IMPRESSION_FORM, bad, impressions)
    return table


def _single_spaces(ids: str) -> str:
    """Return an expression in SQL for a list of ids with one space between them."""
    return f"trim(regexp_replace({ids}, '{_SPACE}+', ' ', 'g'), ' ')"


def _refuse_copies(tables: Sequence[RawTable]) -> None:
    first: dict[str, Path] = {}
    for table in tables:
        sha256 = table.files[table.path]
        if sha256 in first:
            raise DataError(
                f"{table.path}: expected a file of its own, found a copy of {first[sha256]}, whose clicks would count "
                "twice; move one of the two folders elsewhere"
            )
        first[sha256] = table.path


def _number_users(engine: Engine, tables: Sequence[RawTable]) -> "pa.LargeStringArray":
    """Return the ids of users, (n_users,), and replace the tables by those that `merge_histories` needs."""
    for step in (
        f"create temp view published as {' union all '.join(map(_rows_of, range(len(tables)), tables))}",
        "create temp table users as select id, (row_number() over (order by min(line)) - 1)::int as u "
        "from published group by id",
        "create temp table shown as select u, line, t, n, row_number() over (order by t, line) as place "
        "from published join users using (id)",
        "create temp table clicks as select u, t, place, pos, id, item from ("
        "select line, unnest(clicks) as id, generate_subscripts(clicks, 1) as pos from published"
        ") join (select line, u, t, place from shown) using (line) left join news using (id)",
        "create temp table longest as select u, n, place, history from ("
        "select distinct on (u) u, line, n, place from shown order by u, n desc, place"
        ") join (select line, history from published) using (line)",
        "create temp table strays as select distinct u, published.history from published join shown using (line) "
        "join longest using (u) where not starts_with(longest.history || ' ', published.history || ' ') "
        "and published.history <> ''",
        "drop view published",
        *(f"drop table {table.name}" for table in tables),
    ):
        engine.run(step)
    return engine.strings("select id from users order by u")[0]


def _others(engine: Engine, user_ids: "pa.LargeStringArray", n_items: int) -> Histories | None:
    """Return the items of histories that are no beginning of the user's longest one."""
    if engine.number("select count(*) from strays"):
        note_had(engine, "select id, unnest(string_split(history, ' ')) from strays join users using (u)")
    engine.run("create temp view numbered_users as select id, u as number from users")
    engine.run(f"create temp view readable as select id, item as number from news where item < {n_items}")
    return collect_had(engine, "numbered_users", "readable", user_ids)


def _rows_of(place: int, table: RawTable) -> str:
    """Return a query for the rows of a folder; `line` rises with the folders and their rows."""
    user, time, history, impressions = table.columns.values()
    before_labels = f"string_split({impressions} || ' ', '-1 ')[:-2]"
    return (
        f"select {place << 40} + rowid as line, {user} as id, {history} as history, "
        f"epoch(strptime({time}, '{_TIME_FORMAT}'))::bigint as t, "
        f"case when {history} = '' then 0 else len(string_split({history}, ' ')) end as n, "
        f"list_transform({before_labels}, lambda x: regexp_extract(x, '[^ ]+$')) as clicks from {table.name}"
    )


def _known(items: npt.NDArray[np.int32], n_items: int, path: Path, bad: BadRows) -> npt.NDArray[np.bool_]:
    """Return which events are of usable news, (nnz,); the others are counted."""
    known = (items >= 0) & (items < n_items)
    if len(known) and not known.any():
        raise DataError(
            f"{path}: expected news ids that {_NEWS} contains, found none in {len(known)} events; check that the files "
            "belong together"
        )
    bad.count("event_of_skipped_item", int((items >= n_items).sum()))
    bad.count("unknown_item", int((items < 0).sum()))
    return known
