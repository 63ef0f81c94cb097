"""The study's raw format, row by row, on files small enough to read by eye."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from small.data.raw import BEHAVIORS, HISTORIES, ITEMS, TEXTS, folder_with, histories_of, texts_of, with_engine
from tcf.common.errors import DataError
from tcf.data.raw.study import read_study

read_tcf = with_engine(read_study.read_tcf)


def test_rows_as_written_repeats_kept(tmp_path: Path) -> None:
    log = read_tcf(folder_with(tmp_path), bad_rows="error")
    assert log.item_ids.to_pylist() == ["a", "b", "c"]
    assert log.texts.to_pylist() == ["Alpha", "Beta", "Gamma"]
    assert log.user_ids.to_pylist() == ["u1", "u2", "u3"]
    assert log.offsets.tolist() == [0, 3, 4, 6]
    assert log.items.tolist() == [0, 1, 0, 2, 1, 2]
    assert (str(log.offsets.dtype), str(log.items.dtype)) == ("int64", "int32")
    assert log.skipped == {}
    assert log.files == {
        "behaviors.tsv": hashlib.sha256(BEHAVIORS.encode()).hexdigest(),
        "items.tsv": hashlib.sha256(ITEMS.encode()).hexdigest(),
    }


@pytest.mark.parametrize("behaviors_header", ["", "user_id\titem_ids\n", "User ID\thistory\n", "uid\tid\n"])
@pytest.mark.parametrize("items_header", ["", "item_id\ttitle\n", "id\ttitle\n", "News-ID\ttitle\n"])
def test_headers_shift_no_row(tmp_path: Path, behaviors_header: str, items_header: str) -> None:
    log = read_tcf(folder_with(tmp_path, items_header + ITEMS, behaviors_header + BEHAVIORS), bad_rows="error")
    assert list(texts_of(log).items()) == list(TEXTS.items())
    assert list(histories_of(log).items()) == list(HISTORIES.items())
    headers = bool(behaviors_header) + bool(items_header)
    assert log.skipped == ({"header_line": headers} if headers else {})


@pytest.mark.parametrize("position", [0, 1, 2, 3])
def test_an_item_called_id_is_not_lost(tmp_path: Path, position: int) -> None:
    rows = ITEMS.splitlines()
    rows.insert(position, "id\tFreud")
    log = read_tcf(folder_with(tmp_path, "\n".join(rows), BEHAVIORS + "u4\ta id b\n"), bad_rows="error")
    assert texts_of(log) == {**TEXTS, "id": "Freud"}
    assert histories_of(log)["u4"] == ["a", "id", "b"]
    assert log.skipped == {}


def test_an_item_id_inside_another_does_not_hide_a_header(tmp_path: Path) -> None:
    log = read_tcf(folder_with(tmp_path, "id\ttitle\nvideo-id\tAlpha\n", "u\tvideo-id video-id\n"), bad_rows="error")
    assert texts_of(log) == {"video-id": "Alpha"}


@pytest.mark.parametrize("items_header", ["", "id\ttitle\n"])
def test_a_first_user_called_user_is_not_lost(tmp_path: Path, items_header: str) -> None:
    log = read_tcf(folder_with(tmp_path, items_header + ITEMS, "user\tc a\n" + BEHAVIORS), bad_rows="error")
    assert list(histories_of(log).items()) == [("user", ["c", "a"]), *HISTORIES.items()]


def test_a_column_name_further_down_is_no_header(tmp_path: Path) -> None:
    log = read_tcf(folder_with(tmp_path, ITEMS + "item_id\tDelta\n", BEHAVIORS + "user_id\ta\n"), bad_rows="error")
    assert texts_of(log) == {**TEXTS, "item_id": "Delta"}
    assert histories_of(log) == {**HISTORIES, "user_id": ["a"]}


def test_only_the_first_line_can_be_a_header(tmp_path: Path) -> None:
    folder_with(tmp_path, "one\nitem_id\tDelta\n" + ITEMS, "one\nuser_id\tx\n" + BEHAVIORS)
    log = read_tcf(tmp_path, bad_rows="skip")
    assert texts_of(log) == {"item_id": "Delta", **TEXTS}
    assert histories_of(log) == {"user_id": [], **HISTORIES}
    assert log.skipped == {"wrong_columns": 2, "unknown_item": 1}


@pytest.mark.parametrize("name", ["items.tsv", "news.tsv", "videos.tsv"])
def test_names_of_the_item_file(tmp_path: Path, name: str) -> None:
    (folder_with(tmp_path) / "items.tsv").rename(tmp_path / name)
    log = read_tcf(tmp_path, bad_rows="error")
    assert texts_of(log) == TEXTS
    assert sorted(log.files) == sorted(["behaviors.tsv", name])


def test_two_item_files_are_refused(tmp_path: Path) -> None:
    (folder_with(tmp_path) / "news.tsv").write_text(ITEMS)
    with pytest.raises(DataError, match=r"exactly one of .* found items.tsv and news.tsv"):
        read_tcf(tmp_path, bad_rows="skip")


@pytest.mark.parametrize("missing", ["items.tsv", "behaviors.tsv"])
def test_a_missing_file_names_what_is_there(tmp_path: Path, missing: str) -> None:
    (folder_with(tmp_path) / missing).unlink()
    there = {"items.tsv": "behaviors.tsv", "behaviors.tsv": "items.tsv"}[missing]
    with pytest.raises(DataError, match=f"found {there}; "):
        read_tcf(tmp_path, bad_rows="skip")


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected a folder, found nothing; check the path"):
        read_tcf(tmp_path / "nowhere", bad_rows="error")


@pytest.mark.parametrize(
    "written",
    [
        lambda text: text.replace("\n", "\r\n"),
        lambda text: "\ufeff" + text,
        lambda text: "\ufeff" + text.replace("\n", "\r\n"),
        lambda text: text.rstrip("\n"),
        lambda text: text.replace("\t", " \t "),
        lambda text: text.replace("a b a", "  a   b a  "),
    ],
    ids=["crlf", "bom", "bom and crlf", "no last newline", "spaces around tabs", "runs of spaces"],
)
def test_harmless_differences_of_form(tmp_path: Path, written: Callable[[str], str]) -> None:
    log = read_tcf(folder_with(tmp_path, written(ITEMS), written(BEHAVIORS)), bad_rows="error")
    assert list(texts_of(log).items()) == list(TEXTS.items())
    assert list(histories_of(log).items()) == list(HISTORIES.items())
    assert log.skipped == {}


def test_titles_are_taken_as_written_between_their_ends(tmp_path: Path) -> None:
    items = 'a\t "The  MATRIX" \nb\t\'quoted\nc\tAmélie, 1" & 2\' &amp; é\n'
    log = read_tcf(folder_with(tmp_path, items), bad_rows="error")
    assert log.texts.to_pylist() == ['"The  MATRIX"', "'quoted", "Amélie, 1\" & 2' &amp; é"]
