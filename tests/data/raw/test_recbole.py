"""RecBole's atomic files, row by row, on files small enough to read by eye."""

from pathlib import Path
from typing import Literal

import pytest

from small.data.raw import TEXTS, Bad, histories_of, texts_of, with_engine, write_files
from tcf.common.errors import ConfigError, DataError, TcfError
from tcf.data.raw.raw_log import RawLog
from tcf.data.raw.recbole import RecboleOptions, read_recbole
from tcf.data.text_template import joined_columns

ITEMS = "item_id:token\tmovie_title:token_seq\tyear:token\na\tAlpha\t1990\nb\tBeta\t1991\nc\tGamma\t1992\n"
# Not in the order of time; u1's b and c share a time, b comes first in the file.
EVENTS = (
    "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
    "u2\tc\t5\t40\n"
    "u1\tb\t3\t20\n"
    "u1\tc\t1\t20\n"
    "u2\ta\t4\t9\n"
    "u1\ta\t2\t10\n"
    "u1\tb\t2\t100\n"
)
HISTORIES = {"u2": ["a", "c"], "u1": ["a", "b", "c", "b"]}


def folder_with(path: Path, items: str | bytes = ITEMS, events: str | bytes = EVENTS) -> Path:
    return write_files(path, {"x.item": items, "x.inter": events})


def read(path: Path, *text_columns: str, bad_rows: Literal["error", "skip"] = "error") -> RawLog:
    template = joined_columns(text_columns) if text_columns else None
    events = path / "x.inter"
    has_ratings = events.exists() and b"rating:" in events.read_bytes().partition(b"\n")[0]
    options = RecboleOptions(min_rating=1 if has_ratings else None)
    return with_engine(read_recbole)(path, bad_rows=bad_rows, template=template, options=options)


def test_events_by_time_ties_in_file_order_users_by_first_line(tmp_path: Path) -> None:
    log = read(folder_with(tmp_path))
    assert log.user_ids.to_pylist() == ["u2", "u1"]
    assert log.offsets.tolist() == [0, 2, 6]
    assert log.items.tolist() == [0, 2, 0, 1, 2, 1]
    assert (str(log.offsets.dtype), str(log.items.dtype)) == ("int64", "int32")
    assert list(texts_of(log).items()) == list(TEXTS.items())
    assert log.skipped == {}
    assert sorted(log.files) == ["x.inter", "x.item"]


def test_without_times_the_file_order_stands(tmp_path: Path) -> None:
    events = "user_id:token\titem_id:token\nu1\tb\nu2\tc\nu1\ta\nu1\tb\nu2\ta\n"
    log = read(folder_with(tmp_path, events=events))
    assert histories_of(log) == {"u1": ["b", "a", "b"], "u2": ["c", "a"]}


def test_order_of_columns_does_not_matter(tmp_path: Path) -> None:
    items = "year:token\tmovie_title:token_seq\titem_id:token\n1990\tAlpha\ta\n1991\tBeta\tb\n1992\tGamma\tc\n"
    rows = [line.split("\t") for line in EVENTS.splitlines()]
    events = "\n".join("\t".join(reversed(row)) for row in rows)
    log = read(folder_with(tmp_path, items, events))
    assert list(histories_of(log).items()) == list(HISTORIES.items())
    assert texts_of(log) == TEXTS


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        # float64 cannot tell the first two apart: its spacing at 1.7e18 is 256.
        (["1700000000000000001", "1700000000000000000", "1700000000000000002"], ["b", "a", "c"]),
        (["1.5", "-2", "1e0"], ["b", "c", "a"]),
        (["881250949", "881250948.5", ".25"], ["c", "b", "a"]),
    ],
    ids=["nanoseconds", "mixed", "fractions"],
)
def test_times_are_compared_as_numbers(tmp_path: Path, times: list[str], expected: list[str]) -> None:
    rows = "".join(f"u\t{item}\t{time}\n" for item, time in zip("abc", times, strict=True))
    events = "user_id:token\titem_id:token\ttimestamp:float\n" + rows
    assert histories_of(read(folder_with(tmp_path, events=events))) == {"u": expected}


def test_a_row_without_a_time_leaves_the_order_of_the_others(tmp_path: Path) -> None:
    rows = "u\ta\t1700000000000000001\nu\tb\t1700000000000000000\nu\tc\tsoon\n"
    folder_with(tmp_path, events="user_id:token\titem_id:token\ttimestamp:float\n" + rows)
    log = read(tmp_path, bad_rows="skip")
    assert (histories_of(log), log.skipped) == ({"u": ["b", "a"]}, {"bad_timestamp": 1})


def test_crlf_and_byte_order_marks(tmp_path: Path) -> None:
    marked = ["\ufeff" + content.replace("\n", "\r\n") for content in (ITEMS, EVENTS)]
    log = read(folder_with(tmp_path, *marked))
    assert histories_of(log) == HISTORIES
    assert texts_of(log) == TEXTS


def test_text_columns_are_joined_in_the_order_asked_for(tmp_path: Path) -> None:
    items = "item_id:token\ttitle:token_seq\tgenre:token_seq\na\tAlpha  1\tfun\nb\tBeta\t\nc\t\tsad mad\n"
    log = read(folder_with(tmp_path, items), "title", "genre")
    assert texts_of(log) == {"a": "Alpha  1 fun", "b": "Beta", "c": "sad mad"}
    log = read(folder_with(tmp_path, items), "genre", "title")
    assert texts_of(log)["a"] == "fun Alpha  1"


def test_an_item_is_without_text_only_if_all_its_columns_are(tmp_path: Path) -> None:
    items = "item_id:token\ttitle:token_seq\tgenre:token_seq\na\tAlpha\t\nb\t\t\nc\t\tsad\n"
    with pytest.raises(DataError, match=r"x.item:3: expected an item with a text, found 'b\\t'; 1 of this kind"):
        read(folder_with(tmp_path, items), "title", "genre")
    log = read(tmp_path, "title", "genre", bad_rows="skip")
    assert texts_of(log) == {"a": "Alpha", "c": "sad"}
    assert log.skipped == {"empty_text": 1, "event_of_skipped_item": 2}
    assert histories_of(log) == {"u2": ["a", "c"], "u1": ["a", "c"]}


@pytest.mark.parametrize(
    ("columns", "chosen", "message"),
    [
        ("item_name:token_seq\tyear:token", (), None),
        ("year:token\tPRODUCT_TITLE:token", (), None),
        (
            "title:token_seq\tbrand_name:token",
            (),
            r"2 title-like columns \(title, brand_name\); .* from title, brand_name",
        ),
        ("description:token_seq\tbrand:token", (), r"no title-like column; .* from description, brand"),
        (
            "title:token_seq\tbrand:token",
            ("headline",),
            r"expected one of its columns \(item_id, title, brand\), found headline",
        ),
    ],
)
def test_choice_of_text_columns(tmp_path: Path, columns: str, chosen: tuple[str, ...], message: str | None) -> None:
    items = f"item_id:token\t{columns}\na\tX\tX\nb\tX\tX\nc\tX\tX\n"
    folder_with(tmp_path, items)
    if message is None:
        assert texts_of(read(tmp_path, *chosen)) == {"a": "X", "b": "X", "c": "X"}
        return
    with pytest.raises(ConfigError, match=f"--text-columns: .*{message}"):
        read(tmp_path, *chosen)


BAD = [
    Bad(
        "wrong_columns", "x.inter:8", "'u1\\tb'; 1 of", {"wrong_columns": 1}, HISTORIES, {"x.inter": EVENTS + "u1\tb\n"}
    ),
    Bad("wrong_columns", "x.item:5", "'d'; 1 of", {"wrong_columns": 1}, HISTORIES, {"x.item": ITEMS + "d\n"}),
    Bad(
        "nul_byte",
        "x.inter:8",
        "'u1\\tb\\t1\\t\\x00'",
        {"nul_byte": 1},
        HISTORIES,
        {"x.inter": EVENTS + "u1\tb\t1\t\0\n"},
    ),
    Bad(
        reason="bad_utf8",
        where="x.item:5",
        found="'d\\t\\\\xe9\\t1'; 2 of this kind (bad_utf8) in all, on lines 5, 6;",
        skipped={"bad_utf8": 2},
        histories=HISTORIES,
        files={"x.item": ITEMS.encode() + b"d\t\xe9\t1\ne\t\xe9\t1\n"},
    ),
    Bad(
        "duplicate_item", "x.item:5", "'a\\tA'; 1 of", {"duplicate_item": 1}, HISTORIES, {"x.item": ITEMS + "a\tA\t1\n"}
    ),
    Bad("empty_id", "x.item:5", "'\\tA'; 1 of", {"empty_id": 1}, HISTORIES, {"x.item": ITEMS + "\tA\t1\n"}),
    Bad(
        reason="empty_id",
        where="x.inter:8",
        found="user_id '', item_id 'a', timestamp '1', rating '1'; 2 of this kind (empty_id) in all, on lines 8, 9;",
        skipped={"empty_id": 2},
        histories=HISTORIES,
        files={"x.inter": EVENTS + "\ta\t1\t1\nu1\t \t1\t1\n"},
    ),
    Bad(
        reason="bad_timestamp",
        where="x.inter:2",
        found="'soon'; 5 of this kind (bad_timestamp) in all, on lines 2, 5, 8, 9, 10;",
        skipped={"bad_timestamp": 5},
        histories={"u1": ["a", "b", "c", "b"], "u3": ["a"]},
        files={
            "x.inter": EVENTS.replace("\t40\n", "\tsoon\n").replace("\t9\n", "\t\n")
            + "u1\ta\t1\tnan\nu1\ta\t1\tinf\nu1\ta\t1\t1e999\nu3\ta\t1\t7\n"
        },
    ),
    Bad(
        reason="unknown_item",
        where="x.inter:8",
        found="'z'; 2 of this kind (unknown_item) in all, on lines 8, 9;",
        skipped={"unknown_item": 2},
        histories={**HISTORIES, "u9": []},
        files={"x.inter": EVENTS + "u9\tz\t1\t1\nu1\tzz\t1\t1\n"},
    ),
    Bad(
        reason="empty_text",
        where="x.item:2",
        found="'a\\t'; 1 of this kind",
        skipped={"empty_text": 1, "event_of_skipped_item": 2},
        histories={"u2": ["c"], "u1": ["b", "c", "b"]},
        files={"x.item": ITEMS.replace("Alpha", " ")},
        texts={"b": "Beta", "c": "Gamma"},
    ),
]


@pytest.mark.parametrize("bad", BAD, ids=str)
def test_bad_rows_are_errors_with_file_and_line(tmp_path: Path, bad: Bad) -> None:
    write_files(folder_with(tmp_path), bad.files)
    with pytest.raises(DataError) as caught:
        read(tmp_path)
    bad.check_message(str(caught.value), tmp_path)


@pytest.mark.parametrize("bad", BAD, ids=str)
def test_bad_rows_are_skipped_and_counted(tmp_path: Path, bad: Bad) -> None:
    write_files(folder_with(tmp_path), bad.files)
    bad.check_rest(read(tmp_path, bad_rows="skip"))


@pytest.mark.parametrize("mode", ["error", "skip"])
@pytest.mark.parametrize(
    ("items", "events", "message"),
    [
        (ITEMS, "", r"x.inter: .*empty file"),
        ("", EVENTS, r"x.item: .*empty file"),
        (ITEMS.splitlines()[0], EVENTS, r"x.item: expected rows after the header, found none"),
        (ITEMS, EVENTS.replace("\t", ","), r"x.inter:1: expected tab-separated columns, found 'user_id:token,item"),
        (ITEMS, EVENTS.replace("item_id", "movie"), r"x.inter:1: expected a column item_id, found user_id, movie, rat"),
        (ITEMS, EVENTS.replace("user_id", "uid"), r"x.inter:1: expected a column user_id, found uid, item_id, rat"),
        (ITEMS.replace("item_id", "id"), EVENTS, r"x.item:1: expected a column item_id, found id, movie_title, year"),
        (ITEMS, EVENTS.replace("user_id:token", "user_id"), r"x.inter:1: expected a header of NAME:TYPE .*'user_id'"),
        (ITEMS, EVENTS.replace("rating:float", "rating:int"), r"x.inter:1: expected a header of .*'rating:int'"),
        (ITEMS, EVENTS.partition("\n")[2], r"x.inter:1: expected a header of NAME:TYPE fields .* found 'u2'"),
        (ITEMS, EVENTS.replace("rating:f", "item_id:f"), r"x.inter:1: expected columns with different names"),
        (ITEMS, EVENTS.replace("\ta", "\tx").replace("\tb", "\ty").replace("\tc", "\tz"), r"x.inter:2: .* no event"),
    ],
)
def test_whole_files_of_another_form_are_errors_in_both_modes(
    tmp_path: Path, mode: Literal["error", "skip"], items: str, events: str, message: str
) -> None:
    folder_with(tmp_path, items, events)
    with pytest.raises(DataError, match=message):
        read(tmp_path, bad_rows=mode)


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ((), "neither"),
        (("x.inter",), "x.inter"),
        (("x.inter", "y.item"), "x.inter, y.item"),
        (("x.inter", "x.item", "y.inter"), "x.inter, y.inter, x.item"),
    ],
)
def test_the_two_files_must_be_there_once(tmp_path: Path, names: tuple[str, ...], found: str) -> None:
    for name in names:
        (tmp_path / name).write_text(ITEMS if name.endswith("item") else EVENTS)
    with pytest.raises(DataError, match=f"of the same NAME, found {found};"):
        read(tmp_path, bad_rows="skip")


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(TcfError, match="expected a folder, found nothing; check the path"):
        read(tmp_path / "nowhere")
