"""Synthetic files like H&M's: as many articles, customers, days and bytes per row, skewed popularity, baskets."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

__all__ = ["ROWS", "write_hm_files"]

ROWS = 31_788_324
_ARTICLES, _CUSTOMERS, _DAYS = 105_542, 1_362_281, 734
_FIRST_DAY = np.datetime64("2018-09-20")
_WORDS = "Strap top Jade Denim Slim Basic Oversized Tee Skinny Cotton Rib Pyjama Lace Trousers Dress".split()
_ITEM_SKEW, _USER_SKEW = 2.5, 3.0
_BASKET = 3  # articles per purchase of a customer

Bytes = npt.NDArray[np.uint8]


def write_hm_files(folder: Path, rows: int = ROWS, seed: int = 0) -> None:
    """Write `articles.csv` and `transactions_train.csv`, sorted by day and, within a day, by customer.

    Args:
        folder: where to write; created if it does not exist.
        rows: number of transactions; the numbers of customers and days shrink with it, days to no fewer than 30.
        seed: random seed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(seed)
    share = rows / ROWS
    n_customers, n_days = max(1000, int(_CUSTOMERS * share)), max(30, int(_DAYS * min(1.0, share * 4)))
    articles = _digits(np.sort(draw.choice(10**9, _ARTICLES, replace=False)), 10)
    _write_articles(folder / "articles.csv", articles, draw)
    customers = np.frombuffer(draw.bytes(32 * n_customers).hex().encode(), np.uint8).reshape(-1, 64)
    with (folder / "transactions_train.csv").open("wb") as file:
        file.write(b"t_dat,customer_id,article_id,price,sales_channel_id\n")
        for day, count in enumerate(np.diff(np.linspace(0, rows, n_days + 1).astype(int))):
            baskets = draw.random(-(-count // _BASKET)).repeat(_BASKET)[:count]
            users = np.sort((n_customers * baskets**_USER_SKEW).astype(int) * 7919 % n_customers)
            items = (_ARTICLES * draw.random(count) ** _ITEM_SKEW).astype(int) * 7919 % _ARTICLES
            _day_of_rows(day, customers[users], articles[items], draw).tofile(file)


def _day_of_rows(day: int, customers: Bytes, articles: Bytes, draw: np.random.Generator) -> Bytes:
    """`2018-09-20,CUSTOMER,ARTICLE,0.05083050847457627,2` and a newline, for each row."""
    count = len(customers)
    date = np.frombuffer(str(_FIRST_DAY + day).encode(), np.uint8)
    prices = np.concatenate([_same(count, b"0.0"), _digits(draw.integers(0, 10**16, count), 16)], axis=1)
    comma = _same(count, b",")
    channel = (ord("1") + draw.integers(0, 2, (count, 1))).astype(np.uint8)
    parts = [np.tile(date, (count, 1)), customers, articles, prices, channel]
    separated = [piece for part in parts for piece in (part, comma)]
    return np.concatenate([*separated[:-1], _same(count, b"\n")], axis=1)


def _same(count: int, text: bytes) -> Bytes:
    return np.tile(np.frombuffer(text, np.uint8), (count, 1))


def _digits(numbers: npt.NDArray[np.int64], width: int) -> Bytes:
    """Decimal digits of numbers with leading zeros, (n, width)."""
    powers = 10 ** np.arange(width - 1, -1, -1, dtype=np.int64)
    return (ord("0") + numbers[:, None] // powers % 10).astype(np.uint8)


def _write_articles(path: Path, ids: Bytes, draw: np.random.Generator) -> None:
    names = draw.integers(0, len(_WORDS), (len(ids), 3))
    with path.open("w", encoding="utf-8") as file:
        file.write("article_id,product_code,prod_name,product_type_name,detail_desc\n")
        for row, words in zip(ids, names.tolist(), strict=True):
            name = " ".join(_WORDS[word] for word in words)
            key = row.tobytes().decode()
            file.write(f'{key},{int(key[:7])},{name},Top,"{name} in soft jersey, with ""narrow"" straps."\n')
