import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from small.command_line import parse
from tcf.assets.ml_100k import convert_ml_100k
from tcf.assets.resolve import DATASET_NAMES, fetch_dataset, prepare_words
from tcf.assets.source import SourceError
from tcf.data.dataset import open_dataset

GENRES = (
    "unknown Action Adventure Animation Children's Comedy Crime Documentary Drama Fantasy Film-Noir Horror Musical "
    "Mystery Romance Sci-Fi Thriller War Western"
).split()

# Lines of GroupLens' u.item and what RecBole's copy makes of them.
FILMS = {
    "1|Toy Story (1995)|01-Jan-1995||http://us.imdb.com/M/title-exact?Toy%20Story%20(1995)"
    "|0|0|0|1|1|1|0|0|0|0|0|0|0|0|0|0|0|0|0": "1\tToy Story\t1995\tAnimation Children's Comedy",
    "11|Seven (Se7en) (1995)|01-Jan-1995||http://us.imdb.com/M/title-exact?Se7en%20(1995)"
    "|0|0|0|0|0|0|1|0|0|0|0|0|0|0|0|0|1|0|0": "11\tSeven (Se7en)\t1995\tCrime Thriller",
    "267|unknown||||1|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0": "267\tunkonwn\tunkonwn\tunknown",
    "543|Misérables, Les (1995)|01-Jan-1995||http://us.imdb.com/M/title-exact?Mis%E9rables%2C%20Les%20%281995%29"
    "|0|0|0|0|0|0|0|0|1|0|0|0|1|0|0|0|0|0|0": "543\tMisérables, Les\t1995\tDrama Musical",
    "1412|Land Before Time III: The Time of the Great Giving (1995) (V)|01-Jan-1995||http://us.imdb.com/"
    "|0|0|0|1|1|0|0|0|0|0|0|0|0|0|0|0|0|0|0": (
        "1412\tLand Before Time III: The Time of the Great Giving (1995)\tV\tAnimation Children's"
    ),
}
EVENTS = ["196\t242\t3\t881250949", "186\t302\t3\t891717742"]


def grouplens_zip(path: Path, *, events: list[str] = EVENTS, films: list[str] | None = None) -> Path:
    """A zip in GroupLens' layout; like theirs, its text files end with an empty line or two."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("ml-100k/README", "SUMMARY & USAGE LICENSE")
        archive.writestr("ml-100k/u.data", "".join(f"{line}\n" for line in events))
        archive.writestr("ml-100k/u.item", ("\n".join(films or FILMS) + "\n\n").encode("latin-1"))
        archive.writestr("ml-100k/u.genre", "".join(f"{name}|{i}\n" for i, name in enumerate(GENRES)) + "\n")
    return path


def test_the_two_atomic_files_are_those_of_recbole(tmp_path: Path) -> None:
    convert_ml_100k(grouplens_zip(tmp_path / "ml-100k.zip"), tmp_path)
    assert (tmp_path / "ml-100k.inter").read_text(encoding="utf-8").split("\n") == [
        "user_id:token\titem_id:token\trating:float\ttimestamp:float",
        *EVENTS,
        "",
    ]
    assert (tmp_path / "ml-100k.item").read_text(encoding="utf-8").split("\n") == [
        "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq",
        *FILMS.values(),
        "",
    ]


def test_the_expected_lines_are_in_recboles_own_copy(assets_home: Path) -> None:
    folder = fetch_dataset("ml-100k")
    items = (folder / "ml-100k.item").read_text(encoding="utf-8").splitlines()
    events = (folder / "ml-100k.inter").read_text(encoding="utf-8").splitlines()
    assert set(FILMS.values()) <= set(items)
    assert items[0] == "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq"
    assert events[:3] == ["user_id:token\titem_id:token\trating:float\ttimestamp:float", *EVENTS]


def test_the_command_after_the_download_prepares_the_files(tmp_path: Path) -> None:
    films = [line.split("|")[0] for line in FILMS]
    events = [f"1\t{film}\t{1 + place}\t{place}" for place, film in enumerate(films)]
    folder = tmp_path / "raw files"
    folder.mkdir()
    convert_ml_100k(grouplens_zip(tmp_path / "ml-100k.zip", events=events), folder)
    program, *words = shlex.split(prepare_words("ml-100k", folder))
    assert program == "tcf"
    words += ["--out", str(tmp_path / "out"), "--min-history", "3", "--text-columns", "movie_title"]
    done = subprocess.run([sys.executable, "-m", "tcf.cli", *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert open_dataset(tmp_path / "out").statistics["interactions"] == len(films)


def test_the_commands_after_downloads_are_of_the_right_form() -> None:
    for name in DATASET_NAMES:
        parse(f"{prepare_words(name, Path('raw'))} --out dataset")


def test_a_line_of_another_form_is_named(tmp_path: Path) -> None:
    archive = grouplens_zip(tmp_path / "ml-100k.zip", events=[EVENTS[0], "196 242 3 881250949"])
    with pytest.raises(SourceError, match=r"u\.data:2: expected 4 columns, found 1"):
        convert_ml_100k(archive, tmp_path)


def test_another_zip_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("ml-1m/ratings.dat", "1::1193::5::978300760")
    with pytest.raises(SourceError, match=r"other\.zip: expected an archive with .*, found no ml-100k/u\.data"):
        convert_ml_100k(tmp_path / "other.zip", tmp_path)
