"""H&M's files, row by row, on files small enough to read by eye."""

import hashlib
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from small.data.raw import histories_of, texts_of, with_engine, write_files
from tcf.common.errors import ConfigError, DataError
from tcf.config.prepare import PrepareConfig
from tcf.data.prepare import prepare
from tcf.data.raw.hm import hm_files, read_hm
from tcf.data.raw.raw_log import RawLog
from tcf.data.text_template import parse_template

ARTICLES = (
    "article_id,product_code,prod_name,colour_group_name,detail_desc\n"
    '0108775015,0108775,Strap top,Black,"Jersey top, ""narrow"" straps.\nTwo lines."\n'
    "0108775044,0108775,Strap top,White,\n"
    '0110065001,0110065,"OP T-shirt (Idro)",Black,"Bra"\n'
)
# Not in the order of days: u1's second and third rows are of one day, the last row of an earlier one.
TRANSACTIONS = (
    "t_dat,customer_id,article_id,price,sales_channel_id\n"
    "2018-09-20,c1,0108775015,0.05,2\n"
    "2018-09-21,c1,0108775044,0.05,2\n"
    "2018-09-21,c1,0108775044,0.05,2\n"
    "2018-09-21,c1,0108775015,0.05,1\n"
    "2018-09-21,c2,0110065001,0.03,2\n"
    "2018-09-19,c1,0110065001,0.03,2\n"
    "2018-09-21,c1,0108775044,0.05,2\n"
)
HISTORIES = {
    "c1": ["0110065001", "0108775015", "0108775044", "0108775044", "0108775015", "0108775044"],
    "c2": ["0110065001"],
}
TEXTS = {"0108775015": "Strap top", "0108775044": "Strap top", "0110065001": "OP T-shirt (Idro)"}
DAY = 86_400
FIRST = 17_793 * DAY  # 2018-09-19: 48 years, 12 leap days and 261 days after 1970-01-01


def folder_with(path: Path, transactions: str = TRANSACTIONS, articles: str = ARTICLES) -> Path:
    return write_files(path, {"transactions_train.csv": transactions, "articles.csv": articles})


def read(path: Path, template: str | None = None, bad_rows: Literal["error", "skip"] = "error") -> RawLog:
    return with_engine(read_hm)(
        path, bad_rows=bad_rows, template=None if template is None else parse_template(template)
    )


def test_purchases_by_day_then_in_file_order(tmp_path: Path) -> None:
    log = read(folder_with(tmp_path))
    assert list(histories_of(log).items()) == list(HISTORIES.items())
    assert list(texts_of(log).items()) == list(TEXTS.items())
    assert log.times is not None
    assert log.times.tolist() == [FIRST + DAY * day for day in (0, 1, 2, 2, 2, 2, 2)]
    assert log.skipped == {}
    assert log.files == {
        name: hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
        for name in ("transactions_train.csv", "articles.csv")
    }


def test_one_event_for_an_article_a_day(tmp_path: Path) -> None:
    log = with_engine(read_hm)(folder_with(tmp_path), bad_rows="error", collapse_repeats=True)
    assert histories_of(log) == {"c1": ["0110065001", "0108775015", "0108775044", "0108775015"], "c2": ["0110065001"]}
    assert log.times is not None
    assert log.times.tolist() == [FIRST + DAY * day for day in (0, 1, 2, 2, 2)]
    assert log.skipped == {"repeats_within_day": 2}


def test_parquet_gives_the_same(tmp_path: Path) -> None:
    folder_with(tmp_path)
    options = pa_csv.ConvertOptions(column_types={"article_id": pa.string()})
    parsing = pa_csv.ParseOptions(newlines_in_values=True)
    for name in ("articles", "transactions_train"):
        table = pa_csv.read_csv(tmp_path / f"{name}.csv", convert_options=options, parse_options=parsing)
        assert table.schema.field(0).type in (pa.string(), pa.date32())
        pq.write_table(table, tmp_path / f"{name}.parquet")
        (tmp_path / f"{name}.csv").unlink()
    log = read(tmp_path)
    assert histories_of(log) == HISTORIES
    assert texts_of(log) == TEXTS
    assert log.times is not None
    assert log.times.tolist() == [FIRST + DAY * day for day in (0, 1, 2, 2, 2, 2, 2)]


def test_texts_of_other_columns(tmp_path: Path) -> None:
    log = read(folder_with(tmp_path), "{prod_name} ({colour_group_name}): {detail_desc}")
    assert log.texts.to_pylist() == [
        'Strap top (Black): Jersey top, "narrow" straps.\nTwo lines.',
        "Strap top (White",
        "OP T-shirt (Idro) (Black): Bra",
    ]


def test_bad_rows(tmp_path: Path) -> None:
    transactions = TRANSACTIONS + (
        "2018-09-21,,0108775015,0.05,2\n"
        "21.9.2018,c2,0108775015,0.05,2\n"
        "2018-09-21,c2,108775015,0.05,2\n"
        "2018-09-21,c2,0108775015,0.05\n"
        "2018-09-21,c3,0999999999,0.05,2\n"
    )
    articles = ARTICLES + "0999999999,0999999,,Red,No name\n0108775015,1,Another,Red,\n,1,Nobody's,Red,\n"
    log = read(folder_with(tmp_path, transactions, articles), bad_rows="skip")
    assert histories_of(log) == {**HISTORIES, "c3": []}
    assert texts_of(log) == TEXTS
    assert log.skipped == {
        "empty_id": 2,
        "empty_text": 1,
        "duplicate_item": 1,
        "bad_timestamp": 1,
        "wrong_columns": 1,
        "unknown_item": 1,
        "event_of_skipped_item": 1,
    }


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("21.9.2018,c2,0108775015,0.05,2", ":9: expected a date such as 2019-11-12 or 2019-11-12 14:14:46, found"),
        ("2018-09-21,,0108775015,0.05,2", ":9: expected a customer and an article id, found"),
        ("2018-09-21,c2,108775015,0.05,2", ":9: expected an item id of .*articles.csv, found '108775015'"),
    ],
)
def test_bad_rows_stop_with_their_line(tmp_path: Path, row: str, message: str) -> None:
    with pytest.raises(DataError, match=f"transactions_train.csv{message}"):
        read(folder_with(tmp_path, TRANSACTIONS + row + "\n"))


def test_files_that_are_missing_or_there_twice(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected exactly one of transactions_train.csv, .*, found none of them"):
        hm_files(tmp_path)
    folder_with(tmp_path)
    (tmp_path / "articles.parquet").write_bytes(b"")
    with pytest.raises(DataError, match="found articles.csv, articles.parquet"):
        hm_files(tmp_path)


def test_columns_that_are_missing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"transactions_train.csv: expected one of its columns \(day.*, found t_dat"):
        read(folder_with(tmp_path, TRANSACTIONS.replace("t_dat", "day")))
    with pytest.raises(
        ConfigError, match=r"--template: .*articles.csv: expected one of its columns \(.*\), found title"
    ):
        read(tmp_path, "{title}")


def test_prepared_with_options(tmp_path: Path) -> None:
    config = PrepareConfig(min_history=3, collapse_repeats=True, text_columns=("prod_name", "colour_group_name"))
    dataset = prepare("hm", folder_with(tmp_path / "raw"), tmp_path / "dataset", config)
    assert histories_of(dataset) == {"c1": ["0110065001", "0108775015", "0108775044", "0108775015"]}
    assert dataset.texts.to_pylist() == ["Strap top Black", "Strap top White", "OP T-shirt (Idro) Black"]
    assert dataset.statistics["skipped"]["repeats_within_day"] == 2
    assert prepare("hm", tmp_path / "raw", tmp_path / "dataset", config).fingerprint == dataset.fingerprint


def test_its_options_are_refused_with_other_formats(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--collapse-repeats: expected only with format hm, found with format tcf"):
        prepare("tcf", tmp_path, tmp_path / "dataset", PrepareConfig(collapse_repeats=True))
