"""H&M purchases as published on Kaggle: `transactions_train.csv` and `articles.csv`, either of them also as Parquet.

Transactions need the columns `t_dat` (the day), `customer_id` and `article_id`. Each customer's events are sorted by
day; events of one day keep the order of the file. Article ids are strings: their leading zeros matter. The text of an
article is made from columns of `articles.csv`, by default `prod_name`.
"""

from pathlib import Path
from typing import Literal

from tcf.common.errors import DataError
from tcf.data.events.checked_items import Items, Pairs, check_items
from tcf.data.events.drop_repeats import without_repeats
from tcf.data.events.event_log import EventLog, Grouped
from tcf.data.events.timestamps import TimeReader
from tcf.data.raw.raw_log import RawLog
from tcf.data.tables.bad_rows import BadRows
from tcf.data.tables.open_table import open_table
from tcf.data.tables.source_file import require_folder
from tcf.data.tables.table import TableFile, joined_blocks
from tcf.data.tables.tsv_file import empty_strings
from tcf.data.text_template import Template, joined_columns

__all__ = ["hm_files", "read_hm"]

_USER, _ITEM, _DAY = "customer_id", "article_id", "t_dat"
_SUFFIXES = (".csv", ".csv.gz", ".parquet")
_TEXT = joined_columns(("prod_name",))


def hm_files(folder: Path) -> tuple[Path, Path]:
    """Find the files of the format in a folder: transactions, then articles.

    Raises:
        DataError: a file is missing, or exists in several formats.
    """
    require_folder(folder)
    return _the_file(folder, "transactions_train"), _the_file(folder, "articles")


def read_hm(
    folder: Path,
    *,
    bad_rows: Literal["error", "skip"],
    template: Template | None = None,
    collapse_repeats: bool = False,
    keep_times: bool = True,
) -> RawLog:
    """Read H&M's transactions and articles.

    Args:
        folder: the folder of the two files.
        bad_rows: raise an error at the first kind of unusable row, or skip and count such rows: `nul_byte`,
            `bad_utf8`, `wrong_columns`, `torn_quotes`, `empty_id`, `empty_text`, `duplicate_item`, `bad_timestamp`,
            `unknown_item`, `event_of_skipped_item`.
        template: the text of an item, made from columns of the articles; None takes `prod_name`.
        collapse_repeats: keep one of the events with the same customer, article and day; the others are counted as
            `repeats_within_day`.
        keep_times: whether to return times.

    Raises:
        ConfigError: `template` names a column that the articles lack.
        DataError: a file is missing, empty or in another format, or a row is unusable and not to be skipped.
    """
    events_path, items_path = hm_files(folder)
    bad = BadRows(bad_rows)
    articles, transactions = open_table(items_path), open_table(events_path)
    items = _read_articles(articles, template or _TEXT, bad)
    clock = TimeReader()
    log = _read_transactions(transactions, clock, items, bad, keep_times or collapse_repeats)
    if collapse_repeats:
        log, left_out = without_repeats(log, len(items.ids))
        bad.count("repeats_within_day", left_out)
    files = {table.path.name: table.sha256 for table in (transactions, articles)}
    times = None if log.times is None or not keep_times else clock.seconds(log.times)
    return RawLog(items.ids, items.texts, log.user_ids, log.offsets, log.items, bad.skipped, files, times)


def _the_file(folder: Path, stem: str) -> Path:
    found = [folder / f"{stem}{suffix}" for suffix in _SUFFIXES if (folder / f"{stem}{suffix}").is_file()]
    if len(found) == 1:
        return found[0]
    names = ", ".join(path.name for path in found) if found else "none of them"
    raise DataError(
        f"{folder}: expected exactly one of {', '.join(stem + suffix for suffix in _SUFFIXES)}, found {names}; name "
        "the folder with the unpacked files of the competition"
    )


def _read_articles(table: TableFile, template: Template, bad: BadRows) -> Items:
    template.check(table.columns, table.path)
    rows = joined_blocks(table.blocks(tuple(dict.fromkeys((_ITEM, *template.columns))), bad))
    return check_items(Pairs(table.path, rows.lines, rows.columns[_ITEM], template.fill(rows.columns), rows.unit), bad)


def _read_transactions(table: TableFile, clock: TimeReader, items: Items, bad: BadRows, keep_times: bool) -> Grouped:
    with EventLog(table.path, table.unit) as log:
        for block in table.blocks((_USER, _ITEM, _DAY), bad):
            users, articles = block.columns[_USER], block.columns[_ITEM]
            block = block.without(
                empty_strings(users) | empty_strings(articles), "empty_id", "a customer and an article id", bad
            )
            times, usable = clock.read(block.columns[_DAY])
            block = block.without(~usable, "bad_timestamp", clock.expected, bad)
            log.add(block.lines, block.columns[_USER], block.columns[_ITEM], times[usable])
        return log.histories(items, bad, keep_times=keep_times)
