"""Format `table`: what each `--drop` matches is counted, and one that matches nothing is refused with what occurs."""

from pathlib import Path

import pytest

from small.data.raw import histories_of, with_engine, write_files
from tcf.common.errors import ConfigError
from tcf.config.prepare import PrepareConfig
from tcf.data.describe.summary import describe, render
from tcf.data.prepare import prepare
from tcf.data.raw.any_table.read_table import read_table
from tcf.data.raw.any_table.table_options import TableOptions, parse_drop
from tcf.data.raw.raw_log import RawLog
from tcf.data.text_template import parse_template

EVENTS = (
    "who,what,kind,shop\n"
    + "u1,a,view,N\nu1,b,view,N\nu1,a,buy,S\nu1,c,cart,\n" * 3
    + "u1,b,return,S\nu2,a,view,N\nu2,b,Buy,S\n"
)
ITEMS = "what,title,kind\na,Alpha,old\nb,Beta,new\nc,Gamma,new\n"


def read(raw: Path, *drops: str, events: tuple[str, ...] = ("events.csv",), own_items: bool = True) -> RawLog:
    write_files(raw, {"events.csv": EVENTS, "items.csv": ITEMS})
    options = TableOptions(
        events,
        "who",
        "what",
        items=("items.csv",) if own_items else (),
        drops=tuple(map(parse_drop, drops)),
    )
    template = parse_template("{title}" if own_items else "{what}")
    return with_engine(read_table)(raw, bad_rows="skip", template=template, options=options)


def test_each_option_counts_all_rows_that_it_matches(tmp_path: Path) -> None:
    """Whatever their order, and in the files of events and of items alike."""
    drops = ("kind=view", "shop=N", "kind=?uy", "what=c", "kind=old")
    expected = {"drop kind=view": 7, "drop shop=N": 7, "drop kind=?uy": 4, "drop what=c": 4, "drop kind=old": 1}
    for order in (drops, drops[::-1]):
        log = read(tmp_path, *order)
        assert {reason: log.skipped[reason] for reason in expected} == expected
        assert histories_of(log) == {"u1": ["b"]}
    assert read(tmp_path, "kind=view", "shop=N", own_items=False).skipped == {"drop kind=view": 7, "drop shop=N": 7}


def test_events_of_items_that_are_left_out_are_counted_and_no_error(tmp_path: Path) -> None:
    """Also where another row of the item file, which is left out, has the same item."""
    write_files(tmp_path, {"events.csv": EVENTS, "items.csv": ITEMS + "c,Gamma,old\n"})
    options = TableOptions(("events.csv",), "who", "what", items=("items.csv",), drops=(parse_drop("kind=old"),))
    log = with_engine(read_table)(tmp_path, bad_rows="error", template=parse_template("{title}"), options=options)
    assert log.skipped == {"drop kind=old": 2, "event_of_skipped_item": 7}
    assert histories_of(log) == {"u1": ["b", "c"] * 3 + ["b"], "u2": ["b"]}


@pytest.mark.parametrize(
    ("drop", "message"),
    [
        (
            "shop=n",
            "--drop: expected rows with shop=n, found none: RAW/events.csv has 'N' (7 rows), 'S' (5 rows), '' (3 rows) "
            "in column shop; did you mean 'N' (7 rows)?",
        ),
        (
            "kind=retrun",
            "--drop: expected rows with kind=retrun, found none: RAW/items.csv has 'new' (2 rows), 'old' (1 row) in "
            "column kind; name one of these values; RAW/events.csv has 'view' (7 rows), 'buy' (3 rows), 'cart' (3 "
            "rows), 'Buy' (1 row), 'return' (1 row) in column kind; did you mean return?",
        ),
        (
            "title=*é*",
            "--drop: expected rows with title=*é*, found none: RAW/items.csv has 'Alpha' (1 row), 'Beta' (1 r",
        ),
    ],
)
def test_an_option_that_matches_nothing_is_refused_with_the_values(tmp_path: Path, drop: str, message: str) -> None:
    # What an earlier option leaves out is among the values all the same.
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, "kind=view", "what=a", drop)
    assert str(caught.value).replace(str(tmp_path), "RAW").startswith(message)


def test_many_and_long_values_are_cut(tmp_path: Path) -> None:
    rows = "".join(f"u,a,{'x' * 99}{row:02}\n" for row in range(30))
    write_files(tmp_path, {"more.csv": "who,what,kind\n" + rows})
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, "kind=none", events=("events.csv", "more.csv"), own_items=False)
    words = str(caught.value)
    assert f"{tmp_path}/events.csv and 1 more file has 'view' (7 rows), 'buy' (3 rows), 'cart' (3 rows), " in words
    assert words.count("'" + "x" * 40 + "...' (1 row), ") == 3
    assert words.endswith(", ... in column kind; name one of these values")


def test_counts_are_printed_even_where_another_option_had_left_the_rows_out(tmp_path: Path) -> None:
    read(tmp_path)
    config = PrepareConfig(
        min_history=3,
        events=("events.csv",),
        items=("items.csv",),
        user_column="who",
        item_column="what",
        text_columns=("title",),
        drop=("kind=view", "shop=N"),
    )
    shown = render(describe(prepare("table", tmp_path, tmp_path / "out", config)))
    assert "7  drop kind=view" in shown
    assert "7  drop shop=N" in shown
