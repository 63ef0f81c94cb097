"""H&M purchases as published on Kaggle: `transactions_train.csv` and `articles.csv`, either of them also as Parquet.

Transactions need the columns `t_dat` (the day), `customer_id` and `article_id`. Each customer's events are sorted by
day; events of one day keep the order of the file. Article ids are strings: their leading zeros matter. The text of an
article is made from columns of `articles.csv`, by default `prod_name`.
"""

from pathlib import Path
from typing import Literal

from tcf.common.errors import DataError
from tcf.data.events.group_events import group_events, with_ids
from tcf.data.events.html_references import text_columns
from tcf.data.events.items import read_items
from tcf.data.events.timestamps import read_times
from tcf.data.raw.raw_log import RawLog
from tcf.data.tables.bad_rows import BadRows
from tcf.data.tables.engine import Engine
from tcf.data.tables.open_table import open_table
from tcf.data.tables.source_file import require_folder
from tcf.data.text_template import Template, joined_columns

__all__ = ["hm_files", "read_hm"]

_USER, _ITEM, _DAY = "customer_id", "article_id", "t_dat"
_SUFFIXES = (".csv", ".csv.gz", ".csv.zst", ".parquet")
_TEXT = joined_columns(("prod_name",))


def hm_files(folder: Path) -> tuple[Path, Path]:
    """Find the files of the format in a folder: transactions, then articles.

    Raises:
        DataError: a file is missing, or exists in several formats.
    """
    require_folder(folder)
    return _the_file(folder, "transactions_train"), _the_file(folder, "articles")


def read_hm(
    engine: Engine,
    folder: Path,
    *,
    bad_rows: Literal["error", "skip"],
    template: Template | None = None,
    unescape_html: bool = False,
    collapse_repeats: bool = False,
    keep_times: bool = True,
) -> RawLog:
    """Read H&M's transactions and articles.

    Args:
        engine: reads and orders them.
        folder: the folder of the two files.
        bad_rows: raise an error at the first kind of unusable row, or skip and count such rows: `nul_byte`,
            `bad_utf8`, `wrong_columns`, `torn_quotes`, `quote_over_rows`, `empty_id`, `empty_text`, `duplicate_item`,
            `bad_timestamp`, `unknown_item`, `event_of_skipped_item`.
        template: the text of an item, made from columns of the articles; None takes `prod_name`.
        unescape_html: whether character references in texts become characters.
        collapse_repeats: keep one of the events with the same customer, article and day; the others are counted as
            `repeats_within_day`.
        keep_times: whether to return times.

    Raises:
        ConfigError: `template` names a column that the articles lack.
        DataError: a file is missing, empty or in another format, or a row is unusable and not to be skipped.
    """
    events_path, items_path = hm_files(folder)
    bad, template = BadRows(bad_rows), template or _TEXT
    articles, transactions = open_table(items_path), open_table(events_path)
    template.check(articles.columns, articles.path)
    rows = articles.load(engine, tuple(dict.fromkeys((_ITEM, *template.columns))), bad)
    rows, columns = text_columns(rows, template.columns, unescape_html)
    items = read_items(rows, rows[_ITEM], template.text(columns), bad)
    events = transactions.load(engine, (_USER, _ITEM, _DAY), bad)
    events = with_ids(events, _USER, _ITEM, bad, "a customer and an article id")
    times = read_times(events, _DAY, bad)
    once = "repeats_within_day" if collapse_repeats else None
    log = group_events(events, _USER, _ITEM, times, items, bad, keep_times=keep_times, once=once)
    return RawLog.of(items, log, bad.skipped, (events, rows))


def _the_file(folder: Path, stem: str) -> Path:
    found = [folder / f"{stem}{suffix}" for suffix in _SUFFIXES if (folder / f"{stem}{suffix}").is_file()]
    if len(found) == 1:
        return found[0]
    names = ", ".join(path.name for path in found) if found else "none of them"
    raise DataError(
        f"{folder}: expected exactly one of {', '.join(stem + suffix for suffix in _SUFFIXES)}, found {names}; name "
        "the folder with the unpacked files of the competition"
    )
