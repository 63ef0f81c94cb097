"""RecBole's files for the parts of a split (`benchmark_filename`), with lists of earlier items and without."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from small.data.raw import histories_of
from small.data.recbole import LISTS, atomic, parts_of, read, recbole
from tcf.common.errors import ConfigError, DataError
from tcf.config.prepare import PrepareConfig
from tcf.data.prepare import prepare
from tcf.data.split import held_out

PLAIN = "user_id:token\titem_id:token\ttimestamp:float"
SESSIONS = LISTS.replace("user", "session")


def split_of(
    folder: Path, header: str, train: Sequence[str], valid: Sequence[str] | None, test: Sequence[str] | None
) -> Path:
    files = {".train": train, ".valid": valid, ".test": test}
    return recbole(folder, {name: atomic(header, *rows) for name, rows in files.items() if rows is not None})


def test_files_of_single_events(tmp_path: Path) -> None:
    """Parts follow one another, whatever the times: the last training event of u is later than its targets."""
    folder = split_of(
        tmp_path, PLAIN, ["u|b|2", "u|a|1", "v|a|5", "u|c|9"], ["u|d|7", "w|a|7"], ["u|f|9", "u|e|8", "v|b|6"]
    )
    log = read(folder)
    assert parts_of(log) == {"u": "a1 b1 c1 d2 e3 f3", "v": "a1 b3", "w": "a2"}
    assert log.times is not None and log.times.tolist() == [1, 2, 9, 7, 8, 9, 5, 6, 7]
    assert sorted(log.files) == ["s.item", "s.test.inter", "s.train.inter", "s.valid.inter"]


def test_recboles_own_example_of_a_split_with_lists(tmp_path: Path) -> None:
    """The rows of `seq_benchmark` in RecBole's tests, with letters for numbers."""
    header = "user_id:token\titem_id:token\ttimestamp:float\titem_id_list:token_seq\ttimestamp_list:float_seq"
    folder = split_of(
        tmp_path,
        header,
        ["1|b|2|a|1", "1|c|3|a b|1 2", "1|d|4|a b c|1 2 3", "4|d|4|c|3", "2|e|5|d|4", "2|f|6|d e|4 5", "3|e|5|d|4"],
        ["1|e|5|a b c d|1 2 3 4", "1|f|6|a b c d e|1 2 3 4 5", "2|g|7|d e f|4 5 6"],
        [
            "1|g|7|a b c d e f|1 2 3 4 5 6",
            "1|x|8|a b c d e f g|1 2 3 4 5 6 7",
            "2|x|8|d e f g|4 5 6 7",
            "3|f|6|d e|4 5",
        ],
    )
    log = read(folder)
    assert parts_of(log) == {
        "1": "a1 b1 c1 d1 e2 f2 g3 x3",
        "4": "c1 d1",
        "2": "d1 e1 f1 g2 x3",
        "3": "d1 e1 f3",
    }
    assert log.times is not None
    assert log.times.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 3, 4, 4, 5, 6, 7, 8, 4, 5, 6]
    assert log.skipped == {}


def test_longest_list_first_cut_and_users_without_training_rows(tmp_path: Path) -> None:
    """As in the files of UniSRec, where lists have at most 50 items, here 2; v has one item for training, so no row."""
    folder = split_of(
        tmp_path,
        LISTS,
        ["u|b c|d", "u|a b|c", "u|a|b"],
        ["u|c d|e", "v|x|y"],
        ["u|d e|f", "v|x y|z"],
    )
    assert parts_of(read(folder)) == {"u": "a1 b1 c1 d1 e2 f3", "v": "x0 y2 z3"}


def test_lists_that_contradict_the_history_are_left_out_and_counted(tmp_path: Path) -> None:
    folder = split_of(tmp_path, LISTS, ["u|a b|c", "v|a b|c"], ["u|c b a|d"], ["u|a b c d x|e", "v|a b|d"])
    log = read(folder)
    assert parts_of(log) == {"u": "a1 b1 c1 d2 e3", "v": "a1 b1 c1 d3"}
    assert log.skipped == {"list_not_in_history": 2}


def test_sessions_are_counted_from_1_in_each_file(tmp_path: Path) -> None:
    folder = split_of(tmp_path, SESSIONS, ["1|a b|c", "2|d|e"], ["1|x|y"], ["1|f|g", "2|d e|f", "3|a b|c"])
    assert parts_of(read(folder)) == {
        "1": "a1 b1 c1",
        "1 (valid)": "x0 y2",
        "1 (test)": "f0 g3",
        "2": "d1 e1 f3",
        "3": "a0 b0 c3",
    }


def test_augmented_sessions_are_counted_from_1_in_each_file(tmp_path: Path) -> None:
    folder = split_of(tmp_path, SESSIONS, ["1|a|b", "2|a b|c", "3|d|e"], None, ["1|a b c|d", "2|a b|c", "3|a|b"])
    assert parts_of(read(folder)) == {"1": "a1 b1 c1", "3": "d1 e1", "1 (test)": "a0 b3 c3 d3"}


def test_another_split_takes_all_events_together(tmp_path: Path) -> None:
    folder = split_of(tmp_path, PLAIN, ["u|a|1", "u|c|9"], ["u|b|3"], ["u|d|8"])
    log = read(folder, split="time")
    assert (histories_of(log), log.parts) == ({"u": list("abdc")}, None)


def test_the_line_and_the_file_of_a_bad_row(tmp_path: Path) -> None:
    folder = split_of(tmp_path, PLAIN, ["u|a|1"], ["u|b|2"], ["u|c|3", "u|Q|4", "u|R|5"])
    with pytest.raises(DataError, match=r"s.test.inter:3: expected an item id of .*found 'Q'; 2 of this kind .* 3, 4"):
        read(folder)
    folder = split_of(tmp_path, PLAIN, ["u|a|1"], ["u|b|2", "u|b|soon"], ["u|c|3"])
    with pytest.raises(DataError, match=r"s.valid.inter:3: expected a number in column timestamp"):
        read(folder)


@pytest.mark.parametrize(
    ("test_header", "faulty", "missing"),
    [
        ("session_id:token\titem_id:token\ttimestamp:float", "train", "session_id"),
        ("user_id:token\titem_id:token\tprice:float", "test", "timestamp"),
    ],
)
def test_files_with_other_columns_of_ids_or_times(tmp_path: Path, test_header: str, faulty: str, missing: str) -> None:
    """Their events would be those of one user without an id, or the times of all files would count for nothing."""
    files = {".train": atomic(PLAIN, "u|a|2", "u|b|1"), ".test": atomic(test_header, "u|c|3")}
    expected = rf"s\.{faulty}\.inter:1: expected a column {missing}, which .*\.inter has, found .*_id, item_id, "
    with pytest.raises(DataError, match=expected):
        read(recbole(tmp_path, files))


def test_a_folder_with_both_kinds_of_files(tmp_path: Path) -> None:
    folder = split_of(tmp_path, PLAIN, ["u|a|1"], None, ["u|b|2"])
    (folder / "s.inter").write_text(atomic(PLAIN, "u|c|3"))
    expected = r"the parts of a split \(s.test.inter, s.train.inter\) and s.inter, found none; give --split given for"
    with pytest.raises(ConfigError, match=expected):
        read(folder)
    assert parts_of(read(folder, split="given")) == {"u": "a1 b3"}
    assert histories_of(read(folder, split="leave-one-out")) == {"u": ["c"]}


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ([".train"], "s.train.inter, s.item"),
        ([".valid", ".test"], "s.test.inter, s.valid.inter, s.item"),
        ([".train", ".evaluation"], "s.evaluation.inter, s.train.inter, s.item"),
        ([".train", ".dev", ".val"], "s.dev.inter, s.train.inter, s.val.inter, s.item"),
        (["2.train", "2.test"], "s2.test.inter, s2.train.inter, s.item"),
    ],
)
def test_incomplete_splits(tmp_path: Path, names: list[str], found: str) -> None:
    recbole(tmp_path, dict.fromkeys(names, atomic(PLAIN, "u|a|1")))
    with pytest.raises(DataError, match=f"expected one NAME.inter, or NAME.train.inter with .*, found {found};"):
        read(tmp_path, split="given")


@pytest.mark.parametrize("part", [".validation", ".val", ".dev"])
def test_other_names_of_the_validation_part(tmp_path: Path, part: str) -> None:
    files = {".train": ["u|a|1"], part: ["u|b|2"], ".test": ["u|c|3"]}
    log = read(recbole(tmp_path, {name: atomic(PLAIN, *rows) for name, rows in files.items()}))
    assert parts_of(log) == {"u": "a1 b2 c3"}


def test_a_split_is_only_advised_where_there_is_one(tmp_path: Path) -> None:
    recbole(tmp_path, dict.fromkeys(["", ".train"], atomic(PLAIN, "u|a|1")))
    with pytest.raises(
        DataError, match=r"expected one NAME.inter, or .*, found s.inter, s.train.inter, s.item; name a"
    ):
        read(tmp_path)


def test_a_part_that_is_a_copy_of_another(tmp_path: Path) -> None:
    rows = [f"u{n}|a|{n}" for n in range(600)]
    folder = split_of(tmp_path, PLAIN, [*rows, "u1|b|1"], rows, rows)
    copied = "s.test.inter: expected a file of its own, found a copy of .*s.valid.inter, whose rows would count twice"
    for split in (None, "time"):
        with pytest.raises(DataError, match=copied):
            read(folder, split=split)


def test_short_histories_where_the_files_bring_a_split(tmp_path: Path) -> None:
    folder = split_of(tmp_path / "raw", PLAIN, ["u|a|1", "v|b|1", "w|a|1"], None, ["u|b|2"])
    dataset = prepare("recbole", folder, tmp_path / "out", PrepareConfig(min_history=1))
    assert histories_of(dataset) == {"u": ["a", "b"], "v": ["b"], "w": ["a"]}
    (folder / "s.test.inter").unlink()
    (folder / "s.train.inter").rename(folder / "s.inter")
    with pytest.raises(ConfigError, match="--min-history: expected at least 3, .*, found 2; fewer only with --split g"):
        prepare("recbole", folder, tmp_path / "other", PrepareConfig(min_history=2))


def test_the_command_makes_a_dataset_of_a_split(tmp_path: Path) -> None:
    folder = split_of(tmp_path / "raw", LISTS, ["u|a|b", "u|a b|c"], ["u|a b c|d"], ["u|a b c d|e", "u|a b c d|f"])
    words = ["data", "prepare", "recbole", str(folder), "--out", str(tmp_path / "out"), "--min-history", "3"]
    done = subprocess.run([sys.executable, "-m", "tcf.cli", *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    dataset = prepare("recbole", folder, tmp_path / "out", PrepareConfig(min_history=3))
    assert histories_of(dataset) == {"u": list("abcdef")}
    ids = dataset.item_ids.to_pylist()
    queries = held_out(dataset.split, "test")
    assert [ids[item] for item in queries.earlier.of(0)] == list("abcd")
    assert [ids[item] for item in queries.targets.of(0)] == ["e", "f"]
