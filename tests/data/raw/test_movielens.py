"""MovieLens in the three forms that GroupLens publishes, row by row, on files small enough to read by eye."""

from pathlib import Path

import pytest

from small.data.raw import Bad, histories_of, texts_of, with_engine, write_files
from tcf.assets.resolve import fetch_dataset
from tcf.common.errors import ConfigError, DataError
from tcf.data.raw.movielens import movielens_files, read_movielens
from tcf.data.raw.recbole import RecboleOptions, read_recbole
from tcf.data.text_template import joined_columns, parse_template

NAMES = (
    "unknown Action Adventure Animation Children's Comedy Crime Documentary Drama Fantasy Film-Noir Horror Musical "
    "Mystery Romance Sci-Fi Thriller War Western"
).split()


def flags(*genres: str) -> str:
    return "|".join("1" if name in genres else "0" for name in NAMES)


# User 9 comes first; 9 saw 543 and 1 in one second, 543 first in the file.
RATINGS = [("9", "543", 3, 20), ("7", "1", 5, 50), ("9", "1", 4, 20), ("7", "267", 1, 9), ("9", "267", 2, 10)]
HISTORIES = {"9": ["267", "543", "1"], "7": ["267", "1"]}
TIMES = [10, 20, 20, 9, 50]
TEXTS = {"1": "Toy Story", "543": "Misérables, Les", "267": "unknown"}
ALL = parse_template("{title} ({year}): {genres}")
FULL = {"1": "Toy Story (1995): Animation, Comedy", "543": "Misérables, Les (1995): Drama", "267": "unknown"}

ML_100K: dict[str, str | bytes] = {
    "u.data": "".join(f"{user}\t{film}\t{rating}\t{time}\n" for user, film, rating, time in RATINGS),
    "u.item": (
        f"1|Toy Story (1995)|01-Jan-1995||http://us.imdb.com/M/title-exact?Toy|{flags('Animation', 'Comedy')}\n"
        f"543|Misérables, Les (1995)|01-Jan-1995||http://us.imdb.com/|{flags('Drama')}\n"
        f"267|unknown||||{flags('unknown')}\n\n"
    ).encode("latin-1"),
    "u.genre": "never read",
}
ML_1M: dict[str, str | bytes] = {
    "ratings.dat": "".join("::".join(map(str, row)) + "\n" for row in RATINGS),
    "movies.dat": (
        "1::Toy Story (1995)::Animation|Comedy\n543::Misérables, Les (1995)::Drama\n267::unknown::(no genres listed)\n"
    ).encode("latin-1"),
    "users.dat": "never read",
}
ML_10M: dict[str, str | bytes] = {
    **ML_1M,
    "movies.dat": (
        "1::Toy Story (1995)::Animation|Comedy\n543::Misérables, Les (1995)::Drama\n267::unknown::(no genres listed)\n"
    ),
}
ML_20M: dict[str, str | bytes] = {
    "ratings.csv": "userId,movieId,rating,timestamp\n"
    + "".join(f"{user},{film},{rating}.0,{time}\n" for user, film, rating, time in RATINGS),
    "movies.csv": "movieId,title,genres\n1,Toy Story (1995),Animation|Comedy\n"
    '543,"Misérables, Les (1995)",Drama\n267,unknown,(no genres listed)\n',
}


@pytest.mark.parametrize("files", [ML_100K, ML_1M, ML_10M, ML_20M], ids=["100K", "1M", "10M", "20M"])
def test_every_form_gives_the_same(tmp_path: Path, files: dict[str, str | bytes]) -> None:
    log = with_engine(read_movielens)(write_files(tmp_path, files), bad_rows="error")
    assert list(histories_of(log).items()) == list(HISTORIES.items())
    assert log.times is not None and log.times.tolist() == TIMES
    assert (str(log.offsets.dtype), str(log.items.dtype), str(log.times.dtype)) == ("int64", "int32", "int64")
    assert list(texts_of(log).items()) == list(TEXTS.items())
    assert log.skipped == {}
    assert set(log.files) == {path.name for path in movielens_files(tmp_path)}
    assert texts_of(with_engine(read_movielens)(tmp_path, bad_rows="error", template=ALL)) == FULL
    joined = with_engine(read_movielens)(tmp_path, bad_rows="error", template=joined_columns(["genres", "item_id"]))
    assert texts_of(joined) == {"1": "Animation, Comedy 1", "543": "Drama 543", "267": "267"}


@pytest.mark.parametrize("files", [ML_100K, ML_1M, ML_20M], ids=["100K", "1M", "20M"])
def test_ratings_below_the_lowest_wanted_are_counted(tmp_path: Path, files: dict[str, str | bytes]) -> None:
    log = with_engine(read_movielens)(write_files(tmp_path, files), bad_rows="error", min_rating=3)
    assert histories_of(log) == {"9": ["543", "1"], "7": ["1"]}
    assert log.times is not None and log.times.tolist() == [20, 20, 50]
    assert log.skipped == {"below_min_rating": 2}


@pytest.mark.parametrize(
    ("written", "title", "year"),
    [
        ("Seven (Se7en) (1995)", "Seven (Se7en)", "1995"),
        ("Land Before Time III (1995) (V)", "Land Before Time III", "1995"),
        ("Fawlty Towers (1975-1979)", "Fawlty Towers", "1975"),
        ("Diplomatic Immunity (2009– )", "Diplomatic Immunity", "2009"),
        ("2001: A Space Odyssey", "2001: A Space Odyssey", ""),
        ("Blade Runner 2049 (2017)", "Blade Runner 2049", "2017"),
        ("1984 (1956) (1984)", "1984 (1956)", "1984"),
        ("(1995)", "(1995)", ""),
        ("Babylon 5(2007)", "Babylon 5", "2007"),
        ("Movie (Director's Cut)", "Movie (Director's Cut)", ""),
        ('"Great Performances" Cats (1998)', '"Great Performances" Cats', "1998"),
    ],
)
def test_years_are_taken_off_titles(tmp_path: Path, written: str, title: str, year: str) -> None:
    quoted = written.replace('"', '""')
    films = f'movieId,title,genres\n1,"{quoted}",Drama\n'
    ratings = "userId,movieId,rating,timestamp\n1,1,5,1\n"
    folder = write_files(tmp_path, {"movies.csv": films, "ratings.csv": ratings})
    assert texts_of(with_engine(read_movielens)(folder, bad_rows="error")) == {"1": title}
    both = with_engine(read_movielens)(folder, bad_rows="error", template=parse_template("{title}|{year}"))
    assert texts_of(both) == {"1": f"{title}|{year}" if year else title}


def csv_with(ratings: str = "", films: str = "") -> dict[str, str | bytes]:
    return {"ratings.csv": f"{ML_20M['ratings.csv']!s}{ratings}", "movies.csv": f"{ML_20M['movies.csv']!s}{films}"}


BAD = [
    Bad("bad_timestamp", "ratings.csv:7", "timestamp '12:30'", {"bad_timestamp": 1}, files=csv_with("7,1,5,12:30\n")),
    Bad("bad_timestamp", "ratings.csv:7", "timestamp ''", {"bad_timestamp": 1}, files=csv_with("7,1,5,\n")),
    Bad("empty_id", "ratings.csv:7", "userId ''", {"empty_id": 1}, files=csv_with(",1,5,12\n")),
    Bad("unknown_item", "ratings.csv:7", "'12'", {"unknown_item": 1}, files=csv_with("7,12,5,12\n")),
    Bad("wrong_columns", "ratings.csv:7", "'7,1,5'", {"wrong_columns": 1}, files=csv_with("7,1,5\n")),
    Bad("duplicate_item", "movies.csv:5", "'1\\tAgain'", {"duplicate_item": 1}, files=csv_with(films="1,Again,\n")),
    Bad(
        "empty_text",
        "movies.csv:5",
        "'8\\t'",
        {"empty_text": 1, "event_of_skipped_item": 1},
        files=csv_with("7,8,5,12\n", "8,,Drama\n"),
    ),
]


@pytest.mark.parametrize("bad", BAD, ids=str)
def test_bad_rows_stop_or_are_counted(tmp_path: Path, bad: Bad) -> None:
    log = bad.skipped_by(with_engine(read_movielens), tmp_path)
    assert (histories_of(log), texts_of(log)) == (HISTORIES, TEXTS)


def test_a_rating_that_is_no_number_matters_only_where_ratings_are_asked_for(tmp_path: Path) -> None:
    write_files(tmp_path, csv_with("7,1,good,60\n7,1,nan,70\n"))
    assert histories_of(with_engine(read_movielens)(tmp_path, bad_rows="error"))["7"] == ["267", "1", "1", "1"]
    with pytest.raises(
        DataError, match=r"ratings.csv:7: expected a number in column rating, found .*'good'.*bad_rating"
    ):
        with_engine(read_movielens)(tmp_path, bad_rows="error", min_rating=1)
    log = with_engine(read_movielens)(tmp_path, bad_rows="skip", min_rating=0.5)
    assert (log.skipped, histories_of(log)) == ({"bad_rating": 2}, HISTORIES)


def test_a_rating_with_a_sign_is_a_number(tmp_path: Path) -> None:
    write_files(tmp_path, csv_with("7,1,+4.5,60\n7,1,-1e0,70\n"))
    log = with_engine(read_movielens)(tmp_path, bad_rows="error", min_rating=0.5)
    assert histories_of(log)["7"] == ["267", "1", "1"]
    assert log.skipped == {"below_min_rating": 1}


def test_a_file_without_a_column_that_is_needed(tmp_path: Path) -> None:
    write_files(tmp_path, {**ML_20M, "ratings.csv": "userId,movieId,rating\n1,1,5\n"})
    with pytest.raises(
        ConfigError, match=r"ratings.csv: expected one of its columns \(userId, movieId, rating\), found timestamp$"
    ):
        with_engine(read_movielens)(tmp_path, bad_rows="skip")


def test_a_template_of_other_columns_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    write_files(tmp_path, {"movies.csv": "", "ratings.csv": ""})
    with pytest.raises(
        ConfigError, match=r"movies.csv: expected one of its columns \(item_id, title, year, genres\), found director$"
    ):
        with_engine(read_movielens)(tmp_path, bad_rows="skip", template=parse_template("{title} by {director}"))


def test_the_folder_must_hold_one_pair_of_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere: expected a folder, found nothing; check the path"):
        movielens_files(tmp_path / "nowhere")
    write_files(tmp_path, {"u.data": "", "movies.csv": ""})
    with pytest.raises(DataError, match="found u.data, movies.csv; name a folder"):
        movielens_files(tmp_path)
    write_files(tmp_path, {"u.item": "", "ratings.csv": ""})
    with pytest.raises(DataError, match="found u.data, u.item, ratings.csv, movies.csv; name a folder"):
        movielens_files(tmp_path)


def test_nothing_that_can_be_used_is_one_line(tmp_path: Path) -> None:
    write_files(tmp_path, {**ML_20M, "movies.csv": "movieId,title,genres\n1,2\n"})
    with pytest.raises(DataError, match=r"movies.csv: expected rows that can be used, .*: 1 wrong_columns\)"):
        with_engine(read_movielens)(tmp_path, bad_rows="skip")
    write_files(tmp_path, {**ML_20M, "ratings.csv": "userId,movieId,rating,timestamp\n1,1,5,late\n"})
    with pytest.raises(DataError, match=r"ratings.csv: expected events, found none that can be used"):
        with_engine(read_movielens)(tmp_path, bad_rows="skip")


def test_the_real_100k_is_what_recboles_copy_says(assets_home: Path, tmp_path: Path) -> None:
    """RecBole's copy, written back as GroupLens' files."""
    copy = fetch_dataset("ml-100k")
    events = (copy / "ml-100k.inter").read_text(encoding="utf-8").split("\n", 1)[1]
    films = [line.split("\t") for line in (copy / "ml-100k.item").read_text(encoding="utf-8").splitlines()[1:]]
    items = [f"{film}|{title} ({year})||||{flags(*genres.split())}" for film, title, year, genres in films]
    write_files(tmp_path, {"u.data": events, "u.item": "\n".join(items).encode("latin-1")})
    log = with_engine(read_movielens)(tmp_path, bad_rows="error")
    other = with_engine(read_recbole)(copy, bad_rows="error", options=RecboleOptions(min_rating=1))
    assert len(log.items) == 100_000
    assert (log.items == other.items).all() and (log.offsets == other.offsets).all()
    assert log.user_ids.equals(other.user_ids) and log.item_ids.equals(other.item_ids)
    texts, others = texts_of(log), texts_of(other)
    # RecBole took the last word for the year, also where that is (V), and has an ending of its own for no title.
    differing = {film for film in texts if texts[film] != others[film]}
    assert differing == {film for film, _, year, _ in films if not year.isdecimal()}
    assert texts["1412"] == "Land Before Time III: The Time of the Great Giving"
    assert others["1412"] == "Land Before Time III: The Time of the Great Giving (1995)"
