"""One log written in every raw format."""

import csv
import gzip
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from small.data.raw import write_files
from tcf.config.raw_formats import RawFormat

__all__ = ["FORMS", "LOG", "MIN_HISTORY", "Form", "Log", "histories_left", "texts_left", "write_form"]

Kind = Literal["tabs", "csv", "colons", "pipes", "json", "parquet"]
Files = dict[str, bytes]
_DAY = 86_400
_START = 1_577_836_800  # 2020-01-01
MIN_HISTORY = 3


@dataclass(frozen=True)
class Log:
    """What a raw folder says.

    Attributes:
        items: id and title.
        events: user, item and time in seconds, as they stand in the file; an absent time is an empty string.
    """

    items: tuple[tuple[str, str], ...]
    events: tuple[tuple[str, str, int | str], ...]

    def with_title(self, item: str, title: str) -> "Log":
        """The same with another title of one item."""
        return replace(self, items=tuple((key, title if key == item else old) for key, old in self.items))


@dataclass(frozen=True)
class Form:
    """One way to write a log.

    Attributes:
        name: for people.
        format: what `tcf data prepare` calls it.
        kind: how rows and fields are divided.
        write: makes the files, first the events', then the items', not compressed.
        packed: whether they are then compressed with gzip.
        options: settings that the format needs.
        per_user: whether a line holds a whole history, without times of its own.
        dates: whether times are dates without a time of day.
        has_header: whether a text file of events has a header line.
        in_parts: whether there are further files of events, whose rows come before those of the first.
    """

    name: str
    format: RawFormat
    kind: Kind
    write: Callable[[Log], Files]
    packed: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    per_user: bool = False
    dates: bool = False
    has_header: bool = False
    in_parts: bool = False

    def __str__(self) -> str:
        return self.name

    @property
    def is_text(self) -> bool:
        """Whether its files are read as lines."""
        return self.kind != "parquet"


def histories_left(log: Log, without: frozenset[str] = frozenset()) -> dict[str, list[str]]:
    """Each user's items, oldest first, of the users with three or more, `without` some items."""
    found: dict[str, list[tuple[int, str]]] = {}
    for user, item, time in log.events:
        if item not in without and not isinstance(time, str):
            found.setdefault(user, []).append((time, item))
    ordered = {user: [item for _, item in sorted(events, key=lambda at: at[0])] for user, events in found.items()}
    return {user: items for user, items in ordered.items() if len(items) >= MIN_HISTORY}


def texts_left(log: Log, without: frozenset[str] = frozenset()) -> dict[str, str]:
    """The titles of the items in those histories, in the order of the file."""
    seen = {item for items in histories_left(log, without).values() for item in items}
    return {item: title for item, title in log.items if item in seen}


def write_form(form: Form, folder: Path, files: Files) -> Path:
    """Put files into a folder, compressed if the form is."""
    return write_files(folder, {k: gzip.compress(v, 1, mtime=0) if form.packed else v for k, v in files.items()})


def _lines(rows: list[list[str]], between: str, header: str = "") -> bytes:
    return (header + "".join(between.join(row) + "\n" for row in rows)).encode()


def _csv(rows: list[list[str]], header: list[str]) -> bytes:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows([header, *rows])
    return stream.getvalue().encode()


def _json(rows: list[list[Any]], keys: list[str]) -> bytes:
    return "".join(json.dumps(dict(zip(keys, row, strict=True)), ensure_ascii=False) + "\n" for row in rows).encode()


def _parquet(rows: list[list[Any]], names: list[str]) -> bytes:
    columns = [[None if value == "" else value for value in column] for column in zip(*rows, strict=True)]
    stream = io.BytesIO()
    pq.write_table(pa.table(columns, names=names), stream)
    return stream.getvalue()


def _items(log: Log) -> list[list[str]]:
    return [list(item) for item in log.items]


def _events(log: Log) -> list[list[str]]:
    return [[user, item, str(time)] for user, item, time in log.events]


def _days(log: Log) -> list[list[str]]:
    days = {time: datetime.fromtimestamp(time, UTC).date().isoformat() for *_, time in log.events if time != ""}  # type: ignore[arg-type]
    return [[day, user, item] for user, item, time in log.events for day in [days.get(time, "")]]


def _by_user(log: Log) -> dict[str, list[str]]:
    users: dict[str, list[str]] = {}
    for user, item, _ in log.events:
        users.setdefault(user, []).append(item)
    return users


def _tcf(log: Log) -> Files:
    rows = [[user, " ".join(items)] for user, items in _by_user(log).items()]
    return {"behaviors.tsv": _lines(rows, "\t"), "items.tsv": _lines(_items(log), "\t")}


def _recbole(log: Log) -> Files:
    header = "user_id:token\titem_id:token\ttimestamp:float\n"
    items = _lines(_items(log), "\t", "item_id:token\ttitle:token_seq\n")
    return {"x.inter": _lines(_events(log), "\t", header), "x.item": items}


def _recbole_split(log: Log) -> Files:
    """The events of the last days for test and the others for training, and the items."""
    late = [event for event in log.events if event[2] != "" and int(event[2]) >= _START + 20 * _DAY]
    early = [event for event in log.events if event not in late]
    test, train = (_recbole(replace(log, events=tuple(events))) for events in (late, early))
    return {"x.test.inter": test["x.inter"], "x.item": test["x.item"], "x.train.inter": train["x.inter"]}


def _recbole_lists(log: Log) -> Files:
    """Every row has the user's items before it, and the times of these."""
    rows = []
    for user, item, time in log.events:
        timed = [(int(when), what) for who, what, when in log.events if who == user and when != ""]
        before = sorted(event for event in timed if time != "" and event[0] < int(time))
        rows.append(
            [user, item, str(time), " ".join(what for _, what in before), " ".join(str(at) for at, _ in before)]
        )
    header = "user_id:token\titem_id:token\ttimestamp:float\titem_id_list:token_seq\ttimestamp_list:float_seq\n"
    return {**_recbole(log), "x.inter": _lines(rows, "\t", header)}


def _mind(log: Log) -> Files:
    """The last item of each user is a click, the others are the history."""
    rows = [
        ["1", user, "11/12/2019 2:14:46 PM", " ".join(items[:-1]), f"{log.items[0][0]}-0 {items[-1]}-1"]
        for user, items in _by_user(log).items()
    ]
    news = [[item, "news", "local", title, "abstract", "https://x", "[]", "[]"] for item, title in log.items]
    return {"behaviors.tsv": _lines(rows, "\t"), "news.tsv": _lines(news, "\t")}


def _hm(log: Log) -> Files:
    return {
        "transactions_train.csv": _csv(_days(log), ["t_dat", "customer_id", "article_id"]),
        "articles.csv": _csv(_items(log), ["article_id", "prod_name"]),
    }


def _hm_packed(log: Log) -> Files:
    return {f"{name}.gz": content for name, content in _hm(log).items()}


def _hm_parquet(log: Log) -> Files:
    return {
        "transactions_train.parquet": _parquet(_days(log), ["t_dat", "customer_id", "article_id"]),
        "articles.parquet": _parquet(_items(log), ["article_id", "prod_name"]),
    }


def _ratings(log: Log) -> list[list[str]]:
    return [[user, item, "4", time] for user, item, time in _events(log)]


def _ml_100k(log: Log) -> Files:
    films = [[item, title, "01-Jan-1995", "", "http://x", *"0000000000000000001"] for item, title in log.items]
    return {
        "u.data": _lines(_ratings(log), "\t"),
        "u.item": _lines(films, "|").decode().encode("latin-1", "replace"),
    }


def _ml_1m(log: Log) -> Files:
    films = [[item, title, "Drama"] for item, title in log.items]
    return {"ratings.dat": _lines(_ratings(log), "::"), "movies.dat": _lines(films, "::")}


def _ml_csv(log: Log) -> Files:
    films = [[item, title, "Drama"] for item, title in log.items]
    return {
        "ratings.csv": _csv(_ratings(log), ["userId", "movieId", "rating", "timestamp"]),
        "movies.csv": _csv(films, ["movieId", "title", "genres"]),
    }


def _amazon_2018(log: Log) -> Files:
    reviews = [[user, item, time, 5.0] for user, item, time in log.events]
    return {
        "Toys_5.json.gz": _json(reviews, ["reviewerID", "asin", "unixReviewTime", "overall"]),
        "meta_Toys.json.gz": _json([[*item, ["a", "b"]] for item in log.items], ["asin", "title", "category"]),
    }


def _amazon_2023(log: Log) -> Files:
    reviews = [[user, item, time if time == "" else int(time) * 1000, 5.0] for user, item, time in log.events]
    return {
        "Toys.jsonl": _json(reviews, ["user_id", "parent_asin", "timestamp", "rating"]),
        "meta_Toys.jsonl": _json(_items(log), ["parent_asin", "title"]),
    }


def _amazon_csv(log: Log) -> Files:
    rows = [[user, item, "5.0", f"{time}000" if time else ""] for user, item, time in _events(log)]
    header = ["user_id", "parent_asin", "rating", "timestamp"]
    return {"Toys.csv": _csv(rows, header), "meta_Toys.jsonl": _amazon_2023(log)["meta_Toys.jsonl"]}


_COLUMNS = ["who", "what", "when"]
_TABLE = {"user_column": "who", "item_column": "what", "time_column": "when", "template": "{title}"}


def _table_csv(log: Log) -> Files:
    return {"events.csv": _csv(_events(log), _COLUMNS), "items.csv": _csv(_items(log), ["what", "title"])}


def _table_parts(log: Log) -> Files:
    """The later half of the events and the earlier one, without headers, and the items."""
    rows = _csv(_events(log), []).split(b"\n", 1)[1].splitlines(keepends=True)
    middle = len(log.events) // 2
    return {
        "part-1.csv": b"".join(rows[middle:]),
        "items.csv": _csv(_items(log), ["what", "title"]),
        "part-0.csv": b"".join(rows[:middle]),
    }


def _table_json(log: Log) -> Files:
    return {
        "events.jsonl": _json([list(event) for event in log.events], _COLUMNS),
        "items.jsonl": _json(_items(log), ["what", "title"]),
    }


def _table_parquet(log: Log) -> Files:
    return {
        "events.parquet": _parquet([list(event) for event in log.events], _COLUMNS),
        "items.parquet": _parquet(_items(log), ["what", "title"]),
    }


_PARTS = {**_TABLE, "events": ("part-0.csv", "part-1.csv"), "items": "items.csv", "header": ",".join(_COLUMNS)}


def _named(suffix: str) -> dict[str, Any]:
    return {**_TABLE, "events": f"events{suffix}", "items": f"items{suffix}"}


FORMS = (
    Form("tcf", "tcf", "tabs", _tcf, per_user=True),
    Form("recbole", "recbole", "tabs", _recbole, has_header=True),
    Form("recbole-split", "recbole", "tabs", _recbole_split, has_header=True, in_parts=True),
    Form("recbole-lists", "recbole", "tabs", _recbole_lists, has_header=True),
    Form("mind", "mind", "tabs", _mind, per_user=True),
    Form("hm", "hm", "csv", _hm, dates=True, has_header=True),
    Form("hm-gzip", "hm", "csv", _hm_packed, packed=True, dates=True, has_header=True),
    Form("hm-parquet", "hm", "parquet", _hm_parquet, dates=True),
    Form("ml-100k", "movielens", "pipes", _ml_100k),
    Form("ml-1m", "movielens", "colons", _ml_1m),
    Form("ml-csv", "movielens", "csv", _ml_csv, has_header=True),
    Form("amazon-2018", "amazon", "json", _amazon_2018, packed=True),
    Form("amazon-2023", "amazon", "json", _amazon_2023),
    Form("amazon-csv", "amazon", "csv", _amazon_csv, has_header=True),
    Form("table-csv", "table", "csv", _table_csv, options=_named(".csv"), has_header=True),
    Form("table-parts", "table", "csv", _table_parts, options=_PARTS, in_parts=True),
    Form("table-json", "table", "json", _table_json, options=_named(".jsonl")),
    Form("table-parquet", "table", "parquet", _table_parquet, options=_named(".parquet")),
)

# Ids that tables are wont to take for numbers or for nothing; every event on a day of its own.
_ITEM_IDS = ("000123", "NaN", "None", "123", "null", "1e5", "spare")
_USERS = {"007": "000123 NaN None 123", "7": "123 null 1e5", "nan": "NaN NaN 000123 null", "None": "1e5 spare None 123"}
LOG = Log(
    items=tuple((item, f"Title {place} of {item}") for place, item in enumerate(_ITEM_IDS)),
    # Users take turns, so that their rows lie scattered where each event has one.
    events=tuple(
        (user, items.split()[turn], _START + _DAY * (10 * turn + place))
        for turn in range(4)
        for place, (user, items) in enumerate(_USERS.items())
        if turn < len(items.split())
    ),
)
