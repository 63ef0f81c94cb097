"""MovieLens and Amazon from the published files to the dataset, through the command too."""

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from small.data.raw import histories_of, texts_of, write_files
from tcf.common.errors import ConfigError, DataError
from tcf.common.manifest import read_manifest, sha256_file
from tcf.config.prepare import PrepareConfig
from tcf.data.dataset import DATASET
from tcf.data.prepare import prepare

FILMS = "movieId,title,genres\n1,Toy Story (1995),Animation|Comedy\n2,Heat (1995),Crime\n3,Big (1988),Comedy\n4,Up,\n"
EVENTS = ["5,3,4,30", "5,1,5,10", "6,1,3.5,4", "5,2,0.5,20", "6,2,4,3", "6,3,4,5", "5,4,3,20"]
RATINGS = "\n".join(["userId,movieId,rating,timestamp", *EVENTS, ""])


def movielens(folder: Path) -> Path:
    return write_files(folder, {"ratings.csv": RATINGS, "movies.csv": FILMS})


def test_movielens_becomes_a_dataset(tmp_path: Path) -> None:
    raw = movielens(tmp_path / "raw")
    config = PrepareConfig(min_history=3, template="{title} ({genres})")
    dataset = prepare("movielens", raw, tmp_path / "out", config)
    assert histories_of(dataset) == {"5": ["1", "2", "4", "3"], "6": ["2", "1", "3"]}
    assert texts_of(dataset) == {
        "1": "Toy Story (Animation, Comedy)",
        "2": "Heat (Crime)",
        "3": "Big (Comedy)",
        "4": "Up)",
    }
    manifest = read_manifest(tmp_path / "out", DATASET)
    assert manifest.inputs == {name: sha256_file(raw / name) for name in ("ratings.csv", "movies.csv")}
    assert prepare("movielens", raw, tmp_path / "out", config).fingerprint == dataset.fingerprint


def test_ratings_too_low_make_histories_shorter(tmp_path: Path) -> None:
    raw = movielens(tmp_path / "raw")
    dataset = prepare("movielens", raw, tmp_path / "out", PrepareConfig(min_history=3, min_rating=3.0))
    assert histories_of(dataset) == {"5": ["1", "4", "3"], "6": ["2", "1", "3"]}
    assert dataset.statistics["skipped"] == {"below_min_rating": 1}
    with pytest.raises(DataError, match=r"made with others: min_rating: 3.0 found, nothing requested"):
        prepare("movielens", raw, tmp_path / "out", PrepareConfig(min_history=3))


def test_a_rating_above_all_of_them(tmp_path: Path) -> None:
    raw = movielens(tmp_path / "raw")
    with pytest.raises(
        ConfigError, match=r"^--min-rating: .* found 5.5, while .*ratings.csv has ratings from 0.5 to 5; g"
    ):
        prepare("movielens", raw, tmp_path / "out", PrepareConfig(min_history=3, min_rating=5.5))


@pytest.mark.parametrize("format", ["tcf", "mind", "hm", "table"])
def test_other_formats_have_no_ratings(tmp_path: Path, format: Any) -> None:
    with pytest.raises(ConfigError, match=r"^--min-rating: expected only with format recbole, movielens or amazon, f"):
        prepare(format, tmp_path, tmp_path / "out", PrepareConfig(min_rating=4.0))


def test_the_command_takes_both(tmp_path: Path) -> None:
    metadata = [{"parent_asin": item, "title": f"Title {item}", "main_category": "All"} for item in "abc"]
    reviews = [
        {"rating": 5.0, "parent_asin": item, "user_id": "u", "timestamp": 1_600_000_000_000 - at}
        for at, item in enumerate("abc")
    ]
    write_files(
        tmp_path / "amazon",
        {
            f"{name}.jsonl.gz": gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode())
            for name, rows in (("All_Beauty", reviews), ("meta_All_Beauty", metadata))
        },
    )
    movielens(tmp_path / "movielens")
    for format, events in (("amazon", 3), ("movielens", 6)):
        command = [sys.executable, "-m", "tcf.cli", "data", "prepare", format, str(tmp_path / format)]
        command += ["--out", str(tmp_path / f"{format}.out"), "--min-history", "3", "--min-rating", "1"]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        found = read_manifest(tmp_path / f"{format}.out", DATASET).facts
        assert found["interactions"] == events
    assert histories_of(prepare("amazon", tmp_path / "amazon", tmp_path / "again", PrepareConfig(min_history=3))) == {
        "u": ["c", "b", "a"]
    }
