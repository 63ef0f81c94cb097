"""From raw files to a dataset: filters, sample, numbering, counts, and what is there already."""

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from small.data.raw import folder_of, histories_of, texts_of
from tcf.common.errors import ConfigError, DataError
from tcf.common.integrity.verified_files import verify_files
from tcf.common.manifest import read_manifest
from tcf.config.prepare import PrepareConfig
from tcf.data.dataset import DATASET
from tcf.data.prepare import prepare
from tcf.data.raw.formats import read_raw
from tcf.data.split import training_histories

ITEMS = {"z": "Last letter", "a": "Alpha", "b": "Beta", "unused": "Never seen", "c": "Alpha", "d": "Old", "é": "Émile"}
USERS = {
    "u4": "d z a b a b",  # loses d to keep_last; a and b repeated
    "u1": "c b",  # too short
    "u3": "a b z",
    "u2": "é b c z a",
}


def raw_tcf(path: Path, items: dict[str, str] = ITEMS, users: dict[str, str] = USERS) -> Path:
    return folder_of(path, items, users)


def raw_recbole(path: Path) -> Path:
    path.mkdir()
    items = "".join(f"{key}\t{value}\n" for key, value in ITEMS.items())
    (path / "x.item").write_text("item_id:token\ttitle:token_seq\n" + items)
    # Newest first, so that only the times give the order.
    events = [
        f"{user}\t{item}\t{time}\n"
        for user, row in USERS.items()
        for time, item in reversed(list(enumerate(row.split())))
    ]
    (path / "x.inter").write_text("user_id:token\titem_id:token\ttimestamp:float\n" + "".join(events))
    return path


SMALL = PrepareConfig(min_history=3, keep_last=5)


@pytest.mark.parametrize("format", ["tcf", "recbole"])
def test_a_dataset_worked_out_by_hand(tmp_path: Path, format: Any) -> None:
    raw = (raw_tcf if format == "tcf" else raw_recbole)(tmp_path / "raw")
    dataset = prepare(format, raw, tmp_path / "out", SMALL)
    # u1 is too short; d is cut off u4's history and seen nowhere else.
    assert dataset.user_ids.to_pylist() == ["u4", "u3", "u2"]
    assert dataset.item_ids.to_pylist() == ["z", "a", "b", "c", "é"]
    assert dataset.texts.to_pylist() == ["Last letter", "Alpha", "Beta", "Alpha", "Émile"]
    assert dataset.histories.offsets.tolist() == [0, 5, 8, 13]
    assert dataset.histories.items.tolist() == [0, 1, 2, 1, 2, 1, 2, 0, 4, 2, 3, 0, 1]
    # Characters: 11, 5, 4, 5, 5. Training: z a b | a | é b c.
    assert dataset.statistics == {
        "users": 3,
        "items": 5,
        "interactions": 13,
        "history_lengths": {"min": 3, "median": 5.0, "mean": pytest.approx(13 / 3), "max": 5},
        "text_lengths": {"min": 4, "median": 5.0, "mean": 6.0, "max": 11},
        "repeated_interactions": 2,
        "duplicate_interactions": None if format == "tcf" else 0,
        "seen_items": dict.fromkeys(("earlier", "others", "earlier_users", "others_users"), 0),
        "targets_like_the_item_before": {
            part: {"targets": 3, "equal": 0, "duplicates": None if format == "tcf" else 0}
            for part in ("test", "validation")
        },
        "items_without_training": 0,
        "unseen_items": 0,
        "duplicate_texts": 1,
        "split": {
            "kind": "leave-one-out",
            "training": 7,
            "training_users": 3,
            "validation": 3,
            "test": 3,
            "between": 0,
            "targets_without_earlier_items": 0,
        },
        "skipped": {
            "users_below_min_history": 1,
            "interactions_of_dropped_users": 2,
            "interactions_cut_by_keep_last": 1,
            "items_never_seen": 2,
        },
    }


def test_items_seen_only_as_targets_are_counted(tmp_path: Path) -> None:
    raw = raw_tcf(tmp_path / "raw", {"a": "A", "b": "B", "c": "C"}, {"u": "a b c", "v": "a a b"})
    dataset = prepare("tcf", raw, tmp_path / "out", SMALL)
    assert dataset.statistics["items_without_training"] == 2
    assert training_histories(dataset.split).items.tolist() == [0, 0]


def test_the_defaults_are_the_studys(tmp_path: Path) -> None:
    items = {f"i{n}": f"Item {n}" for n in range(30)}
    users = {"four": "i0 i1 i2 i3", "five": "i0 i1 i2 i3 i4", "many": " ".join(f"i{n}" for n in range(30))}
    dataset = prepare("tcf", raw_tcf(tmp_path / "raw", items, users), tmp_path / "out", PrepareConfig())
    assert histories_of(dataset) == {"five": users["five"].split(), "many": users["many"].split()[-23:]}
    assert dataset.n_items == 28  # i5 and i6 lie before the last 23


def test_the_manifest_names_inputs_and_settings(tmp_path: Path) -> None:
    raw = raw_tcf(tmp_path / "raw")
    prepare("tcf", raw, tmp_path / "out", PrepareConfig(min_history=3, keep_last=5, sample_users=2, seed=7))
    manifest = read_manifest(tmp_path / "out", DATASET)
    verify_files(tmp_path / "out", manifest, DATASET)
    assert manifest.config == {
        "format": "tcf",
        "min_history": 3,
        "keep_last": 5,
        "sample_users": 2,
        "seed": 7,
        "split": "leave-one-out",
        "text_columns": [],
        "collapse_repeats": False,
        "unescape_html": False,
        "keep_unseen_items": False,
        "min_item_count_over": "kept",
        "drop_duplicates": False,
        "events": [],
        "validation_events": [],
        "test_events": [],
        "items": [],
        "drop": [],
        "bad_rows": "error",
    }
    assert manifest.inputs == {
        name: hashlib.sha256((raw / name).read_bytes()).hexdigest() for name in ("behaviors.tsv", "items.tsv")
    }


def test_skipped_rows_are_in_the_statistics(tmp_path: Path) -> None:
    raw = raw_tcf(tmp_path / "raw", {**ITEMS, "empty": ""}, {**USERS, "u3": "a b x empty z"})
    config = PrepareConfig(min_history=3, keep_last=5, bad_rows="skip")
    dataset = prepare("tcf", raw, tmp_path / "out", config)
    assert histories_of(dataset)["u3"] == ["a", "b", "z"]
    skipped = dataset.statistics["skipped"]
    assert {reason: skipped[reason] for reason in ("empty_text", "unknown_item", "event_of_skipped_item")} == {
        "empty_text": 1,
        "unknown_item": 1,
        "event_of_skipped_item": 1,
    }


def test_a_history_counts_without_its_unusable_events(tmp_path: Path) -> None:
    raw = raw_tcf(tmp_path / "raw", ITEMS, {**USERS, "u5": "a b x"})
    dataset = prepare("tcf", raw, tmp_path / "out", PrepareConfig(min_history=3, keep_last=5, bad_rows="skip"))
    assert "u5" not in histories_of(dataset)
    assert dataset.statistics["skipped"]["users_below_min_history"] == 2


def test_a_sample_is_drawn_among_long_enough_users_and_keeps_their_order(tmp_path: Path) -> None:
    users = {f"u{n}": "a b z a" if n % 2 else "a b" for n in range(200)}
    raw = raw_tcf(tmp_path / "raw", ITEMS, users)

    def sample(count: int, seed: int) -> list[str]:
        config = PrepareConfig(min_history=3, keep_last=5, sample_users=count, seed=seed)
        dataset = prepare("tcf", raw, tmp_path / f"{count}-{seed}", config)
        assert dataset.statistics["skipped"]["users_not_sampled"] == 100 - count
        assert dataset.statistics["skipped"]["interactions_of_users_not_sampled"] == 4 * (100 - count)
        return list(histories_of(dataset))

    first = sample(40, seed=1)
    assert len(first) == 40
    assert all(int(user[1:]) % 2 for user in first)
    assert first == sorted(first, key=lambda user: int(user[1:]))
    assert first != list(users)[1:80:2]
    assert set(sample(10, seed=1)) < set(first)
    assert sample(40, seed=2) != first


def test_a_sample_of_more_users_than_there_are_is_refused(tmp_path: Path) -> None:
    config = PrepareConfig(min_history=3, sample_users=4)
    with pytest.raises(ConfigError, match="--sample-users: expected at most 3, .* at least 3 interactions, found 4"):
        prepare("tcf", raw_tcf(tmp_path / "raw"), tmp_path / "out", config)
    assert not (tmp_path / "out").exists()


def test_nothing_left_says_why(tmp_path: Path) -> None:
    users = {**USERS, "u9": "x a"}
    config = PrepareConfig(min_history=7, bad_rows="skip")
    with pytest.raises(DataError) as caught:
        prepare("tcf", raw_tcf(tmp_path / "raw", ITEMS, users), tmp_path / "out", config)
    message = str(caught.value)
    assert "expected users with at least 7 interactions, found none among 5 users (longest history: 6;" in message
    assert "skipped: 1 unknown_item); lower --min-history" in message
    assert not (tmp_path / "out").exists()


def test_text_columns_of_the_studys_format(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"--text-columns: .*items.tsv: expected one of its columns \(title.*, found brand"
    ):
        prepare("tcf", raw_tcf(tmp_path / "raw"), tmp_path / "out", PrepareConfig(text_columns=("title", "brand")))


def test_text_columns_reach_the_recbole_reader(tmp_path: Path) -> None:
    config = PrepareConfig(min_history=3, text_columns=("item_id", "title"))
    dataset = prepare("recbole", raw_recbole(tmp_path / "raw"), tmp_path / "out", config)
    assert texts_of(dataset)["a"] == "a Alpha"


@pytest.mark.usefixtures("shown_log")
def test_the_same_again_opens_what_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = raw_tcf(tmp_path / "raw")
    first = prepare("tcf", raw, tmp_path / "out", SMALL)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    monkeypatch.setattr("tcf.data.prepare.read_raw", None)  # reading again would fail
    second = prepare("tcf", raw, tmp_path / "out", SMALL)
    assert second.fingerprint == first.fingerprint
    assert histories_of(second) == histories_of(first)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()} == before
    assert "out: already prepared with these settings and inputs; nothing to do\n" in capsys.readouterr().err


def test_other_settings_or_files_are_refused_and_named(tmp_path: Path) -> None:
    raw = raw_tcf(tmp_path / "raw")
    prepare("tcf", raw, tmp_path / "out", SMALL)
    with pytest.raises(DataError, match=r"made with others: min_history: 3 found, 4 requested; .* another folder"):
        prepare("tcf", raw, tmp_path / "out", PrepareConfig(min_history=4, keep_last=5))
    with pytest.raises(DataError, match="made with others: sample_users: nothing found, 2 requested; remove"):
        prepare("tcf", raw, tmp_path / "out", PrepareConfig(min_history=3, keep_last=5, sample_users=2))
    with pytest.raises(DataError, match=r"format: tcf found, recbole requested; .*sha256 of x.inter: nothing found"):
        prepare("recbole", raw_recbole(tmp_path / "other"), tmp_path / "out", SMALL)
    raw_tcf(raw, {**ITEMS, "a": "Another title"})
    with pytest.raises(
        DataError, match=r"made with others: sha256 of items.tsv: \w+\.\.\. found, \w+\.\.\. requested; "
    ):
        prepare("tcf", raw, tmp_path / "out", SMALL)


def test_something_else_in_the_way_is_left_alone(tmp_path: Path) -> None:
    raw = raw_tcf(tmp_path / "raw")
    with pytest.raises(DataError, match="expected a new or empty folder"):
        prepare("tcf", raw, raw, SMALL)
    assert sorted(path.name for path in raw.iterdir()) == ["behaviors.tsv", "items.tsv"]


def test_an_empty_folder_is_not_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert prepare("tcf", raw_tcf(tmp_path / "raw"), tmp_path / "out", SMALL).n_users == 3


@pytest.mark.parametrize("format", ["tcf", "recbole"])
@pytest.mark.parametrize("which", [0, 1])
def test_a_file_that_grows_after_it_was_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: Any, which: int
) -> None:
    raw = (raw_tcf if format == "tcf" else raw_recbole)(tmp_path / "raw")
    growing = sorted(raw.iterdir())[which]

    def then_grow(*asked: Any) -> Any:
        log = read_raw(*asked)
        with growing.open("a") as stream:
            stream.write("more\tof it\n")
        return log

    monkeypatch.setattr("tcf.data.prepare.read_raw", then_grow)
    with pytest.raises(DataError, match=rf"{growing.name}: expected an unchanging file"):
        prepare(format, raw, tmp_path / "out", SMALL)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["raw"]


def test_pandas_is_not_imported(tmp_path: Path) -> None:
    """It is optional, and takes as long to import as everything else."""
    script = (
        "import sys; from pathlib import Path; from tcf.config.prepare import PrepareConfig; "
        "from tcf.data.prepare import prepare; "
        "prepare('tcf', Path(sys.argv[1]), Path(sys.argv[2]), PrepareConfig(min_history=3)); "
        "print('pandas' in sys.modules)"
    )
    words = [sys.executable, "-c", script, str(raw_tcf(tmp_path / "raw")), str(tmp_path / "out")]
    assert subprocess.run(words, capture_output=True, text=True, check=True).stdout == "False\n"
