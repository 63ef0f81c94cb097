"""The study's raw format, damaged: what is said, and what is left when bad rows are skipped."""

from pathlib import Path
from typing import Literal

import pytest

from small.data.raw import (
    BEHAVIORS,
    HISTORIES,
    ITEMS,
    TEXTS,
    Bad,
    folder_with,
    histories_of,
    texts_of,
    with_engine,
    write_files,
)
from tcf.common.errors import DataError
from tcf.data.raw.study import read_study

read_tcf = with_engine(read_study.read_tcf)

BAD = [
    Bad(
        reason="wrong_columns",
        where="items.tsv:2",
        found="'x\\tX\\textra'; 2 of this kind (wrong_columns) in all, on lines 2, 3;",
        skipped={"wrong_columns": 2},
        files={"items.tsv": "a\tAlpha\nx\tX\textra\ny\nb\tBeta\nc\tGamma\n"},
    ),
    Bad(
        reason="wrong_columns",
        where="behaviors.tsv:4",
        found="'u4'; 1 of this kind",
        skipped={"wrong_columns": 1},
        files={"behaviors.tsv": BEHAVIORS + "u4\n"},
    ),
    Bad(
        reason="bad_utf8",
        where="items.tsv:3",
        found="'x\\tcaf\\\\xe9'; 1 of this kind",
        skipped={"bad_utf8": 1},
        files={"items.tsv": b"a\tAlpha\nb\tBeta\nx\tcaf\xe9\nc\tGamma\n"},
    ),
    Bad(
        reason="bad_utf8",
        where="behaviors.tsv:1",
        found="'\\\\xff\\ta'; 1 of this kind",
        skipped={"bad_utf8": 1},
        files={"behaviors.tsv": b"\xff\ta\n" + BEHAVIORS.encode()},
    ),
    Bad(
        reason="nul_byte",
        where="items.tsv:4",
        found="'x\\t\\x00'; 1 of this kind",
        skipped={"nul_byte": 1},
        files={"items.tsv": ITEMS + "x\t\0\n"},
    ),
    Bad(
        reason="empty_id",
        where="items.tsv:1",
        found="'\\tNameless'; 1 of this kind",
        skipped={"empty_id": 1},
        files={"items.tsv": "\tNameless\n" + ITEMS},
    ),
    Bad(
        reason="empty_id",
        where="behaviors.tsv:4",
        found="'\\ta b'; 1 of this kind",
        skipped={"empty_id": 1},
        files={"behaviors.tsv": BEHAVIORS + " \ta b\n"},
    ),
    Bad(
        reason="empty_text",
        where="items.tsv:2",
        found="'b\\t'; 1 of this kind",
        skipped={"empty_text": 1, "event_of_skipped_item": 2},
        files={"items.tsv": "a\tAlpha\nb\t \u00a0 \nc\tGamma\n"},
        texts={"a": "Alpha", "c": "Gamma"},
        histories={"u1": ["a", "a"], "u2": ["c"], "u3": ["c"]},
    ),
    Bad(
        reason="duplicate_item",
        where="items.tsv:4",
        found="'b\\tBeta'; 2 of this kind (duplicate_item) in all, on lines 4, 5;",
        skipped={"duplicate_item": 2},
        files={"items.tsv": ITEMS + "b\tBeta\nb\tAnother\n"},
    ),
    Bad(
        reason="duplicate_user",
        where="behaviors.tsv:4",
        found="'u1\\tc c c'; 1 of this kind",
        skipped={"duplicate_user": 1},
        files={"behaviors.tsv": BEHAVIORS + "u1\tc c c\n"},
    ),
    Bad(
        reason="empty_history",
        where="behaviors.tsv:1",
        found="'u0\\t'; 1 of this kind",
        skipped={"empty_history": 1},
        files={"behaviors.tsv": "u0\t  \n" + BEHAVIORS},
    ),
    Bad(
        reason="unknown_item",
        where="behaviors.tsv:1",
        found="'x'; 3 of this kind (unknown_item) in all, on lines 1, 3;",
        skipped={"unknown_item": 3},
        files={"behaviors.tsv": "u1\ta x b x a\nu2\tc\nu3\ty b c\n"},
    ),
    Bad(
        reason="unknown_item",
        where="behaviors.tsv:2",
        found="'A'; 1 of this kind",
        skipped={"unknown_item": 1},
        files={"behaviors.tsv": "u1\ta b a\nu2\tA\nu3\tb c\n"},
        histories={"u1": ["a", "b", "a"], "u2": [], "u3": ["b", "c"]},
    ),
]


@pytest.mark.parametrize("bad", BAD, ids=str)
def test_bad_rows_are_errors_with_file_and_line(tmp_path: Path, bad: Bad) -> None:
    write_files(folder_with(tmp_path), bad.files)
    with pytest.raises(DataError) as caught:
        read_tcf(tmp_path, bad_rows="error")
    bad.check_message(str(caught.value), tmp_path)


@pytest.mark.parametrize("bad", BAD, ids=str)
def test_bad_rows_are_skipped_and_counted(tmp_path: Path, bad: Bad) -> None:
    write_files(folder_with(tmp_path), bad.files)
    bad.check_rest(read_tcf(tmp_path, bad_rows="skip"))


def test_a_later_row_gives_an_item_the_text_that_an_earlier_one_lacks(tmp_path: Path) -> None:
    log = read_tcf(folder_with(tmp_path, "a\t\n" + ITEMS), bad_rows="skip")
    assert texts_of(log) == TEXTS
    assert log.skipped == {"empty_text": 1}
    assert histories_of(log) == HISTORIES


@pytest.mark.parametrize("mode", ["error", "skip"])
@pytest.mark.parametrize(
    ("items", "behaviors", "message"),
    [
        ("", BEHAVIORS, r"items.tsv: .*empty file"),
        (ITEMS, "", r"behaviors.tsv: .*empty file"),
        (ITEMS.replace("\t", ","), BEHAVIORS, r"items.tsv:1: .*found no tab in any line: 'a,Alpha'"),
        (ITEMS, BEHAVIORS.replace("\t", " "), r"behaviors.tsv:1: .*found no tab in any line: 'u1 a b a'"),
        (ITEMS, "u1\ta,b,a\nu2\tc,a\n", r"behaviors.tsv:1: expected item ids of .*items.tsv, found 'a,b,a'"),
    ],
    ids=["empty items", "empty behaviors", "comma items", "space behaviors", "comma histories"],
)
def test_whole_files_of_another_form_are_errors_in_both_modes(
    tmp_path: Path, mode: Literal["error", "skip"], items: str, behaviors: str, message: str
) -> None:
    folder_with(tmp_path, items, behaviors)
    with pytest.raises(DataError, match=message):
        read_tcf(tmp_path, bad_rows=mode)


def test_no_usable_item_is_an_error_even_when_skipping(tmp_path: Path) -> None:
    folder_with(tmp_path, "a\tx\tAlpha\nb\ty\tBeta\n")
    with pytest.raises(DataError, match=r"found none that can be used \(skipped: 2 wrong_columns\)"):
        read_tcf(tmp_path, bad_rows="skip")
