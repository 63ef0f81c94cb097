"""Tables of any origin, row by row; and the real invoices of an online shop, where available."""

import json
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from small.data.raw import histories_of, texts_of, with_engine, write_files
from tcf.common.errors import ConfigError, DataError
from tcf.config.prepare import PrepareConfig
from tcf.data.prepare import prepare
from tcf.data.raw.any_table.read_table import read_table
from tcf.data.raw.any_table.table_options import TableOptions, TextOptions, parse_drop, table_options
from tcf.data.raw.raw_log import RawLog
from tcf.data.text_template import parse_template

ITEMS = 'key,title,brand\n007,"A, b",X\nNaN,Beta,\nNone,Gamma,Z\n'
EVENTS = (
    "who,what,when,kind\n"
    "u1,007,2020-01-02,buy\n"
    "u2,None,2020-01-02,buy\n"
    "u1,NaN,2020-01-01,buy\n"
    "u1,None,2020-01-02,return\n"
    "u1,None,2020-01-02,buy\n"
)
OPTIONS = TableOptions(("events.csv",), "who", "what", "when", ("items.csv",), "key")
HISTORIES = {"u1": ["NaN", "007", "None", "None"], "u2": ["None"]}
TEXTS = {"007": "A, b", "NaN": "Beta", "None": "Gamma"}
DAY = 86_400
FIRST = 18_262 * DAY  # 2020-01-01

SHOP = Path(__file__).parents[5] / "shared" / "data" / "online-retail"


def read(
    path: Path,
    options: TableOptions = OPTIONS,
    template: str = "{title}",
    bad_rows: Literal["error", "skip"] = "error",
    **files: str,
) -> RawLog:
    contents = {"events.csv": EVENTS, "items.csv": ITEMS, **{f"{name}.csv": text for name, text in files.items()}}
    write_files(path, contents)
    return with_engine(read_table)(path, bad_rows=bad_rows, template=parse_template(template), options=options)


def test_events_by_time_then_in_file_order_ids_as_they_are_written(tmp_path: Path) -> None:
    log = read(tmp_path)
    assert list(histories_of(log).items()) == list(HISTORIES.items())
    assert list(texts_of(log).items()) == list(TEXTS.items())
    assert log.times is not None
    assert log.times.tolist() == [FIRST, FIRST + DAY, FIRST + DAY, FIRST + DAY, FIRST + DAY]
    assert (log.skipped, sorted(log.files)) == ({}, ["events.csv", "items.csv"])


def test_without_a_time_column_the_file_order_stands(tmp_path: Path) -> None:
    log = read(tmp_path, replace(OPTIONS, time_column=None))
    assert histories_of(log) == {"u1": ["007", "NaN", "None", "None"], "u2": ["None"]}
    assert log.times is None


def test_rows_are_left_out_and_counted_by_option(tmp_path: Path) -> None:
    drops = tuple(parse_drop(written) for written in ("kind=ret*", "what=N?N", "brand=Z", "kind=r*"))
    log = read(tmp_path, replace(OPTIONS, drops=drops), bad_rows="skip")
    assert histories_of(log) == {"u1": ["007"], "u2": []}
    assert log.item_ids.to_pylist() == ["007", "NaN"]
    counts = {"drop kind=ret*": 1, "drop what=N?N": 1, "drop brand=Z": 1, "drop kind=r*": 1, "event_of_skipped_item": 2}
    assert log.skipped == counts


@pytest.mark.parametrize(
    ("glob", "value", "fits"),
    [
        ("C*", "C536379", True),
        ("C*", "c536379", False),
        ("C*", "XC1", False),
        ("M", "M", True),
        ("M", "MM", False),
        ("M", "M\n", False),
        ("a.c", "abc", False),
        ("a?c", "aéc", True),
        ("*(x)*", "a(x)\nb", True),
        ("", "", True),
        ("[ab]", "a", False),
        ("[ab]", "[ab]", True),
        ("x=y", "x=y", True),
    ],
)
def test_globs(tmp_path: Path, glob: str, value: str, fits: bool) -> None:
    table = pa.table({"u": ["u", "u"], "i": ["i", "i"], "t": ["T", "T"], "d": [value, "kept"]})
    pq.write_table(table, tmp_path / "x.parquet")
    drop = parse_drop(f"d={glob}")
    options = TableOptions(("x.parquet",), "u", "i", drops=(drop,))
    # White space at the ends of fields is no part of them.
    if fits or value.strip() == glob:
        log = with_engine(read_table)(tmp_path, bad_rows="error", template=parse_template("{t}"), options=options)
        assert len(log.items) == 1
    else:
        with pytest.raises(ConfigError, match="--drop: expected rows with"):
            with_engine(read_table)(tmp_path, bad_rows="error", template=parse_template("{t}"), options=options)


def test_items_in_the_rows_of_events(tmp_path: Path) -> None:
    events = (
        "user,item,name,t\n"
        "u1,a,damaged?,3\n"
        "u1,b,Beta,2\n"
        "u2,a,Alpha,1\n"
        ",a,Alpha,1\n"
        "u2,b,beta,5\n"
        "u2,c,,4\n"
        "u1,c,Gamma,1\n"
        "u2,d,,9\n"
    )
    options = TableOptions(("events.csv",), "user", "item", "t")
    log = read(tmp_path, options, "{name}", "skip", events=events)
    assert texts_of(log) == {"a": "Alpha", "b": "Beta", "c": "Gamma"}
    assert histories_of(log) == {"u1": ["c", "b", "a"], "u2": ["a", "c", "b"]}
    assert log.skipped == {"empty_id": 1, "other_item_text": 2, "empty_text": 1, "event_of_skipped_item": 1}
    assert list(log.files) == ["events.csv"]
    with pytest.raises(DataError, match=r"events.csv:5: expected a user id and an item id, found user '', item 'a',"):
        read(tmp_path, options, "{name}", events=events)


def test_the_line_of_an_item_without_a_text_is_its_first(tmp_path: Path) -> None:
    events = "user,item,name\nu,a,Alpha\nu,b,\nu,b,\n"
    with pytest.raises(DataError, match=r"events.csv:3: expected an item with a text, found 'b\\t'; 1 of this kind"):
        read(tmp_path, TableOptions(("events.csv",), "user", "item"), "{name}", events=events)


def test_further_rows_of_an_item_in_a_file_of_items_are_counted(tmp_path: Path) -> None:
    items = ITEMS + "007,Other,X\nNaN,Beta,\nNone,,Q\n"
    log = read(tmp_path, items=items)
    assert texts_of(log) == TEXTS
    assert log.skipped == {"other_item_text": 1, "duplicate_item": 2}


def test_delimiters_templates_and_types_of_files(tmp_path: Path) -> None:
    write_files(tmp_path, {"e.txt": EVENTS.replace(",", "|")})
    items = "key|title|brand\n007|A|X\nNaN|Beta|\nNone|Gamma|Z\n"
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "items.txt").write_text(items)
    options = replace(OPTIONS, events=("e.txt",), items=("below/items.txt",), text=TextOptions(delimiter="|"))
    log = read(tmp_path, options, "{title} by {brand}")
    assert texts_of(log) == {"007": "A by X", "NaN": "Beta", "None": "Gamma by Z"}
    assert histories_of(log) == HISTORIES
    assert sorted(log.files) == ["below/items.txt", "e.txt"]


@pytest.mark.parametrize(
    ("options", "template", "message"),
    [
        (
            replace(OPTIONS, user_column="user"),
            "{title}",
            r"--user-column: .*events.csv: expected one of its columns \(who.*, found user",
        ),
        (
            replace(OPTIONS, item_column="item"),
            "{title}",
            r"--item-column: .*events.csv: expected one of its columns \(.*\), found item",
        ),
        (
            replace(OPTIONS, time_column="time"),
            "{title}",
            r"--time-column: .*events.csv: expected one of its columns \(.*\), found time",
        ),
        (
            replace(OPTIONS, item_id_column="id"),
            "{title}",
            r"--item-id-column: .*items.csv: expected one of its columns \(key.*, found id",
        ),
        (
            replace(OPTIONS, item_id_column=None),
            "{title}",
            r"--item-id-column: .*items.csv: expected one of its columns \(.*\), found what",
        ),
        (
            replace(OPTIONS, drops=(parse_drop("Kind=1"),)),
            "{title}",
            r"--drop: no file has a column Kind: .* kind; .*items.csv has key, title, brand; did you mean kind\?$",
        ),
        (
            replace(OPTIONS, user_column="whom"),
            "{title}",
            r"expected one of its columns \(who, .*\), found whom; did you mean who\?$",
        ),
        (OPTIONS, "{name}", r"--template: .*items.csv: expected one of its columns \(.*\), found name"),
        (
            replace(OPTIONS, drops=(parse_drop("q=1"),)),
            "{title}",
            "--drop: no file has a column q: .*events.csv has who, .*items.csv has key.*; name one of these",
        ),
    ],
)
def test_columns_that_are_not_there(tmp_path: Path, options: TableOptions, template: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read(tmp_path, options, template)


def test_no_template_and_no_file(tmp_path: Path) -> None:
    read(tmp_path)
    with pytest.raises(
        ConfigError, match="--text-columns: expected the columns of .*items.csv .* name some of key, title, brand"
    ):
        with_engine(read_table)(tmp_path, bad_rows="error", template=None, options=OPTIONS)
    with pytest.raises(
        DataError, match=r"^--items: .* no.csv in .*found none \(it has events.csv, items.csv\); check the name"
    ):
        read(tmp_path, replace(OPTIONS, items=("no.csv",)))


def test_settings_of_a_preparation(tmp_path: Path) -> None:
    config = PrepareConfig(
        min_history=3,
        events=("events.csv",),
        items=("items.csv",),
        user_column="who",
        item_column="what",
        time_column="when",
        item_id_column="key",
        drop=("kind=return",),
        template="{title} {brand}",
    )
    assert table_options(config) == replace(OPTIONS, drops=(parse_drop("kind=return"),))
    read(tmp_path)
    dataset = prepare("table", tmp_path, tmp_path / "dataset", config)
    assert histories_of(dataset) == {"u1": ["NaN", "007", "None"]}
    assert dataset.texts.to_pylist() == ["A, b X", "Beta", "Gamma Z"]
    assert dataset.statistics["skipped"] == {
        "drop kind=return": 1,
        "users_below_min_history": 1,
        "interactions_of_dropped_users": 1,
    }


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (PrepareConfig(), "--events: expected the events file"),
        (PrepareConfig(events=("e",)), "--user-column: expected the column of user ids"),
        (PrepareConfig(events=("e",), user_column="u"), "--item-column: expected the column of item ids"),
        (PrepareConfig(events=("e",), user_column="u", item_column="i", drop=("C*",)), "--drop: expected COLUMN=PATT"),
        (
            PrepareConfig(events=("e",), user_column="u", item_column="i", delimiter="é"),
            "--delimiter: expected one to four ASCII",
        ),
        (
            PrepareConfig(events=("e",), user_column="u", item_column="i", time_format="%Y"),
            "--time-format: expected --time-column as well, found none",
        ),
        (
            PrepareConfig(events=("e",), user_column="u", item_column="i", time_column="t", time_format="%D"),
            "--time-format: expected text and the directives .*, found %D",
        ),
    ],
)
def test_settings_that_are_missing_or_wrong(config: PrepareConfig, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        table_options(config)


def test_times_of_a_named_form(tmp_path: Path) -> None:
    events = "who,what,when\nu1,007,02/01/2020\nu1,NaN,01/02/2020\nu1,None,1/1/2020\nu1,None,2020-01-01\n"
    with pytest.raises(DataError, match=r"expected a date .*, or a --time-format that all times have \('%m/%d/%Y' or "):
        read(tmp_path, events=events)
    options = replace(OPTIONS, time_format="%m/%d/%Y")
    log = read(tmp_path, options, bad_rows="skip", events=events)
    assert histories_of(log) == {"u1": ["None", "NaN", "007"]}
    assert log.times is not None
    assert log.times.tolist() == [FIRST, FIRST + DAY, FIRST + 31 * DAY]
    assert log.skipped == {"bad_timestamp": 1}
    found = r"events.csv:5: expected a time of the form '%m/%d/%Y' .*, found when '2020-01-01', who"
    with pytest.raises(DataError, match=found):
        read(tmp_path, options, events=events)


def test_a_tab_can_be_typed() -> None:
    config = PrepareConfig(events=("e",), user_column="u", item_column="i", delimiter="\\t")
    assert table_options(config).text.delimiter == "\t"


NO_PRODUCTS = ("POST", "DOT", "M", "C2", "PADS", "BANK CHARGES")


@pytest.mark.skipif(not SHOP.is_dir(), reason="the Online Retail invoices are not available")
def test_online_retail_without_cancellations_and_non_products() -> None:
    """Against a plain reading of the same rows, one at a time."""
    drops = tuple(parse_drop(written) for written in ("InvoiceNo=C*", *(f"StockCode={code}" for code in NO_PRODUCTS)))
    options = TableOptions(("transactions.parquet",), "CustomerID", "StockCode", "InvoiceDate", drops=drops)
    log = with_engine(read_table)(SHOP, bad_rows="skip", template=parse_template("{Description}"), options=options)

    columns = ["InvoiceNo", "StockCode", "Description", "InvoiceDate", "CustomerID"]
    rows = zip(*pq.read_table(SHOP / "transactions.parquet", columns=columns).to_pydict().values(), strict=True)
    skipped, spellings = Counter[str](), defaultdict[str, Counter[str]](Counter)
    events: dict[str, list[tuple[float, str]]] = defaultdict(list)
    for invoice, code, description, moment, customer in rows:
        is_cancelled, is_other = invoice.startswith("C"), code in NO_PRODUCTS
        skipped["drop InvoiceNo=C*"] += is_cancelled
        if is_other:
            skipped[f"drop StockCode={code}"] += 1
        if not (is_cancelled or is_other):
            spellings[code].update([description.strip()] if description and description.strip() else [])
            if customer is None or customer != customer:
                skipped["empty_id"] += 1
            else:
                events[str(int(customer))].append((moment, code))
    skipped["other_item_text"] = sum(counts.total() - max(counts.values(), default=0) for counts in spellings.values())
    skipped["empty_text"] = sum(not counts for counts in spellings.values())

    assert skipped["drop InvoiceNo=C*"] == 9288
    assert log.skipped == skipped
    assert texts_of(log) == {code: counts.most_common(1)[0][0] for code, counts in spellings.items() if counts}
    expected = {user: [code for _, code in sorted(pairs, key=lambda pair: pair[0])] for user, pairs in events.items()}
    assert list(histories_of(log).items()) == list(expected.items())


def test_keys_of_json_that_few_objects_have(tmp_path: Path) -> None:
    """One of them only in line 1,500, and others after the lines whose keys are the columns."""
    items: list[dict[str, object]] = [{"id": f"i{number}", "title": f"T{number}"} for number in range(2100)]
    items[1499]["brand"] = "Acme"
    items[2050]["more"] = "text"
    events: list[dict[str, object]] = [{"who": "u", "id": f"i{number}"} for number in (3, 1499, 2050, 1)]
    events[-1]["gone"] = 1
    write_files(tmp_path / "raw", {"items.jsonl": _lines(items), "events.jsonl": _lines(events)})
    options: dict[str, Any] = {
        "events": "events.jsonl",
        "items": "items.jsonl",
        "user_column": "who",
        "item_column": "id",
    }
    config = PrepareConfig(**options, min_history=3, template="{title} by {brand} and {more}")
    found = prepare("table", tmp_path / "raw", tmp_path / "out", config)
    assert texts_of(found) == {"i1": "T1", "i3": "T3", "i1499": "T1499 by Acme", "i2050": "T2050 by text"}
    for key, given in {"template": "{title} {colour}", "time_column": "colour"}.items():
        wrong = PrepareConfig(**{**options, "min_history": 3, "template": "{title}", key: given})
        with pytest.raises(ConfigError, match=r"first 2,000 objects, or first 1 MB; the others were .*, found colour"):
            prepare("table", tmp_path / "raw", tmp_path / "wrong", wrong)


def _lines(objects: list[dict[str, object]]) -> str:
    return "".join(json.dumps(each) + "\n" for each in objects)
