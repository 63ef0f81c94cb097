"""Metrics of groups, recomputed from the file of ranks in a few lines."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from small.evaluate.judged import judged, small_dataset
from tcf.common.errors import ConfigError, DataError
from tcf.data.split import leave_one_out
from tcf.evaluate.evaluation import Evaluation
from tcf.ranking.metrics import rank_metrics

Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    return judged(tmp_path_factory.mktemp("groups"), "e", skill=1, cutoffs=(5,), resamples=200)


@pytest.fixture(scope="module")
def rows(done: Evaluation) -> Rows:
    """The file of ranks, with counts that are taken from the dataset anew."""
    dataset = small_dataset(done.path.parent)
    split = leave_one_out(dataset.histories)
    training = [item for user in range(len(split.histories)) for item in split.histories.of(user)[:-2].tolist()]
    found: Rows = pq.read_table(done.path / "ranks.parquet").to_pylist()
    for row in found:
        history = dataset.histories.of(int(row["user_id"][1:])).tolist()
        row |= {"count": training.count(int(row["item_id"][1:])), "before": len(history) - 1}
    return found


def expected(rows: Rows, chosen: Callable[[dict[str, Any]], bool]) -> tuple[int, float, float]:
    """Users, HR@5 and MRR of some rows; there are no ties."""
    ranks = [row["rank"] for row in rows if chosen(row)]
    return len(ranks), sum(rank <= 5 for rank in ranks) / len(ranks), sum(1 / rank for rank in ranks) / len(ranks)


def found(done: Evaluation, by: str) -> dict[str, tuple[int, float, Any]]:
    groups = done.groups(by).groups
    assert all(group.by == by and group.targets == group.users for group in groups)
    return {g.name: (g.users, g.metrics["hr@5"], pytest.approx(g.metrics["mrr"])) for g in groups if g.users}


def test_the_counts_of_the_file_are_those_of_the_dataset(rows: Rows) -> None:
    assert [(row["item_interactions"], row["history"]) for row in rows] == [(r["count"], r["before"]) for r in rows]
    assert 20 < sum(row["count"] == 0 for row in rows) < len(rows)


def test_cold_and_warm_targets(done: Evaluation, rows: Rows) -> None:
    assert found(done, "cold") == {
        "cold": expected(rows, lambda row: row["count"] == 0),
        "warm": expected(rows, lambda row: row["count"] > 0),
    }
    warm = {f"warm-{n}": expected(rows, lambda row, n=n: row["count"] >= n) for n in (1, 10, 30)}  # type: ignore[misc]
    assert found(done, "warm:1,10,30") == warm
    assert [group.name for group in done.groups("warm").groups] == ["warm-20", "warm-50", "warm-200"]


def test_a_group_without_targets_is_shown_as_such(done: Evaluation) -> None:
    table = done.groups("warm:1,1000")
    assert [(group.users, group.metrics) for group in table.groups][1] == (0, {})
    lines = [line.split() for line in str(table).splitlines() if "warm-1000" in line]
    assert all(line[:4] == ["warm:1,1000", "warm-1000", "0", "0"] for line in lines)
    assert [word for line in lines for word in line[4:]] == [*"----"]
    assert math.isnan(table.to_pandas()["hr@5"].iloc[1])


def test_popularity_has_groups_of_about_equal_size(done: Evaluation, rows: Rows) -> None:
    groups = found(done, "popularity:4")
    ends = [tuple(map(int, name.replace(" or more", " to 9999").split(" to "))) for name in groups]
    assert groups == {
        name: expected(rows, lambda row, low=low, high=high: low <= row["count"] <= high)  # type: ignore[misc]
        for name, (low, high) in zip(groups, ends, strict=True)
    }
    assert len(groups) == 4
    assert all(20 <= users <= 40 for users, _, _ in groups.values())
    assert [high + 1 for _, high in ends[:-1]] == [low for low, _ in ends[1:]]
    assert found(done, "popularity:1") == {"0 or more": expected(rows, lambda row: True)}


def test_history(done: Evaluation, rows: Rows) -> None:
    assert found(done, "history:4,8") == {
        "1 to 3": expected(rows, lambda row: row["before"] < 4),
        "4 to 7": expected(rows, lambda row: 4 <= row["before"] < 8),
        "8 or more": expected(rows, lambda row: row["before"] >= 8),
    }
    assert found(done, "history:3,4")["3"] == expected(rows, lambda row: row["before"] == 3)


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
@pytest.mark.usefixtures("shown_log")
def test_a_column_of_a_table(
    done: Evaluation, rows: Rows, tmp_path: Path, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    # Ten, the string, is behind 9; users that are not in the evaluation do not matter; u0 and u1 have no value.
    bands = {f"u{user}": ("10" if user % 3 else "9") for user in range(2, 500)} | {"u1": ""}
    table = pa.table({"band": [*bands.values()], "user_id": [*bands]})
    if suffix == "parquet":
        pq.write_table(table, tmp_path / "t.parquet")
    else:
        table.to_pandas().to_csv(tmp_path / "t.csv", index=False)
    by = f"{tmp_path}/t.{suffix}:band"
    groups = found(done, by)
    assert [*groups] == ["9", "10", "none"]
    for name, group in groups.items():
        assert group == expected(rows, lambda row, name=name: (bands.get(row["user_id"]) or "none") == name)  # type: ignore[misc]
    said = capsys.readouterr().err
    assert (
        f"{by}: 2 of 120 targets have no value and are in the group none: the user_id of 1 is not in the file" in said
    )


def test_a_column_of_items_and_words(done: Evaluation, rows: Rows, tmp_path: Path) -> None:
    lines = [f"i{item},{'odd' if item % 2 else 'even'}" for item in range(40)]
    (tmp_path / "t.csv").write_text("\n".join(["item_id,kind", *lines, "i3,odd"]) + "\n")  # the same twice is no fault
    assert found(done, f"{tmp_path}/t.csv:kind") == {
        "even": expected(rows, lambda row: int(row["item_id"][1:]) % 2 == 0),
        "odd": expected(rows, lambda row: int(row["item_id"][1:]) % 2 == 1),
    }


def test_several_at_once_with_intervals(done: Evaluation) -> None:
    table = done.groups(["cold", "history"])
    assert [*dict.fromkeys(group.by for group in table.groups)] == ["cold", "history"]
    frame = table.to_pandas()
    assert [*frame.columns[:5]] == ["by", "group", "users", "targets", "hr@5"]
    assert (frame["hr@5_low"].dropna() <= frame["hr@5"].dropna()).all()
    entry = table.as_json()[0]
    assert entry["intervals"] == table.groups[0].intervals
    assert (entry["by"], entry["group"], entry["hr@5"]) == ("cold", "cold", frame["hr@5"].iloc[0])
    assert str(table).splitlines()[-1] == "intervals: 95 % (200 resamples) over users"
    whole = done.groups("popularity:1").groups[0]
    assert whole.intervals == done.intervals  # the same users, the same draws


def test_a_group_takes_some_of_a_users_targets(tmp_path: Path) -> None:
    """Two users of two targets each: a group of items has one target of the first, both of the second."""
    columns: dict[str, Any] = {
        "user_id": ["a", "a", "b", "b"],
        "item_id": ["x", "y", "z", "w"],
        "rank": [1.0, 3.0, 2.0, 9.0],
        "ties": [0, 0, 0, 0],
        "candidates": [9, 9, 9, 9],
        "item_interactions": [0, 5, 5, 5],
        "history": [1, 1, 2, 2],
    }

    class Several(Evaluation):
        def table(self) -> pa.Table:
            return pa.table(columns)

    one = judged(tmp_path, "e", skill=0, cutoffs=(2,), resamples=50)
    several = Several(one.path, {**one.metrics, "recall@2": 0.5}, one.manifest)
    cold, warm = several.groups("cold").groups
    assert (cold.users, cold.targets, cold.metrics["hr@2"], cold.metrics["mrr"]) == (1, 1, 1.0, 1.0)
    assert (warm.users, warm.targets, warm.metrics["hr@2"], warm.metrics["recall@2"]) == (2, 3, 0.5, 0.25)
    assert warm.metrics["mrr"] == pytest.approx((1 / 3 + 1 / 2) / 2)


@pytest.mark.parametrize(
    "by",
    [
        "",
        "colde",
        "cold:",
        "cold:5",
        "warm:",
        "warm:a",
        "warm:3,2",
        "warm:0",
        "popularity:2,3",
        "history:-1",
        ":c",
        "f:",
        3,
    ],
)
def test_what_is_no_grouping_is_refused(done: Evaluation, by: Any) -> None:
    with pytest.raises(ConfigError, match=r"^by: expected .*, found "):
        done.groups(by)


def test_files_that_say_nothing_are_refused(done: Evaluation, tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    for text, column, message in (
        ("user_id,a\nu1,2\n", "b", r"expected one of its columns \(user_id, a\), found b"),
        ("id,a\nu1,2\n", "a", r"expected a column item_id or user_id, found neither among id, a; rename one"),
        ("user_id,item_id,a\nu1,i1,2\n", "a", "expected a column item_id or user_id, found both"),
    ):
        file.write_text(text)
        with pytest.raises(ConfigError, match=message):
            done.groups(f"{file}:{column}")
    file.write_text("user_id,a\nu1,2\nu2,2\nu1,3\n")
    with pytest.raises(DataError, match="expected one a of each user_id, found '2' and '3' of u1; keep one of them"):
        done.groups(f"{file}:a")
    with pytest.raises(DataError, match="nowhere.csv"):
        done.groups(f"{tmp_path}/nowhere.csv:a")


def test_as_many_groups_as_counts_at_most(done: Evaluation) -> None:
    """Asked for 10^9 groups, no array of as many is made."""
    assert found(done, "popularity:999999999") == found(done, "popularity:1000")


def test_a_wide_table_is_divided_for_a_terminal(done: Evaluation) -> None:
    wide = replace(done.groups("cold"), measured=tuple(rank_metrics((1, 5, 10, 20, 50), several=False)))
    lines = str(wide).splitlines()
    assert max(map(len, lines)) <= 100
    heads = [line.split() for line in lines if line.startswith("by ")]
    assert all(head[:4] == ["by", "group", "users", "targets"] for head in heads)
    assert [name for head in heads for name in head[4:]] == [metric.name for metric in wide.measured]


def test_equal_counts_are_never_divided() -> None:
    from tcf.evaluate.groups.grouping import Popularity
    from tcf.evaluate.groups.target_groups import target_groups

    def groups(*counts: int) -> dict[str, list[int]]:
        array = np.array(counts, np.int32)
        found = target_groups(Popularity(3), pa.table({"item_interactions": array}))
        return {name: array[chosen].tolist() for name, chosen in found}

    assert groups(7, 7, 7, 7, 7, 0, 9) == {"0 to 6": [0], "7 or more": [7, 7, 7, 7, 7, 9]}
    assert groups(5, 6, 7) == {"0 to 5": [5], "6": [6], "7 or more": [7]}
