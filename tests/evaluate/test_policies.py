"""What is ranked for whom: the catalogue, excluded items and untrained users, of runs and baselines, item by item."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from small.train.evaluations import SMALL
from small.train.runs import csr, make_dataset, walks
from tcf.common.errors import DataError, RunError
from tcf.config.evaluate import EvaluateConfig
from tcf.config.train import TrainConfig
from tcf.data.seen import SeenItems
from tcf.evaluate import evaluation as module
from tcf.evaluate import ranks_table
from tcf.evaluate.evaluation import Evaluation, open_evaluation
from tcf.evaluate.evaluation_table import EvaluationTable
from tcf.evaluate.stage import evaluate_baseline, evaluate_run
from tcf.train.run.open_run import open_run
from tcf.train.stage import train

N_ITEMS = 34  # items 30 to 33 have no training interaction
NEW_USERS = [[4, 9], [30, 11], [31, 32]]  # who have nothing but a test target and an item before it
HISTORIES = [*walks(), *([a, a + 1, a + 2, 30 + a % 4] for a in range(12)), *NEW_USERS]
N_USERS = len(HISTORIES)
_RNG = np.random.default_rng(11)
CUT = [np.unique(_RNG.integers(0, N_ITEMS, 3)).tolist() for _ in HISTORIES]
CUT[0] = [HISTORIES[0][-1]]  # the target itself
LATER = [np.unique(_RNG.integers(0, N_ITEMS, 4)).tolist() for _ in HISTORIES]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset, a run that reads histories, and one that learns users."""
    folder = tmp_path_factory.mktemp("policies")
    texts = [f"text {item}" for item in range(N_ITEMS)]
    dataset = make_dataset(folder, HISTORIES, texts, seen=SeenItems(csr(CUT), csr(LATER)))
    for name, more in (("sasrec", {}), ("dssm", {"backbone": "dssm", "epochs": 1})):
        config = TrainConfig(items="id", **{**SMALL, **more})
        train(data=dataset.path, caches=[], out=folder / name, config=config)
    return folder


def evaluated(made: Path, out: Path, ranking: str, **settings: Any) -> tuple[Evaluation, list[dict[str, Any]]]:
    config = EvaluateConfig(device="cpu", **settings)
    if (made / ranking).exists():
        done = evaluate_run(made / ranking, out=out, config=config)
    else:
        done = evaluate_baseline(ranking, data=made / "data", out=out, config=config)  # type: ignore[arg-type]
    return done, pq.read_table(out / "ranks.parquet").to_pylist()


def scores_of(made: Path, ranking: str) -> Any:
    """Scores of all items for all users before their last item, (U, N)."""
    if ranking == "popularity":
        return np.tile(np.bincount([item for h in HISTORIES for item in h[:-2]], minlength=N_ITEMS), (N_USERS, 1))
    run = open_run(made / ranking, device="cpu")
    states = run.user_states(np.arange(N_USERS), csr([history[:-1] for history in HISTORIES]))
    return states.astype(np.float64) @ run.item_vectors().astype(np.float64).T


@pytest.mark.parametrize("ranking", ["sasrec", "dssm", "popularity"])
@pytest.mark.parametrize("catalogue", ["all", "trained"])
@pytest.mark.parametrize(("exclude", "seen"), [("kept", "keep"), ("all-seen", "keep"), ("all-seen", "mask")])
def test_ranks_are_those_among_what_the_policies_leave(
    made: Path, tmp_path: Path, ranking: str, catalogue: str, exclude: str, seen: str
) -> None:
    done, rows = evaluated(made, tmp_path / "e", ranking, catalogue=catalogue, exclude=exclude, seen=seen)
    scores, unknown, never = scores_of(made, ranking), 0, 0
    for user, (row, history) in enumerate(zip(rows, HISTORIES, strict=True)):
        target = history[-1]
        gone = {*history[:-1], *(CUT[user] if exclude == "all-seen" else [])} - ({target} if seen == "keep" else set())
        candidates = set(range(30 if catalogue == "trained" else N_ITEMS)) - gone
        assert (row["user_id"], row["item_id"], row["candidates"]) == (f"u{user}", f"i{target}", len(candidates))
        unknown += catalogue == "trained" and target >= 30
        if target not in candidates:
            assert (row["rank"], row["ties"]) == (len(candidates) + 1, 0)
            never += 1
            continue
        others = scores[user][[*(candidates - {target})]]
        least = 1 + (others > scores[user][target] + 1e-5).sum()
        most = 1 + (others >= scores[user][target] - 1e-5).sum()
        assert least <= row["rank"] - row["ties"] / 2 <= row["rank"] + row["ties"] / 2 <= most
    assert unknown == (13 if catalogue == "trained" else 0)
    assert never > unknown or seen == "keep"  # user 0's target was seen before its history was cut
    counts = {
        "users": N_USERS,
        "targets": N_USERS,
        "users_without_training": 3,
        "candidates": 30 if unknown else N_ITEMS,
    }
    policies = {"catalogue": catalogue, "exclude": exclude, "seen": seen, "untrained_users": "keep"}
    policies |= {"several_targets": "all"}
    expected = counts | {"targets_outside_catalogue": unknown} | policies | {"split": "test"}
    assert dict(list(done.metrics.items())[4:]) == expected
    assert json.loads((done.path / "metrics.json").read_text()).items() >= done.metrics.items()
    found = np.mean([row["rank"] <= 10 for row in rows if row["ties"] == 0])
    assert ranking == "popularity" or done.metrics["hr@10"] == pytest.approx(found)


@pytest.mark.parametrize("ranking", ["sasrec", "dssm", "co-occurrence"])
@pytest.mark.usefixtures("shown_log")
def test_untrained_users_are_counted_and_left_out_on_request(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], ranking: str
) -> None:
    kept, rows = evaluated(made, tmp_path / "kept", ranking)
    said = "3 of 75 evaluated users have no training interaction, so that their user vectors are random numbers"
    assert (said in capsys.readouterr().err) == (ranking == "dssm")
    some, fewer = evaluated(made, tmp_path / "some", ranking, untrained_users="leave-out")
    assert fewer == rows[:-3]
    assert [(done.metrics["users"], done.metrics["users_without_training"]) for done in (kept, some)] == [
        (75, 3),
        (72, 3),
    ]
    said = capsys.readouterr().err
    assert "3 of these 75 users have no training interaction and are left out" in said
    assert "random numbers" not in said


@pytest.mark.usefixtures("shown_log")
def test_targets_that_cannot_be_found_are_said(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evaluated(made, tmp_path / "e", "random", catalogue="trained")
    assert (
        "30 of 34 items have a training interaction and are ranked; 13 of 75 targets are none of them and count as "
        "never found" in capsys.readouterr().err
    )


def test_nothing_to_rank_is_refused(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, [[0, 1], [1, 0]], ["a", "b"])
    for setting, found in (("catalogue", "items"), ("untrained_users", "evaluated users")):
        value = {"catalogue": "trained", "untrained_users": "leave-out"}[setting]
        config = EvaluateConfig(**{setting: value})  # type: ignore[arg-type]
        with pytest.raises(DataError, match=f"data: expected {found} with a training interaction, found none among 2"):
            evaluate_baseline("random", data=dataset.path, out=tmp_path / "e", config=config)
    assert not (tmp_path / "e").exists()


def test_a_table_names_the_policies_that_are_not_the_usual_ones(made: Path, tmp_path: Path) -> None:
    usual, _ = evaluated(made, tmp_path / "usual", "popularity")
    other, _ = evaluated(made, tmp_path / "other", "popularity", catalogue="trained", untrained_users="leave-out")
    heads = ["ranking", "hr@10", "ndcg@10", "mrr@10", "mrr", "users", "items"]
    assert str(EvaluationTable({"a": usual})).splitlines()[0].split() == heads
    head, first, second, _ = (line.split() for line in str(EvaluationTable({"a": usual, "b": other})).splitlines())
    assert head == [*heads, "catalogue", "untrained-users"]
    assert first[-4:] == ["75", "34", "all", "keep"]
    assert second[-4:] == ["72", "30", "trained", "leave-out"]
    assert "catalogue" not in repr(usual)
    assert repr(other).endswith("), catalogue trained, untrained-users leave-out)")


def test_ranks_are_written_a_group_of_users_at_a_time(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, whole = evaluated(made, tmp_path / "whole", "popularity")
    monkeypatch.setattr(ranks_table, "_ROW_GROUP", 20)
    done, rows = evaluated(made, tmp_path / "groups", "popularity")
    assert rows == whole
    assert pq.ParquetFile(done.path / "ranks.parquet").num_row_groups == 4
    assert done.to_pandas("ranks").to_dict("records") == rows


def test_an_evaluation_of_an_earlier_version_is_refused(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "EVALUATION", replace(module.EVALUATION, version=1))
    done, _ = evaluated(made, tmp_path / "e", "popularity")
    monkeypatch.undo()
    with pytest.raises(
        RunError, match="expected version 3 of tcf-evaluation, found 1; remove it and run `tcf evaluate` again"
    ):
        open_evaluation(done.path)
