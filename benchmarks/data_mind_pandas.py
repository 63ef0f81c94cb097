"""The pandas implementation of `tcf data prepare mind` that `data_mind.py` compares with.

    python benchmarks/data_mind_pandas.py RAW OUT

It has the same rule for histories and the study's filter: users with at least 5 events, the last 23 events of each, and
only news that occurs in them. Only the necessary columns are read, with the C parser; all work on rows is vectorised by
pandas or NumPy, except that `str.findall` extracts the clicks of rows that have any.
"""

import csv
import sys
from pathlib import Path

import numpy as np
import pandas as pd

_ROW_COLUMNS = {1: "user", 2: "time", 3: "history", 4: "impressions"}
_MIN_HISTORY, _KEEP_LAST = 5, 23


def main() -> None:
    """Read, merge, filter and write."""
    raw, out = Path(sys.argv[1]), Path(sys.argv[2])
    folders = sorted(file.parent for file in raw.glob("*/behaviors.tsv"))
    news = pd.concat([_read(folder / "news.tsv", {0: "id", 3: "title"}) for folder in folders])
    news = news.drop_duplicates("id", ignore_index=True)
    rows = pd.concat([_read(folder / "behaviors.tsv", _ROW_COLUMNS) for folder in folders], ignore_index=True)
    events, users = _events(rows, news)
    _write(out, *_filtered(events, users, news))


def _read(path: Path, columns: dict[int, str]) -> pd.DataFrame:
    frame = pd.read_csv(
        path,
        sep="\t",
        header=None,
        usecols=list(columns),
        dtype=str,
        quoting=csv.QUOTE_NONE,
        keep_default_na=False,
        na_filter=False,
    )
    return frame.rename(columns=columns)


def _events(rows: pd.DataFrame, news: pd.DataFrame) -> tuple[pd.DataFrame, pd.Index]:
    """Events of known news with their users, in order, and the users by first appearance."""
    user, users = pd.factorize(rows.user)
    times = pd.to_datetime(rows.time, format="%m/%d/%Y %I:%M:%S %p")
    place = np.empty(len(rows), np.int64)
    place[np.argsort(times.to_numpy(), kind="stable")] = np.arange(len(rows))
    lengths = rows.history.str.count(" ") + (rows.history != "")
    ranked = pd.DataFrame({"user": user, "length": -lengths, "place": place}).sort_values(["user", "length", "place"])
    longest = ranked.drop_duplicates("user")
    history = rows.history.loc[longest.index].str.split(" ").explode()
    history = pd.DataFrame({"user": user[history.index], "item": history.to_numpy()})
    history = history[history.item != ""]
    clicks = rows.impressions.str.findall(r"(\S+)-1(?!\S)").explode().dropna()
    clicks = pd.DataFrame({"user": user[clicks.index], "item": clicks.to_numpy(), "place": place[clicks.index]})
    clicks = clicks.sort_values("place", kind="stable")
    clicks = clicks[~_held(clicks, history, longest)]
    events = pd.concat([history, clicks[["user", "item"]]], ignore_index=True).sort_values("user", kind="stable")
    events["item"] = pd.Index(news.id).get_indexer(events["item"])
    return events[events["item"] >= 0], users


def _held(clicks: pd.DataFrame, history: pd.DataFrame, longest: pd.DataFrame) -> pd.Series:
    """Return which clicks precede the user's longest history and are already in it."""
    before = clicks[clicks.place < clicks.user.map(longest.set_index("user").place)]
    concerned = history[history.user.isin(before.user.unique())]
    available = concerned.groupby(["user", "item"]).size().rename("available").reset_index()
    nth = before.groupby(["user", "item"]).cumcount()
    matched = before.merge(available, on=["user", "item"], how="left")
    held = pd.Series(False, index=clicks.index)
    held[before.index[nth.to_numpy() < matched.available.fillna(0).to_numpy()]] = True
    return held


def _filtered(
    events: pd.DataFrame, users: pd.Index, news: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame, np.ndarray, np.ndarray]:
    """Items, users, offsets and histories of the dataset."""
    sizes = events.groupby("user").item.transform("size")
    events = events[sizes >= _MIN_HISTORY]
    events = events.groupby("user").tail(_KEEP_LAST)
    items = np.unique(events.item)
    lengths = events.groupby("user").size()
    offsets = np.concatenate([[0], np.cumsum(lengths.to_numpy())]).astype(np.int64)
    histories = np.searchsorted(items, events.item).astype(np.int32)
    chosen = news.iloc[items]
    item_table = pd.DataFrame({"item_id": chosen.id.to_numpy(), "text": chosen.title.to_numpy()})
    return item_table, pd.DataFrame({"user_id": users[lengths.index]}), offsets, histories


def _write(out: Path, items: pd.DataFrame, users: pd.DataFrame, offsets: np.ndarray, histories: np.ndarray) -> None:
    out.mkdir()
    items.to_parquet(out / "items.parquet", index=False)
    users.to_parquet(out / "users.parquet", index=False)
    np.save(out / "history_offsets.npy", offsets)
    np.save(out / "history_items.npy", histories)


if __name__ == "__main__":
    main()
