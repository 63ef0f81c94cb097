"""MIND and NineRec from published folders to datasets, worked out by hand."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from small.data.raw import histories_of, texts_of, write_files
from tcf.commands.app import app
from tcf.common.errors import DataError
from tcf.common.manifest import read_manifest
from tcf.config.prepare import PrepareConfig
from tcf.data.dataset import DATASET, open_dataset
from tcf.data.prepare import prepare

NEWS = "".join(f"N{n}\tsports\tgolf\tTitle {n}\tAbout {n}\t\t[]\t[]\n" for n in range(6))
TRAIN = (
    "1\tU1\t11/12/2019 1:00:00 PM\tN0 N1\tN2-1 N5-0\n"
    "2\tU2\t11/12/2019 2:00:00 PM\tN3\tN4-0\n"
    "3\tU3\t11/12/2019 2:00:00 PM\tN1 N2 N3\tN4-1 N9-1\n"
)
DEV = "1\tU1\t11/15/2019 9:30:00 AM\tN0 N1 N2\tN0-0 N3-1 N0-1\n"


def mind(path: Path) -> Path:
    write_files(path / "MINDsmall_train", {"news.tsv": NEWS, "behaviors.tsv": TRAIN})
    write_files(path / "MINDsmall_dev", {"news.tsv": NEWS, "behaviors.tsv": DEV})
    return path


def test_a_dataset_worked_out_by_hand(tmp_path: Path) -> None:
    config = PrepareConfig(min_history=3, text_columns=("category", "title"))
    dataset = prepare("mind", mind(tmp_path / "raw"), tmp_path / "out", config)
    assert list(histories_of(dataset).items()) == [
        ("U1", ["N0", "N1", "N2", "N3", "N0"]),
        ("U3", ["N1", "N2", "N3", "N4"]),
    ]
    assert texts_of(dataset) == {f"N{n}": f"sports Title {n}" for n in range(5)}
    manifest = read_manifest(tmp_path / "out", DATASET)
    names = [f"MINDsmall_{part}/{name}" for part in ("dev", "train") for name in ("behaviors.tsv", "news.tsv")]
    assert sorted(manifest.inputs) == names
    assert manifest.facts["skipped"] == {
        "duplicate_item": 6,
        "click_in_later_history": 1,
        "unknown_item": 1,
        "users_below_min_history": 1,
        "interactions_of_dropped_users": 1,
        "items_never_seen": 1,
    }


def test_the_same_files_again_and_others(tmp_path: Path) -> None:
    raw, config = mind(tmp_path / "raw"), PrepareConfig(min_history=3)
    first = prepare("mind", raw, tmp_path / "out", config)
    assert prepare("mind", raw, tmp_path / "out", config).fingerprint == first.fingerprint
    (raw / "MINDsmall_dev" / "behaviors.tsv").write_text(DEV.replace("N3-1", "N4-1"))
    with pytest.raises(DataError, match=r"sha256 of MINDsmall_dev/behaviors.tsv"):
        prepare("mind", raw, tmp_path / "out", config)


def test_split_by_time(tmp_path: Path) -> None:
    raw = mind(tmp_path / "raw")
    (raw / "MINDsmall_train" / "behaviors.tsv").write_text(TRAIN + "4\tU3\t11/14/2019 1:00:00 PM\tN1 N2 N3\tN0-1\n")
    config = PrepareConfig(min_history=3, split="time", test_from="2019-11-15", validation_from="2019-11-14")
    dataset = prepare("mind", raw, tmp_path / "out", config)
    # U1's history of the 15th holds N2, which was clicked on the 12th, so it is for training.
    assert histories_of(dataset) == {"U1": ["N0", "N1", "N2", "N3"], "U3": ["N1", "N2", "N3", "N4", "N0"]}
    assert dataset.split.training.tolist() == [3, 4]
    assert dataset.split.test.tolist() == [1, 0]


def test_the_commands(tmp_path: Path) -> None:
    items = 'v1,一,"One, two"\nv2,二,Two\nv3,三,Three\n'
    pairs = "v3,u1,30\nv1,u1,10\nv2,u1,20\n"
    raw = write_files(tmp_path / "raw", {"Bili_2M_item.csv": items, "Bili_2M_pair.csv": pairs})
    for format, folder, options in (
        ("mind", mind(tmp_path / "published"), []),
        ("tcf", raw, ["--text-columns", "title_zh"]),
    ):
        command = ["data", "prepare", format, str(folder), "--out", str(tmp_path / format), "--min-history", "3"]
        assert CliRunner().invoke(app, [*command, *options]).exit_code == 0
    assert texts_of(open_dataset(tmp_path / "tcf")) == {"v1": "一", "v2": "二", "v3": "三"}
    assert histories_of(open_dataset(tmp_path / "tcf")) == {"u1": ["v1", "v2", "v3"]}
    assert open_dataset(tmp_path / "mind").n_users == 2
