"""Finished runs and baselines combined: scores, weights, what is stored, and what is refused."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from small.evaluate.member_runs import prepared, trained
from small.train.runs import walks
from tcf.common.errors import ConfigError, DataError, RunError
from tcf.config.combine import CombineConfig
from tcf.data.split import held_out, training_counts, training_histories
from tcf.evaluate.combination.combine import combine
from tcf.evaluate.combination.combined_run import CombinedRun
from tcf.evaluate.combination.recorded_combination import is_combination
from tcf.train.run.open_run import open_run

CPU = CombineConfig(device="cpu")


@pytest.fixture(scope="module")
def combined(folder: Path) -> CombinedRun:
    """All kinds of members."""
    config = CombineConfig(device="cpu", weights=(4, 3, 2, 1))
    return combine(
        [folder / "text", folder / "id"], out=folder / "all", config=config, baselines=["co-occurrence", "popularity"]
    )


def standardised(scores_UN: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    scores = scores_UN.astype(np.float64)
    return np.asarray((scores - scores.mean(1, keepdims=True)) / scores.std(1, keepdims=True))


def co_occurrence(run: CombinedRun, histories: list[list[int]]) -> npt.NDArray[np.float64]:
    """log(1 + c) of every item, by loops over pairs."""
    pairs_NN = np.zeros((30, 30))
    training = training_histories(run.dataset.split)
    for user in range(len(training)):
        items = training.of(user).tolist()
        for i, one in enumerate(items):
            for j, other in enumerate(items):
                if i != j and abs(i - j) <= 5:
                    pairs_NN[one, other] += 1 / abs(i - j)
    counts = [sum(pairs_NN[item] / (back + 1) for back, item in enumerate(items[::-1][:5])) for items in histories]
    return np.asarray(np.log1p(np.array(counts)), np.float64)


def test_scores_are_the_weighted_sum_of_the_members_standardised_scores(combined: CombinedRun, folder: Path) -> None:
    users = np.arange(20)
    histories = combined.dataset.histories.take(users)
    parts = []
    for name in ("text", "id"):
        run = open_run(folder / name, device="cpu")
        products = run.user_states(users, histories).astype(np.float64) @ run.item_vectors().astype(np.float64).T
        parts.append(standardised(products))
    counts = np.log1p(training_counts(combined.dataset.split, 30))
    together = co_occurrence(combined, [histories.of(u).tolist() for u in range(20)])
    means_U1 = (together.mean(1) / together.std(1))[:, None]  # which are left out
    parts += [standardised(together) + means_U1, standardised(np.tile(counts, (20, 1)))]
    expected_UN = sum(weight * part for weight, part in zip((0.4, 0.3, 0.2, 0.1), parts, strict=True))
    states = combined.user_states(users, histories)
    added = combined.added_scores(histories)
    assert added is not None
    every_UN = np.tile(np.arange(30, dtype=np.int32), (20, 1))
    found_UN = states.astype(np.float64) @ combined.item_vectors().astype(np.float64).T
    np.testing.assert_allclose(found_UN + added.of(users).at(every_UN), expected_UN, atol=3e-6)
    shares_UNM = combined.shares(users, histories, every_UN)
    for place, weight in enumerate((0.4, 0.3, 0.2, 0.1)):
        np.testing.assert_allclose(shares_UNM[:, :, place], weight * parts[place], atol=3e-6)
    assert not combined.shares(users, histories, np.full((20, 1), -1, np.int32)).any()


def test_items_of_equal_text_have_equal_vectors_from_text_and_popularity_but_not_from_ids(
    folder: Path, tmp_path: Path
) -> None:
    config = CombineConfig(device="cpu", weights=(1, 0.5))
    twice = combine([folder / "text", folder / "text"], out=tmp_path / "c", config=config)
    vectors = twice.item_vectors()
    assert vectors[0].tobytes() == vectors[28].tobytes()
    assert vectors[0].tobytes() != vectors[2].tobytes()


def test_states_are_computed_in_blocks_and_counted(combined: CombinedRun, monkeypatch: pytest.MonkeyPatch) -> None:
    users = np.arange(60)
    histories = combined.dataset.histories
    whole = combined.user_states(users, histories)
    counted: list[int] = []
    monkeypatch.setattr("tcf.evaluate.combination.dense_members._USERS_AT_ONCE", 25)
    np.testing.assert_allclose(combined.user_states(users, histories, counted.append), whole, rtol=1e-5, atol=1e-6)
    assert counted == [25, 25, 10]


def test_the_manifest_has_members_weights_and_metrics(folder: Path, tmp_path: Path) -> None:
    done = combine([folder / "text", folder / "id"], out=tmp_path / "c", config=CPU, baselines=["co-occurrence"])
    facts = json.loads((tmp_path / "c" / "manifest.json").read_text())["facts"]
    assert [member["name"] for member in facts["members"]] == ["text", "id", "co-occurrence"]
    assert [member["kind"] for member in facts["members"]] == ["run", "run", "co-occurrence"]
    assert sum(member["weight"] for member in facts["members"]) == pytest.approx(1)
    of_run = json.loads((folder / "id" / "manifest.json").read_text())["facts"]
    for metric in ("hr@10", "ndcg@10"):
        assert facts["members"][1][metric] == pytest.approx(of_run[metric], abs=1e-6)
        assert facts[metric] == done.metrics[metric] == done.as_json()[f"validation_{metric}"]
    assert facts["users"] == 60 and 0 < facts["fitted_targets"] <= 60
    assert is_combination(tmp_path / "c") and not is_combination(folder / "text") and not is_combination(tmp_path)


def test_fewer_users_and_candidates_may_find_the_weights(folder: Path, tmp_path: Path) -> None:
    runs = [folder / "text", folder / "id"]
    found = [
        combine(
            runs, out=tmp_path / f"{seed}", config=CombineConfig(device="cpu", fit_users=30, shortlist=4, seed=seed)
        )
        for seed in (1, 2)
    ]
    facts = [done.manifest.facts for done in found]
    assert [entry["users"] for entry in facts] == [30, 30]
    assert facts[0]["fitted_targets"] < 30
    assert facts[0]["members"] != facts[1]["members"]  # other users


def test_the_same_again_is_returned_and_has_the_same_bytes_elsewhere(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [folder / "text", folder / "id"]
    combine(runs, out=tmp_path / "a", config=CPU)
    combine(runs, out=tmp_path / "b", config=CPU)
    for file in ("manifest.json", "config.toml"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    monkeypatch.setattr("tcf.evaluate.combination.combine.weigh", None)
    assert combine(runs, out=tmp_path / "a", config=CPU).members
    for settings, message in (({"seed": 1}, "seed: 0 found, 1 requested"), ({"weights": (1, 1)}, "weights: nothing")):
        with pytest.raises(RunError, match=f"expected a combination of these inputs and settings.*{message}"):
            combine(runs, out=tmp_path / "a", config=CombineConfig(device="cpu", **settings))
    with pytest.raises(RunError, match="baselines: nothing found, popularity requested"):
        combine(runs, out=tmp_path / "a", config=CPU, baselines=["popularity"])


def test_a_run_with_itself_changes_nothing(folder: Path, tmp_path: Path) -> None:
    done = combine([folder / "text", folder / "text"], out=tmp_path / "c", config=CPU)
    assert [member.name for member in done.members] == ["text", "text-2"]
    assert [member.weight for member in done.members] == [0.5, 0.5]
    assert done.metrics == done.members[0].metrics == done.members[1].metrics


def test_permuted_members_have_permuted_weights(folder: Path, tmp_path: Path) -> None:
    one = combine([folder / "text", folder / "id"], out=tmp_path / "a", config=CPU)
    other = combine([folder / "id", folder / "text"], out=tmp_path / "b", config=CPU)
    weights = {member.name: member.weight for member in other.members}
    assert {member.name: member.weight for member in one.members} == pytest.approx(weights, abs=2e-6)


def test_weights_do_not_depend_on_test_targets(tmp_path: Path, folder: Path) -> None:
    rng = np.random.default_rng(4)
    others = [[*items[:-1], int(rng.integers(0, 30))] for items in walks()]
    data, cache = prepared(tmp_path, others)
    runs = [trained(tmp_path, items, data, cache, items=items) for items in ("text", "id")]
    one = combine([folder / "text", folder / "id"], out=tmp_path / "a", config=CPU, baselines=["co-occurrence"])
    other = combine(runs, out=tmp_path / "b", config=CPU, baselines=["co-occurrence"])
    assert one.manifest.inputs["dataset"] != other.manifest.inputs["dataset"]
    assert [member.as_json() for member in one.members] == [member.as_json() for member in other.members]
    assert one.metrics == other.metrics


def test_refits_are_weighed_by_the_runs_that_chose_their_epochs(folder: Path, tmp_path: Path) -> None:
    refits = [folder / "text-refit", folder / "id-refit"]
    done = combine(refits, out=tmp_path / "a", config=CPU, baselines=["co-occurrence", "popularity"])
    first = combine(
        [refit / "selection" for refit in refits],
        out=tmp_path / "b",
        config=CPU,
        baselines=["co-occurrence", "popularity"],
        names=["text-refit", "id-refit"],
    )
    assert [member.as_json() for member in done.members] == [member.as_json() for member in first.members]
    assert not len(held_out(done.dataset.split, "validation")) and len(held_out(first.dataset.split, "validation"))
    # The baselines have learned the validation items, as the refits have.
    histories = done.dataset.histories.take(np.arange(5))
    [one, other] = (run.added_scores(histories) for run in (done, first))
    assert one is not None and other is not None
    assert not np.array_equal(one.of(np.arange(5)).values, other.of(np.arange(5)).values)
    with pytest.raises(ConfigError, match="text-refit: expected runs that are all refits, or none.*selection"):
        combine([folder / "id", folder / "text-refit"], out=tmp_path / "c", config=CPU)


def test_a_refit_without_the_run_that_chose_its_epochs_is_combined_no_more_but_opened(
    folder: Path, tmp_path: Path
) -> None:
    for name in ("data", "cache", "text-refit"):
        shutil.copytree(folder / name, tmp_path / name)
    options: dict[str, Any] = {"config": CPU, "baselines": ["popularity"]}
    combine([tmp_path / "text-refit"], out=tmp_path / "a", **options)
    shutil.rmtree(tmp_path / "text-refit" / "selection")
    assert combine([tmp_path / "text-refit"], out=tmp_path / "a", **options).is_refit
    with pytest.raises(RunError, match="selection: expected the run that chose the number of epochs .* found nothing"):
        combine([tmp_path / "text-refit"], out=tmp_path / "b", **options)


@pytest.mark.parametrize(
    ("runs", "options", "message"),
    [
        (["text"], {}, "two members together with baselines, found runs: 1, baselines: 0; .*--baseline"),
        ([], {"baselines": ["popularity", "co-occurrence"]}, "expected at least one run"),
        (["text"], {"baselines": ["popularity"] * 2}, "--baseline: expected each baseline once"),
        (["text", "id"], {"config": CombineConfig(weights=(1,))}, "--weights: expected 2 numbers.*found 1"),
        (["text", "id"], {"names": ["a", "a"]}, "names of members: expected different ones, found a twice"),
        (["text", "id"], {"names": ["a=b", "c"]}, "without = and commas, found 'a=b'"),
        (["text", "all"], {}, "all: expected a run from `tcf train`, found a combination.*name its members"),
        (["text", "data"], {}, "data: expected a directory of format tcf-run"),
        (["text", "id"], {"caches": [Path("x"), Path("y")]}, "--cache: expected the 1 caches.*found 2"),
    ],
)
def test_what_cannot_be_combined_is_refused_before_anything_is_computed(
    folder: Path, combined: CombinedRun, tmp_path: Path, runs: list[str], options: dict[str, Any], message: str
) -> None:
    assert combined.path == folder / "all"
    with pytest.raises((ConfigError, RunError), match=message):
        combine([folder / name for name in runs], out=tmp_path / "c", **{"config": CPU, **options})
    assert [*tmp_path.iterdir()] == []


def test_validation_users_of_whom_a_run_has_learned_nothing_weigh_no_members(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = np.arange(60) < 20
    monkeypatch.setattr("tcf.evaluate.combination.judged_members.trained_users", lambda *_: known)
    done = combine([folder / "text", folder / "id"], out=tmp_path / "a", config=CPU)
    assert done.manifest.facts["users"] == 20
    known = np.zeros(60, np.bool_)
    with pytest.raises(DataError, match="data: expected users with a validation target and a training interaction"):
        combine([folder / "text", folder / "id"], out=tmp_path / "b", config=CPU)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_runs_of_different_datasets_are_refused(folder: Path, tmp_path: Path) -> None:
    data, cache = prepared(tmp_path, walks()[:40])
    other = trained(tmp_path, "other", data, cache, items="id")
    with pytest.raises(ConfigError, match=r"other: expected a run of the dataset of .*text \(fingerprint"):
        combine([folder / "text", other], out=tmp_path / "c", config=CPU)


@pytest.mark.parametrize("weights", [(-1.0, 1.0), (0.0, 0.0), (float("inf"), 1.0), (float("nan"), 1.0), (1e308,) * 2])
def test_weights_must_be_at_least_0_and_one_above(weights: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError, match="--weights: expected numbers of at least 0, at least one above 0"):
        CombineConfig(weights=weights)
