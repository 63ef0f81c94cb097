"""MIND's published folders, row by row, on files small enough to read by eye."""

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from small.data.raw import histories_of, texts_of, with_engine, write_files
from tcf.common.errors import ConfigError, DataError
from tcf.data.raw.mind import read_mind as module
from tcf.data.raw.mind.read_mind import mind_files
from tcf.data.raw.raw_log import RawLog
from tcf.data.tables.inspect_text import inspect_text
from tcf.data.text_template import parse_template

NEWS = "".join(
    f'N{n}\tnews\tlocal\t{title}\tAbstract {n}\thttps://x/{n}.html\t[{{"Label": "a"}}]\t[]\n'
    for n, title in enumerate(["Zero", 'Say "one', "Two's", "Three", "Four", "Five"])
)
read_mind = with_engine(module.read_mind)
TITLES = {"N0": "Zero", "N1": 'Say "one', "N2": "Two's", "N3": "Three", "N4": "Four", "N5": "Five"}


def seconds(month: int, day: int, hour: int, minute: int, second: int) -> int:
    return int(datetime(2019, month, day, hour, minute, second, tzinfo=UTC).timestamp())


def row(user: str, time: str, history: str, impressions: str) -> str:
    return f"7\t{user}\t{time}\t{history}\t{impressions}\n"


def folder(path: Path, *rows: str, news: str = NEWS) -> Path:
    return write_files(path, {"news.tsv": news, "behaviors.tsv": "".join(rows)})


def times_of(log: RawLog) -> dict[str, list[int]]:
    assert log.times is not None
    bounds = zip(log.offsets[:-1], log.offsets[1:], strict=True)
    parts = [log.times[start:stop].tolist() for start, stop in bounds]
    return dict(zip(log.user_ids.to_pylist(), parts, strict=True))


def test_history_then_clicks_in_the_order_of_time(tmp_path: Path) -> None:
    folder(
        tmp_path,
        row("U2", "11/13/2019 12:00:00 AM", "N5", "N0-0 N4-1 N3-1"),
        row("U1", "11/12/2019 2:14:46 PM", "N0 N1", "N3-1 N2-0"),
        row("U1", "11/12/2019 9:05:01 AM", "N0 N1", "N2-1"),
        row("U3", "11/9/2019 12:30:00 PM", "", "N1-0"),
    )
    log = read_mind(tmp_path, bad_rows="error")
    assert list(texts_of(log).items()) == list(TITLES.items())
    assert list(histories_of(log).items()) == [
        ("U2", ["N5", "N4", "N3"]),
        ("U1", ["N0", "N1", "N2", "N3"]),
        ("U3", []),
    ]
    early, late, midnight = seconds(11, 12, 9, 5, 1), seconds(11, 12, 14, 14, 46), seconds(11, 13, 0, 0, 0)
    assert times_of(log) == {"U2": [midnight] * 3, "U1": [early, early, early, late], "U3": []}
    assert log.skipped == {}
    assert log.files == {
        name: hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in ("behaviors.tsv", "news.tsv")
    }
    assert (str(log.offsets.dtype), str(log.items.dtype), str(log.times.dtype)) == ("int64", "int32", "int64")  # type: ignore[union-attr]


def test_rows_of_one_time_stay_in_the_files_order(tmp_path: Path) -> None:
    same = "11/12/2019 1:00:00 PM"
    folder(tmp_path, row("U1", same, "", "N3-1 N1-1"), row("U1", same, "", "N0-1"), row("U1", same, "", "N2-1"))
    assert histories_of(read_mind(tmp_path, bad_rows="error")) == {"U1": ["N3", "N1", "N0", "N2"]}


def test_a_later_history_holds_earlier_clicks(tmp_path: Path) -> None:
    """N2 was clicked on the 12th and stands in the history of the 15th; N3 was clicked too and does not."""
    folder(
        tmp_path / "MINDsmall_train",
        row("U1", "11/12/2019 1:00:00 PM", "N0 N1", "N2-1 N3-1"),
        row("U1", "11/14/2019 1:00:00 PM", "N0 N1", "N4-1"),
    )
    folder(
        tmp_path / "MINDsmall_dev",
        row("U1", "11/15/2019 8:00:00 AM", "N0 N1 N2 N4", "N5-0 N2-1"),
        row("U1", "11/15/2019 9:00:00 AM", "N0 N1 N2 N4", "N5-1"),
    )
    log = read_mind(tmp_path, bad_rows="error")
    assert histories_of(log) == {"U1": ["N0", "N1", "N2", "N4", "N3", "N2", "N5"]}
    first, clicked, dev = seconds(11, 12, 13, 0, 0), seconds(11, 14, 13, 0, 0), seconds(11, 15, 8, 0, 0)
    # N3, clicked first, is behind N4 now.
    assert times_of(log) == {"U1": [first, first, first, clicked, clicked, dev, dev + 3600]}
    assert log.skipped == {"click_in_later_history": 2, "duplicate_item": 6}
    assert sorted(log.files) == [
        f"MINDsmall_{part}/{name}" for part in ("dev", "train") for name in ("behaviors.tsv", "news.tsv")
    ]


def test_each_occurrence_in_a_history_stands_for_one_click(tmp_path: Path) -> None:
    """Of three clicks on N2 before the long history, which has it twice, the last one goes behind it."""
    folder(
        tmp_path,
        row("U1", "11/10/2019 1:00:00 PM", "N0", "N2-1"),
        row("U1", "11/11/2019 1:00:00 PM", "N0", "N2-1 N1-1"),
        row("U1", "11/12/2019 1:00:00 PM", "N0", "N2-1"),
        row("U1", "11/13/2019 1:00:00 PM", "N0 N2 N2", "N3-0"),
        row("U2", "11/11/2019 1:00:00 PM", "", "N2-1"),
    )
    log = read_mind(tmp_path, bad_rows="error")
    assert histories_of(log) == {"U1": ["N0", "N2", "N2", "N1", "N2"], "U2": ["N2"]}
    assert log.skipped == {"click_in_later_history": 2}


def test_of_equally_long_histories_the_first_in_time_stands(tmp_path: Path) -> None:
    folder(
        tmp_path,
        row("U1", "11/13/2019 1:00:00 PM", "N4 N1", "N5-1"),
        row("U1", "11/12/2019 1:00:00 PM", "N0 N1", "N1-1"),
    )
    log = read_mind(tmp_path, bad_rows="error")
    assert histories_of(log) == {"U1": ["N0", "N1", "N1", "N5"]}  # N1 was clicked after its history was written
    assert log.skipped == {}


def test_test_folders_have_no_labels(tmp_path: Path) -> None:
    folder(tmp_path / "MINDlarge_train", row("U1", "11/12/2019 1:00:00 PM", "N0", "N1-1"))
    folder(tmp_path / "MINDlarge_test", row("U1", "11/20/2019 1:00:00 PM", "N0 N1 N3", "N2 N4"))
    log = read_mind(tmp_path, bad_rows="error")
    assert histories_of(log) == {"U1": ["N0", "N1", "N3"]}
    assert log.skipped == {"click_in_later_history": 1, "duplicate_item": 6}


def test_news_of_several_folders_once(tmp_path: Path) -> None:
    folder(tmp_path / "a", row("U1", "11/12/2019 1:00:00 PM", "N0", "N6-1"))
    other = NEWS.replace("Zero", "Nought") + "N6\tnews\tlocal\tSix\t\t\t\t\n"
    folder(tmp_path / "b", row("U2", "11/12/2019 1:00:00 PM", "N6", "N1-1"), news=other)
    log = read_mind(tmp_path, bad_rows="error")
    assert texts_of(log) == {**TITLES, "N6": "Six"}
    assert histories_of(log) == {"U1": ["N0", "N6"], "U2": ["N6", "N1"]}
    assert log.skipped == {"duplicate_item": 5, "duplicate_item_other_text": 1}


def test_texts_of_several_columns(tmp_path: Path) -> None:
    folder(tmp_path, row("U1", "11/12/2019 1:00:00 PM", "N0", "N1-1"))
    log = read_mind(tmp_path, bad_rows="error", template=parse_template("{title} ({category}, {subcategory})"))
    assert texts_of(log)["N2"] == "Two's (news, local)"
    with pytest.raises(
        ConfigError, match=r"news.tsv: expected one of its columns \(id, category, subcategory, title.*, found body"
    ):
        read_mind(tmp_path, bad_rows="error", template=parse_template("{body}"))


def test_only_impressions_are_clicked(tmp_path: Path) -> None:
    folder(tmp_path, row("U-1", "11/12/2019 1:00:00 PM", "N0 N1-1", "N2-1 N3-0"))
    log = read_mind(tmp_path, bad_rows="error")
    assert histories_of(log) == {"U-1": ["N0", "N2"]}
    assert log.skipped == {"unknown_item": 1}


def test_unknown_news_is_dropped_and_counted(tmp_path: Path) -> None:
    news = NEWS + "N9\tnews\tlocal\t\t\t\t\t\n"
    folder(tmp_path, row("U1", "11/12/2019 1:00:00 PM", "N0 N8 N9 N1", "N7-1 N9-1 N3-1"), news=news)
    with pytest.raises(DataError, match=r"news.tsv:7: expected news with a text, .*\(empty_text\)"):
        read_mind(tmp_path, bad_rows="error")
    log = read_mind(tmp_path, bad_rows="skip")
    assert histories_of(log) == {"U1": ["N0", "N1", "N3"]}
    assert times_of(log) == {"U1": [seconds(11, 12, 13, 0, 0)] * 3}
    assert log.skipped == {"empty_text": 1, "event_of_skipped_item": 2, "unknown_item": 2}


@pytest.mark.parametrize(
    ("bad", "reason", "found"),
    [
        (row("U1", "2019-11-12", "N0", "N1-1"), "bad_timestamp", "'2019-11-12'"),
        (row("U1", "11/12/2019 13:00:00 PM", "N0", "N1-1"), "bad_timestamp", "'11/12/2019 13:00:00 PM'"),
        (row("U1", "", "N0", "N1-1"), "bad_timestamp", "''"),
        (row("U1", "2/30/2019 1:00:00 PM", "N0", "N1-1"), "bad_timestamp", "'2/30/2019 1:00:00 PM'"),
        (row("U1", "02/29/2019 1:00:00 PM", "N0", "N1-1"), "bad_timestamp", "'02/29/2019 1:00:00 PM'"),
        (row("U1", "11/12/2019 1:00:00 PM", "N0", "N1-1 -1"), "bad_impression", "'N1-1 -1'"),
        (row("U1", "11/12/2019 1:00:00 PM", "N0", "-0"), "bad_impression", "'-0'"),
        ("torn\n", "wrong_columns", "'torn'"),
        (row("", "11/12/2019 1:00:00 PM", "N0", "N1-1"), "empty_id", "''"),
        (row("U1", "11/12/2019 1:00:00 PM", "N0", "N1-1 N2"), "bad_impression", "'N1-1 N2'"),
        (row("U1", "11/12/2019 1:00:00 PM", "N0", "N1-1 N2-2"), "bad_impression", "'N1-1 N2-2'"),
        (row("U1", "11/12/2019 1:00:00 PM", "N0\tN1", "N1-1"), "wrong_columns", "'7"),
        ("\n", "wrong_columns", "a blank line"),
        (row("U1", "11/12/2019 1:00:00 PM", "N\0", "N1-1"), "nul_byte", "'7"),
        (row("U\udcff", "11/12/2019 1:00:00 PM", "N0", "N1-1"), "bad_utf8", "'7"),
    ],
)
def test_rows_that_cannot_be_used(tmp_path: Path, bad: str, reason: str, found: str) -> None:
    good = row("U1", "11/12/2019 2:00:00 PM", "N0 N1", "N3-1"), row("U2", "11/12/2019 2:00:00 PM", "N4", "N5-1 N2-0")
    text = good[0] + bad + good[1] + bad
    write_files(tmp_path, {"news.tsv": NEWS, "behaviors.tsv": text.encode("utf-8", "surrogateescape")})
    with pytest.raises(DataError) as error:
        read_mind(tmp_path, bad_rows="error")
    n = 1 if bad == "\n" else 2  # a blank last line is none
    lines = "on line 2" if n == 1 else "on lines 2, 4"
    assert str(error.value).startswith(f"{tmp_path}/behaviors.tsv:2: expected ")
    assert f"found {found}" in str(error.value)
    assert f"{n} of this kind ({reason}) in all, {lines}" in str(error.value)
    log = read_mind(tmp_path, bad_rows="skip")
    assert histories_of(log) == {"U1": ["N0", "N1", "N3"], "U2": ["N4", "N5"]}
    assert log.skipped == {reason: n}


@pytest.mark.parametrize(
    "written",
    [
        lambda text: text.replace("\n", "\r\n"),
        lambda text: "\ufeff" + text,
        lambda text: text.rstrip("\n"),
        lambda text: text + "\n\r\n",
        lambda text: text.replace("N0 N1", "  N0   N1 "),
        lambda text: text.replace("\t", " \t "),
        lambda text: text.replace("U1", "Ü1"),
    ],
    ids=["crlf", "bom", "no last newline", "blank end", "runs of spaces", "spaces around tabs", "not ascii"],
)
def test_harmless_differences_of_form(tmp_path: Path, written: Callable[[str], str]) -> None:
    rows = row("U1", "11/12/2019 2:00:00 PM", "N0 N1", "N3-1 N4-0"), row("U2", "11/12/2019 2:00:00 PM", "", "N5-1")
    write_files(tmp_path, {"news.tsv": written(NEWS), "behaviors.tsv": written("".join(rows))})
    log = read_mind(tmp_path, bad_rows="error")
    assert list(histories_of(log).values()) == [["N0", "N1", "N3"], ["N5"]]
    assert log.skipped == {}


def test_first_days_of_months(tmp_path: Path) -> None:
    written = ["2/29/2020 1:00:00 PM", "03/01/2019 1:00:00 PM", "12/3/2019 1:00:00 PM", "1/02/2020 1:00:00 PM"]
    folder(tmp_path, *(row(f"U{n}", time, "", "N1-1") for n, time in enumerate(written)))
    wanted = [datetime.strptime(time, "%m/%d/%Y %I:%M:%S %p").replace(tzinfo=UTC).timestamp() for time in written]
    assert [times[0] for times in times_of(read_mind(tmp_path, bad_rows="error")).values()] == wanted


def test_a_dash_and_digit_in_a_history_is_an_id(tmp_path: Path) -> None:
    folder(tmp_path, row("U1", "11/12/2019 1:00:00 PM", "N0 -1 N1", "N2-1"))
    log = read_mind(tmp_path, bad_rows="error")
    assert (histories_of(log), log.skipped) == ({"U1": ["N0", "N1", "N2"]}, {"unknown_item": 1})


def test_what_looks_like_a_label_in_a_history_makes_up_for_none(tmp_path: Path) -> None:
    folder(
        tmp_path, row("U1", "11/12/2019 1:00:00 PM", "N0 N1-1", "N2-1 N3"), row("U2", "11/12/2019 1:00:00 PM", "N0", "")
    )
    log = read_mind(tmp_path, bad_rows="skip")
    assert (histories_of(log), log.skipped) == ({"U2": ["N0"]}, {"bad_impression": 1})


def test_control_characters_separate_ids(tmp_path: Path) -> None:
    folder(tmp_path, row("U1", "11/12/2019 1:00:00 PM", "\x01N0\x02 N1\x1f", "\x01N2-1\x0bN3-0\x02N4-1\x1f"))
    log = read_mind(tmp_path, bad_rows="error")
    assert histories_of(log) == {"U1": ["N0", "N1", "N2", "N4"]}


def test_a_copy_of_a_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "MINDsmall_train", tmp_path / "backup" / "MINDsmall_train"):
        folder(path, row("U1", "11/12/2019 1:00:00 PM", "N0", "N1-1"))
    with pytest.raises(DataError, match=r"found a copy of .*behaviors.tsv, whose clicks would count twice"):
        read_mind(tmp_path, bad_rows="skip")


def test_missing_and_mixed_folders(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected a folder, found nothing; check the path"):
        mind_files(tmp_path / "nowhere")
    with pytest.raises(DataError, match="found neither"):
        mind_files(tmp_path)
    folder(tmp_path / "MINDsmall_train", row("U1", "11/12/2019 1:00:00 PM", "N0", "N1-1"))
    folder(tmp_path / "deep" / "MINDlarge_dev", row("U1", "11/12/2019 1:00:00 PM", "N0", "N1-1"))
    with pytest.raises(
        DataError, match=r"folders of one edition, found MINDsmall_train, MINDlarge_dev|MINDlarge_dev, MINDsmall"
    ):
        mind_files(tmp_path)
    (tmp_path / "MINDsmall_train" / "news.tsv").unlink()
    with pytest.raises(DataError, match=r"MINDsmall_train: expected news.tsv next to behaviors.tsv, found none"):
        mind_files(tmp_path)


@pytest.mark.parametrize("content", ["", "\n\n", "\ufeff", "\ufeff\r\n"])
def test_an_empty_file(tmp_path: Path, content: str) -> None:
    write_files(tmp_path, {"news.tsv": NEWS, "behaviors.tsv": content})
    with pytest.raises(DataError, match=r"behaviors.tsv: expected rows, found an empty file"):
        read_mind(tmp_path, bad_rows="skip")


def test_utf16(tmp_path: Path) -> None:
    write_files(tmp_path, {"news.tsv": NEWS, "behaviors.tsv": "a\tb\n".encode("utf-16")})
    with pytest.raises(DataError, match="found UTF-16"):
        read_mind(tmp_path, bad_rows="skip")


def test_files_that_do_not_belong_together(tmp_path: Path) -> None:
    folder(tmp_path, row("U1", "11/12/2019 1:00:00 PM", "X0 X1", "X1-1"))
    with pytest.raises(DataError, match="found none in 3 events"):
        read_mind(tmp_path, bad_rows="skip")


@pytest.mark.parametrize("content", ["", "x" * 500])
def test_a_file_that_changes_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str) -> None:
    """Between the two times that its bytes are read."""
    folder(tmp_path, row("U1", "11/12/2019 1:00:00 PM", "N0 N1", "N2-1"))

    def later(file: Path, *rest: Any) -> Any:
        facts = inspect_text(file, *rest)
        if file.name == "behaviors.tsv":
            file.write_text(content)
        return facts

    monkeypatch.setattr("tcf.data.tables.text_table.inspect_text", later)
    with pytest.raises(DataError, match=r"behaviors.tsv: expected an unchanging file, found one that changed"):
        read_mind(tmp_path, bad_rows="skip")
