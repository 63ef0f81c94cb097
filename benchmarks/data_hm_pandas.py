"""An optimised pandas implementation of `tcf data prepare hm`, for comparison.

    python benchmarks/data_hm_pandas.py RAW OUT

The C engine reads only the three necessary columns, as categories, so that each string is stored once. Users with fewer
than five purchases are dropped, the others keep their last 23, and articles that are then in no history are dropped.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

_MIN_HISTORY, _KEEP_LAST = 5, 23


def main() -> None:
    """Read, group, filter and write."""
    raw, out = Path(sys.argv[1]), Path(sys.argv[2])
    articles = pd.read_csv(raw / "articles.csv", usecols=["article_id", "prod_name"], dtype=str)
    known_articles = pd.CategoricalDtype(articles["article_id"])
    events = pd.read_csv(
        raw / "transactions_train.csv",
        usecols=["t_dat", "customer_id", "article_id"],
        dtype={"t_dat": "category", "customer_id": "category", "article_id": known_articles},
    )
    customers = events["customer_id"].cat
    users, first = pd.factorize(customers.codes)
    user_ids = customers.categories.take(first)
    items = events["article_id"].cat.codes.to_numpy()
    days = events["t_dat"].cat.codes.to_numpy()  # categories are sorted
    del events
    known = items >= 0
    users, items, days = users[known], items[known], days[known]
    order = np.lexsort((days, users))
    users, items = users[order], items[order]
    counts = np.bincount(users, minlength=len(user_ids))
    ends = np.cumsum(counts)
    places_from_end = ends[users] - np.arange(len(users))
    keep = (counts[users] >= _MIN_HISTORY) & (places_from_end <= _KEEP_LAST)
    users, items = users[keep], items[keep]
    seen = np.bincount(items, minlength=len(articles)) > 0
    lengths = np.bincount(users, minlength=len(user_ids))
    out.mkdir()
    np.save(out / "history_offsets.npy", np.concatenate([[0], np.cumsum(lengths[lengths > 0])]))
    np.save(out / "history_items.npy", (np.cumsum(seen) - 1)[items].astype(np.int32))
    articles[seen].to_parquet(out / "items.parquet")
    pd.DataFrame({"user_id": user_ids[lengths > 0]}).to_parquet(out / "users.parquet")


if __name__ == "__main__":
    main()
