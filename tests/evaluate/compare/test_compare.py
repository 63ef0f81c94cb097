"""Comparisons, recomputed from the files of ranks with loops and a generator of NumPy's."""

import json
import math
import re
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

import tcf
from small.evaluate.judged import judged
from tcf.common.errors import ConfigError, RunError
from tcf.evaluate.compare.comparison import Comparison
from tcf.evaluate.compare.pairs import Draws, metric_statistics
from tcf.evaluate.compare.write_comparison import write_comparison
from tcf.evaluate.evaluation import Evaluation
from tcf.evaluate.seeds import SeedEvaluations
from tcf.evaluate.statistics.holm import holm

NAMES = ("good", "same", "poor")
DRAWS: dict[str, Any] = {"resamples": 2000, "flips": 1999}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two rankings as good as one another, one that is worse, ties, and three seeds of a setting."""
    folder = tmp_path_factory.mktemp("compare")
    judged(folder, "good", skill=1.6, seed=1)
    judged(folder, "same", skill=1.6, seed=2)
    judged(folder, "poor", skill=0.2, seed=3)
    judged(folder, "tied", skill=1, seed=4, levels=1)
    for seed in range(3):
        judged(folder, f"several/seed-{seed}", skill=1.2 + seed / 4, seed=10 + seed)
    return folder


@pytest.fixture(scope="module")
def done(here: Path) -> Comparison:
    return tcf.compare_evaluations({name: here / name for name in NAMES}, ["hr@3", "ndcg@10"], ["cold"], **DRAWS)


def values(folder: Path, name: str, metric: str) -> npt.NDArray[np.float64]:
    """Each user's value, by the definition."""
    ranks = pq.read_table(folder / name / "ranks.parquet")["rank"].to_numpy()
    hits, gains = (ranks <= 3).astype(np.float64), np.where(ranks <= 10, 1 / np.log2(1 + ranks), 0.0)
    return np.asarray(hits if metric == "hr@3" else gains)


def users_of(folder: Path, group: str) -> npt.NDArray[np.bool_]:
    """Which users are in a group of `cold`, or all."""
    counts = pq.read_table(folder / "good" / "ranks.parquet")["item_interactions"].to_numpy()
    return np.asarray({"": counts >= 0, "cold": counts == 0, "warm": counts > 0}[group])


def of(done: Comparison, first: str, second: str, metric: str = "ndcg@10", group: str = "") -> Any:
    [row] = [
        row
        for row in done.differences
        if (row.first, row.second, row.metric, row.group) == (first, second, metric, group)
    ]
    return row


def test_differences_and_means_are_those_of_the_users(done: Comparison, here: Path) -> None:
    for row in done.differences:
        first, second = (values(here, name, row.metric) for name in (row.first, row.second))
        users = users_of(here, row.group)
        assert row.difference == pytest.approx(float(np.mean(first[users] - second[users])))
    for mean in done.means:
        users = users_of(here, mean.group)
        assert mean.mean == pytest.approx(values(here, mean.ranking, mean.metric)[users].mean())
        assert (mean.users, mean.seeds) == (users.sum(), 1)
    assert len(done.differences) == 3 * 2 * 3
    assert [row.group for row in done.means if row.metric == "hr@3"] == [*[""] * 3, *["cold"] * 3, *["warm"] * 3]


def test_intervals_are_those_of_paired_users(done: Comparison, here: Path) -> None:
    rng = np.random.default_rng(0)
    for metric, (first, second) in product(("hr@3", "ndcg@10"), (("good", "same"), ("good", "poor"))):
        differences = values(here, first, metric) - values(here, second, metric)
        drawn = differences[rng.integers(0, len(differences), (4000, len(differences)))].mean(axis=1)
        row = of(done, first, second, metric)
        assert (row.low, row.high) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])), abs=0.012)
        # Users are paired: the width is that of their differences.
        assert row.high - row.low == pytest.approx(3.92 * differences.std() / math.sqrt(120), rel=0.06)
        # Three tests: the normal quantiles of 1 - 0.05 / 3 / 2 and of 0.8.
        assert row.detectable == pytest.approx((2.39398 + 0.84162) * differences.std(ddof=1) / math.sqrt(120), rel=1e-5)


def test_means_have_the_intervals_of_their_evaluations(here: Path) -> None:
    found = tcf.compare_evaluations(
        [here / "good", here / "tied"], ["hr@5", "hr@10", "ndcg@10", "mrr"], resamples=500, flips=9
    )
    for row in found.means:
        evaluation = tcf.open_evaluation(here / row.ranking)
        assert (row.mean, row.low, row.high) == (evaluation.metrics[row.metric], *evaluation.intervals[row.metric])


def test_p_values_are_those_of_flipped_signs(done: Comparison, here: Path) -> None:
    rng = np.random.default_rng(0)
    differences = values(here, "good", "ndcg@10") - values(here, "same", "ndcg@10")
    sums = rng.choice([-1.0, 1.0], (20_000, len(differences))) @ differences
    share = float((np.abs(sums) >= abs(differences.sum())).mean())
    assert of(done, "good", "same").p == pytest.approx(share, abs=0.03)
    assert of(done, "good", "poor").p == 1 / 2000  # as small as 1999 flips can tell, and never 0
    assert of(done, "good", "same").told_apart is False
    assert of(done, "good", "poor").told_apart is True


def test_the_script_of_the_docs_finds_the_same(here: Path) -> None:
    page = Path(tcf.__file__).parents[1] / "docs" / "evaluation.md"
    [script] = [
        part for part in re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.DOTALL) if "flipped" in part
    ]
    words = [sys.executable, "-c", script.replace("10_000", "2_000").replace("9_999", "1_999"), "same", "tied", "5"]
    printed = subprocess.run(words, cwd=here, capture_output=True, text=True, check=True).stdout
    difference, low, high, p = map(float, printed.split())
    [row] = tcf.compare_evaluations([here / "same", here / "tied"], "hr@5", **DRAWS).differences
    assert row.difference == pytest.approx(difference)
    assert (row.low, row.high, row.p) == pytest.approx((low, high, p), abs=0.012)


def test_holm_corrects_over_all_pairs_and_groups_of_a_grouping(done: Comparison) -> None:
    for metric, groups in product(("hr@3", "ndcg@10"), ([""], ["cold", "warm"])):
        rows = [row for row in done.differences if row.metric == metric and row.group in groups]
        assert len(rows) == 3 * len(groups)
        largest = 0.0
        for place, row in enumerate(sorted(rows, key=lambda row: row.p)):
            largest = max(largest, min(1.0, row.p * (len(rows) - place)))
            assert row.p_holm == pytest.approx(largest)


def test_letters_say_who_is_alike(done: Comparison) -> None:
    for metric in ("hr@3", "ndcg@10"):
        letters = {row.ranking: set(row.alike) for row in done.means if row.metric == metric and not row.group}
        for row in done.differences:
            if row.metric == metric and not row.group:
                assert bool(letters[row.first] & letters[row.second]) != row.told_apart
        best = max((row for row in done.means if row.metric == metric and not row.group), key=lambda row: row.mean)
        assert "a" in best.alike


def test_mcnemar_of_hits_without_ties(done: Comparison, here: Path) -> None:
    first, second = values(here, "good", "hr@3"), values(here, "same", "hr@3")
    only_first, only_second = int(((first == 1) & (second == 0)).sum()), int(((first == 0) & (second == 1)).sum())
    n = only_first + only_second
    tail = sum(math.comb(n, k) for k in range(min(only_first, only_second) + 1)) / 2**n
    assert of(done, "good", "same", "hr@3").p_mcnemar == pytest.approx(min(1, 2 * tail))
    assert of(done, "good", "same", "ndcg@10").p_mcnemar is None
    tied = tcf.compare_evaluations([here / "good", here / "tied"], "hr@3", **DRAWS)
    assert tied.differences[0].p_mcnemar is None


def test_who_serves_whom(done: Comparison, here: Path) -> None:
    hits = np.stack([values(here, name, "hr@3") for name in NAMES]) == 1
    served = {row.served_by: row.share for row in done.served if not row.group}
    alone = {f"only {name}": (hits[i] & (hits.sum(axis=0) == 1)).mean() for i, name in enumerate(NAMES)}
    others = {"several, not all": (hits.sum(axis=0) == 2).mean(), "all": hits.all(axis=0).mean()}
    assert served == pytest.approx({**alone, **others, "none": (~hits.any(axis=0)).mean()})
    row = of(done, "good", "poor", "hr@3")
    assert row.only_first == pytest.approx((hits[0] & ~hits[2]).mean())
    assert (row.only_second, row.both) == pytest.approx(((~hits[0] & hits[2]).mean(), (hits[0] & hits[2]).mean()))
    assert row.only_first + row.only_second + row.both + row.neither == pytest.approx(1)
    assert row.only_first - row.only_second == pytest.approx(row.difference)
    assert of(done, "good", "poor").only_first is None


def test_ties_are_served_by_chance(here: Path) -> None:
    found = tcf.compare_evaluations([here / "good", here / "tied"], "hr@3", **DRAWS)
    ranks = pq.read_table(here / "tied" / "ranks.parquet").to_pandas()
    above = ranks["rank"] - 1 - ranks["ties"] / 2
    chance = np.clip((3 - above) / (ranks["ties"] + 1), 0, 1).to_numpy()
    good = values(here, "good", "hr@3")
    shares = {row.served_by: row.share for row in found.served}
    assert shares["only tied"] == pytest.approx(float(((1 - good) * chance).mean()))
    assert shares["all"] == pytest.approx(float((good * chance).mean()))


def test_seeds_widen_intervals_and_tests_pair_users(here: Path) -> None:
    found = tcf.compare_evaluations([here / "several", here / "poor", here / "good"], ["ndcg@10"], **DRAWS)
    assert [(row.ranking, row.seeds) for row in found.means] == [("several", 3), ("poor", 1), ("good", 1)]
    seeds = np.stack([values(here, f"several/seed-{seed}", "ndcg@10") for seed in range(3)])
    mean = next(row for row in found.means if row.ranking == "several")
    several = SeedEvaluations({seed: tcf.open_evaluation(here / f"several/seed-{seed}") for seed in range(3)})
    assert mean.mean == pytest.approx(seeds.mean())
    assert (mean.low, mean.high) == pytest.approx(several.intervals["ndcg@10"], abs=0.01)  # of more resamples
    row = of(found, "several", "poor")
    differences = seeds.mean(axis=0) - values(here, "poor", "ndcg@10")
    assert row.difference == pytest.approx(differences.mean())
    assert row.p == 1 / 2000
    # Student's t with two degrees of freedom is a part of the interval.
    assert row.high - row.low > 2 * 4.30 * seeds.mean(axis=1).std(ddof=1) / math.sqrt(3)
    assert "over users; with several seeds, over users crossed with seeds" in str(found)
    assert row.p_seeds is not None
    assert row.p_holm >= row.p_seeds > 1 / 2001
    assert of(found, "poor", "good").p_seeds is None
    text = str(found)
    assert "p(Holm): the larger of both, adjusted for all pairs by one metric" in text
    [line] = [line for line in text.splitlines() if line.startswith("several - poor ")]
    assert line.split()[7:10] == [f"{p:.2g}" for p in (row.p, row.p_seeds, row.p_holm)]


def test_what_the_users_alone_would_tell_apart_seeds_may_not(tmp_path: Path) -> None:
    """Two seeds that differ by much: a test over users is certain, and another training may say the opposite."""
    for seed, skill in enumerate((0.0, 3.0)):
        judged(tmp_path, f"wide/seed-{seed}", skill=skill, seed=seed)
    judged(tmp_path, "low", skill=0, seed=9)
    [row] = tcf.compare_evaluations([tmp_path / "wide", tmp_path / "low"], "ndcg@10", **DRAWS).differences
    assert row.p < 0.05 < row.p_holm == row.p_seeds
    assert row.low < 0 < row.high
    assert not row.told_apart


def test_of_several_settings_alike_hardly_ever_two_are_told_apart() -> None:
    """Seeds differ and settings do not: of 80 comparisons of six settings, each of 15 pairs, 5 % may be wrong."""
    rng = np.random.default_rng(0)
    wrong, wrong_of_users, wrong_uncorrected = 0, 0, 0
    for repeat in range(80):
        users_U = rng.standard_normal(100)
        seeds = 0.5 * rng.standard_normal((6, 4, 100)) + 0.2 * rng.standard_normal((6, 4, 1)) + users_U
        pairs, _ = metric_statistics([*seeds], Draws(100, 999, repeat, 0.95), hits=False)
        wrong += bool(holm(np.array([pair.p_of_both for pair in pairs])).min() <= 0.05)
        wrong_of_users += bool(holm(np.array([pair.p for pair in pairs])).min() <= 0.05)
        wrong_uncorrected += any(pair.low > 0 or pair.high < 0 for pair in pairs)
    assert wrong <= 8
    assert wrong_of_users > 40
    assert wrong_uncorrected > 12


def test_users_alike_say_nothing_about_others(here: Path) -> None:
    [row] = tcf.compare_evaluations({"good": here / "good", "again": here / "good"}, "ndcg@10", **DRAWS).differences
    assert (row.difference, row.low, row.high, row.p, row.told_apart) == (0, 0, 0, 1, False)
    assert row.detectable is None


@pytest.mark.usefixtures("shown_log")
def test_too_few_flips_are_said(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Three pairs: the strictest of Holm's tests asks for 0.05 / 3, and of n flips p is at least 1 / (n + 1)."""
    for flips in (58, 59):
        tcf.compare_evaluations([here / name for name in NAMES], "hr@3", resamples=9, flips=flips)
        said = capsys.readouterr().err
        assert ("all targets: nothing can be told apart" in said) is (flips == 58)
        assert ("p is at least 1 / 59, and 3 tests together ask for 0.017; give at least 59 flips" in said) is (
            flips == 58
        )
    tcf.compare_evaluations([here / name for name in NAMES], "hr@3", "cold", resamples=9, flips=100)
    assert "cold: nothing can be told apart: p is at least 1 / 101, and 6 tests" in capsys.readouterr().err
    tcf.compare_evaluations([here / "several", here / "good"], "hr@3", resamples=9, flips=100)
    assert "give at least 19 flips and resamples" in capsys.readouterr().err


def test_as_frames_json_and_files(done: Comparison, tmp_path: Path) -> None:
    frame = done.to_pandas()
    assert [*frame.columns] == [*vars(done.differences[0])]
    assert frame["p_mcnemar"].isna().sum() == 9
    assert frame["p_seeds"].isna().all()
    assert done.to_pandas("means")["alike"].tolist() == [row.alike for row in done.means]
    assert done.to_pandas("served")["share"].tolist() == [row.share for row in done.served]
    for _ in range(2):  # a file that tcf wrote is replaced
        for name in ("c.json", "c.parquet", "c.csv"):
            write_comparison(done, tmp_path / name)
    written = json.loads((tmp_path / "c.json").read_text())
    assert written == json.loads(json.dumps(done.as_json()))
    assert (written["format"], written["flips"], written["users"]) == ("tcf-comparison", 1999, 120)
    assert written["rankings"] == {name: name for name in NAMES}
    assert pq.read_table(tmp_path / "c.parquet").to_pylist() == frame.replace({np.nan: None}).to_dict("records")
    assert pyarrow.csv.read_csv(tmp_path / "c.csv")["p_holm"].to_pylist() == frame["p_holm"].tolist()
    (tmp_path / "own.json").write_text('{"format": "mine"}')
    with pytest.raises(RunError, match=r"own\.json: expected an unused path or a file that tcf wrote"):
        write_comparison(done, tmp_path / "own.json")
    with pytest.raises(ConfigError, match=r"ends in \.json, \.parquet or \.csv, found .*c\.txt"):
        write_comparison(done, tmp_path / "c.txt")
    wrong: Any = "pairs"
    with pytest.raises(ConfigError, match="^table: expected one of means, differences, served, found 'pairs'"):
        done.to_pandas(wrong)


def test_the_text(done: Comparison) -> None:
    parts = str(done).split("\n\n")
    assert [part.splitlines()[0] for part in parts[:-1]] == [
        "hr@3 (120 users)",
        "ndcg@10 (120 users)",
        "hr@3, cold: cold (30 users)",
        "ndcg@10, cold: cold (30 users)",
        "hr@3, cold: warm (90 users)",
        "ndcg@10, cold: warm (90 users)",
    ]
    row = of(done, "good", "poor", "hr@3")
    line = parts[0].splitlines()[7]
    assert line.split()[:7] == [
        *("good", "-", "poor", f"+{100 * row.difference:.2f}%"),
        *(f"{100 * row.low:.2f}", "to", f"{100 * row.high:.2f}"),
    ]
    assert parts[0].splitlines()[9].startswith("users with a hit: only good ")
    assert parts[-1].splitlines()[1:] == [
        "p: paired sign-flip test over users, 1,999 flips",
        "p(Holm): p, adjusted for all pairs and all groups of a grouping by one metric",
        "McNemar: p of the exact test of hits, not adjusted",
        "alike: rankings with a letter in common cannot be told apart: p(Holm) is above 0.05",
        "detectable: the smallest true difference that would be found 4 times in 5",
    ]


def test_who_serves_whom_fits_a_terminal(here: Path) -> None:
    names = [f"a ranking of the number {number}" for number in range(4)]
    lines = str(
        tcf.compare_evaluations(dict.fromkeys(names, here / "good"), "hr@3", resamples=9, flips=999)
    ).splitlines()
    first = next(place for place, line in enumerate(lines) if line.startswith("users with a hit: only a ranking"))
    shown = lines[first : lines.index("", first)]
    assert len(shown) > 1
    assert max(map(len, shown)) <= 100
    assert re.findall(r"(\w+) [\d.]+%", " ".join(shown)) == ["0", "1", "2", "3", "all", "all", "none"]


def test_the_same_seed_says_the_same(here: Path) -> None:
    found = [
        tcf.compare_evaluations([here / "good", here / "same"], "mrr", resamples=200, flips=99, seed=seed).differences
        for seed in (3, 3, 4)
    ]
    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"split": "validation"},
            r"same policies, found split test \(good\) and validation \(other\); evaluate all alike",
        ),
        ({"catalogue": "trained"}, r"found catalogue all \(good\) and trained \(other\)"),
        ({"seen": "mask"}, r"found seen keep \(good\) and mask \(other\)"),
        ({"exclude": "all-seen"}, r"found exclude kept \(good\) and all-seen \(other\)"),
    ],
)
def test_other_questions_are_refused(here: Path, tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    other = judged(here, f"other-{'-'.join(settings)}", skill=1, **settings)
    with pytest.raises(ConfigError, match=message):
        tcf.compare_evaluations({"good": here / "good", "other": other}, **DRAWS)


def test_other_datasets_and_users_are_refused(here: Path, tmp_path: Path) -> None:
    good = tcf.open_evaluation(here / "good")
    manifest = good.manifest
    moved = Evaluation(
        good.path, good.metrics, type(manifest)(**{**vars(manifest), "inputs": {"dataset": "0123456789abcdef"}})
    )
    with pytest.raises(ConfigError, match=r"found dataset [0-9a-f]{12} \(good\) and 0123456789ab \(moved\)"):
        tcf.compare_evaluations({"good": good, "moved": moved})

    class Others(Evaluation):
        def table(self) -> Any:
            return super().table().take(np.arange(self.metrics["users"])[::-1])

    with pytest.raises(ConfigError, match="expected those of the same users in the same order, found other users in b"):
        tcf.compare_evaluations({"a": good, "b": Others(good.path, good.metrics, good.manifest)})


def test_what_cannot_be_compared_is_refused(here: Path) -> None:
    with pytest.raises(ConfigError, match=r"^evaluations: expected two or more, found 1; name another"):
        tcf.compare_evaluations(here / "good")
    with pytest.raises(ConfigError, match=r"^evaluations: expected different names, found good twice"):
        tcf.compare_evaluations([here / "good", here / "good"])
    for wrong in ("hr", "hits@10", "coverage@10", "hr@0", "hr@10 ndcg@10"):
        with pytest.raises(ConfigError, match=r"^metrics: expected metrics of ranks, hr@K, .*found "):
            tcf.compare_evaluations([here / "good", here / "same"], wrong)
    two = SeedEvaluations({seed: tcf.open_evaluation(here / f"several/seed-{seed}") for seed in range(2)})
    with pytest.raises(ConfigError, match=r"as many seeds of each setting, found 3 \(several\), 2 \(two\); leave out"):
        tcf.compare_evaluations({"several": here / "several", "two": two})


@pytest.mark.usefixtures("shown_log")
def test_groups_without_targets_are_said(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = tcf.compare_evaluations([here / "good", here / "same"], "hr@5", "warm:1,1000", resamples=50, flips=49)
    assert [row.group for row in found.differences] == ["", "warm-1"]
    assert "warm:1,1000: no targets in warm-1000; nothing to compare there" in capsys.readouterr().err
