"""The metrics of ranks against other programs, and with ties against every order of the tied items."""

import math
from collections.abc import Iterator
from fractions import Fraction
from functools import cache
from itertools import chain, groupby, permutations, product
from typing import get_args

import numpy as np
import numpy.typing as npt
import pytest

from small.score_tables import table_ranker
from tcf.common.ragged import offsets_from
from tcf.data.histories import Histories
from tcf.ranking.metrics import hit_rate, ndcg, rank_metrics, recall, reciprocal_rank
from tcf.ranking.ranks import Policy, Ranks, rank_targets

CUTOFFS = (1, 3, 10, 60)  # the last one is beyond all items
USERS, ITEMS = 50, 40


def csr(rows: list[list[int]]) -> Histories:
    return Histories(offsets_from(np.array([len(row) for row in rows])), np.array([*chain(*rows)], np.int32))


def case(most: int) -> tuple[npt.NDArray[np.float64], list[list[int]], list[list[int]]]:
    """Scores without ties, 1 to `most` targets of each user, and what each has seen: some targets among it."""
    rng = np.random.default_rng(most)
    scores = rng.permuted(np.tile(np.arange(ITEMS, dtype=np.float64), (USERS, 1)), axis=1)
    targets = [rng.permutation(ITEMS)[: rng.integers(1, most + 1)].tolist() for _ in range(USERS)]
    return scores, targets, [rng.permutation(ITEMS)[:8].tolist() for _ in range(USERS)]


def ranked(most: int, policy: Policy) -> Ranks:
    scores, targets, seen = case(most)
    return rank_targets(table_ranker(scores), csr(seen), csr(targets), policy=policy)


def as_run(most: int, policy: Policy) -> tuple[dict[str, dict[str, int]], dict[str, dict[str, float]]]:
    """The same for other programs: what is relevant, and the scores of the candidates."""
    scores, targets, seen = case(most)
    relevant, run = {}, {}
    for user in range(USERS):
        gone = set(seen[user]) - (set(targets[user]) if policy == "keep" else set())
        relevant[f"u{user}"] = {f"i{item}": 1 for item in targets[user]}
        run[f"u{user}"] = {f"i{item}": float(scores[user, item]) for item in range(ITEMS) if item not in gone}
    return relevant, run


def values(ranks: Ranks) -> dict[str, npt.NDArray[np.float64]]:
    return {metric.name: metric.per_user(ranks) for metric in rank_metrics(CUTOFFS, several=True)}


def test_metrics_equal_those_of_ranx() -> None:
    # One test, because ranx compiles its code anew in every process.
    ranx = pytest.importorskip("ranx")
    for most, policy in product((1, 5), get_args(Policy)):
        ours, (relevant, run) = values(ranked(most, policy)), as_run(most, policy)
        names = {name: f"hit_rate{name[2:]}" if name.startswith("hr") else name for name in ours}
        results = ranx.Run(run)
        means = ranx.evaluate(ranx.Qrels(relevant), results, [*names.values()])
        for name, theirs in names.items():
            by_user = np.array([results.scores[theirs][f"u{user}"] for user in range(USERS)])
            assert ours[name] == pytest.approx(by_user, abs=1e-12), (most, policy, name)
            assert ours[name].mean() == pytest.approx(means[theirs], abs=1e-12)


@pytest.mark.parametrize("policy", ["keep", "mask"])
@pytest.mark.parametrize("most", [1, 5])
def test_metrics_equal_those_of_ir_measures(most: int, policy: Policy) -> None:
    measures = pytest.importorskip("ir_measures")
    ours, (relevant, run) = values(ranked(most, policy)), as_run(most, policy)
    kinds = {"hr": measures.Success, "recall": measures.R, "ndcg": measures.nDCG, "mrr": measures.RR}
    names = {}
    for name in ours:
        kind, _, k = name.partition("@")
        names[kinds[kind] @ int(k) if k else kinds[kind]] = name
    found = {name: np.full(USERS, np.nan) for name in ours}
    for entry in measures.iter_calc([*names], relevant, run):
        found[names[entry.measure]][int(entry.query_id[1:])] = entry.value
    for name, theirs in found.items():
        assert ours[name] == pytest.approx(theirs, abs=1e-12), name


def test_the_random_cases_are_not_trivial() -> None:
    kept, masked = ranked(5, "keep"), ranked(5, "mask")
    assert kept.is_candidate.all()
    assert 5 < (~masked.is_candidate).sum() < 60
    assert 0.3 < hit_rate(kept, 10).mean() < 0.95
    assert not np.allclose(hit_rate(kept, 10), recall(kept, 10))


def orders(scores: list[int], candidates: list[int]) -> Iterator[list[int]]:
    """Every order of the candidates from the best score to the worst, each equally likely."""
    ordered = sorted(candidates, key=lambda item: -scores[item])
    groups = [[*permutations(tied)] for _, tied in groupby(ordered, key=lambda item: scores[item])]
    for order in product(*groups):
        yield [*chain(*order)]


@cache
def gain(position: int) -> float:
    return 1 / math.log2(1 + position)


def expected(scores: list[int], seen: list[int], targets: list[int], k: int) -> dict[str, float]:
    """The mean of every metric over all orders, of exact fractions."""
    gone = set(seen)
    found = [
        [place for place, item in enumerate(order, start=1) if item in targets]
        for order in orders(scores, [item for item in range(len(scores)) if item not in gone])
    ]
    share, within = Fraction(1, len(found)), [[place for place in places if place <= k] for places in found]
    at = {place: share * sum(place in places for places in within) for place in range(1, k + 1)}
    ideal = math.fsum(gain(place) for place in range(1, min(k, len(targets)) + 1))
    return {
        "hr": float(share * sum(bool(places) for places in within)),
        "recall": float(share * sum(len(places) for places in within) / len(targets)),
        "ndcg": math.fsum(float(chance) * gain(place) for place, chance in at.items()) / ideal,
        "mrr@k": float(share * sum(Fraction(1, places[0]) for places in within if places)),
        "mrr": float(share * sum(Fraction(1, places[0]) for places in found if places)),
    }


def test_ties_of_several_targets_give_the_mean_over_every_order_of_the_tied_items() -> None:
    rng, tied = np.random.default_rng(8), 0
    n_items, n_users = 7, 120
    scores = rng.integers(0, 3, (n_users, n_items))
    targets = [rng.permutation(n_items)[: rng.integers(1, 5)].tolist() for _ in range(n_users)]
    # Some targets have been seen and are masked; some users have seen everything.
    seen = [
        rng.permutation(n_items)[: rng.integers(0, 3)].tolist() if user % 20 else [*range(7)] for user in range(120)
    ]
    ranks = rank_targets(table_ranker(scores), csr(seen), csr(targets), policy="mask")
    for k in (1, 2, 3, 6, 9):
        ours = {
            "hr": hit_rate(ranks, k),
            "recall": recall(ranks, k),
            "ndcg": ndcg(ranks, k),
            "mrr@k": reciprocal_rank(ranks, k),
            "mrr": reciprocal_rank(ranks, 10**9),
        }
        for user in range(n_users):
            right = expected(scores[user].tolist(), seen[user], targets[user], k)
            assert {name: of_users[user] for name, of_users in ours.items()} == pytest.approx(right, abs=1e-12), user
            tied += len({int(scores[user, item]) for item in targets[user]}) < len(targets[user])
    assert tied > 100
    assert (ranks.candidates == 0).sum() == 6


def test_users_without_candidates_and_targets_that_are_none_by_hand() -> None:
    # User 0 has seen both items; user 1's targets are one that is none of the items, and one that is ranked second.
    ranks = rank_targets(table_ranker([[2, 1], [2, 1]]), csr([[0, 1], []]), csr([[1], [-1, 1]]), policy="mask")
    assert (ranks.candidates.tolist(), ranks.rank.tolist()) == ([0, 2], [1, 3, 2])
    assert hit_rate(ranks, 2).tolist() == [0, 1]
    assert recall(ranks, 2).tolist() == [0, 0.5]
    assert ndcg(ranks, 2).tolist() == pytest.approx([0, gain(2) / (1 + gain(2))])
    assert reciprocal_rank(ranks, 2).tolist() == reciprocal_rank(ranks, 9).tolist() == [0, 0.5]
    assert reciprocal_rank(ranks, 1).tolist() == [0, 0]
