"""A part of the catalogue is ranked as if there were nothing else."""

import numpy as np
import numpy.typing as npt
import pytest

from small.score_tables import ScoreTable
from small.train.runs import csr
from tcf.data.histories import one_each
from tcf.ranking import count_ranks
from tcf.ranking.catalogue import Catalogue
from tcf.ranking.faiss_ranker import FaissRanker
from tcf.ranking.ranked_items import RankedItems
from tcf.ranking.ranker import DenseRanker, Ranker
from tcf.ranking.ranks import Policy, rank_targets
from tcf.ranking.scorers import InnerProduct


def expected(
    scores: npt.NDArray[np.float32], ranked: set[int], seen: set[int], target: int, policy: Policy
) -> tuple[float, int, int]:
    """Rank, ties and candidates of one user, item by item."""
    gone = seen - ({target} if policy == "keep" else set())
    candidates = ranked - gone
    if target not in candidates:
        return len(candidates) + 1, 0, len(candidates)
    others = [scores[item] for item in candidates - {target}]
    above, ties = (int(np.sum(np.array(others) > scores[target])), int(np.sum(np.array(others) == scores[target])))
    return 1 + above + ties / 2, ties, len(candidates)


@pytest.mark.parametrize("policy", ["keep", "mask"])
@pytest.mark.parametrize("kind", ["inner product", "table"])
@pytest.mark.parametrize("depth", [None, 3])
def test_ranks_among_some_items_by_brute_force(
    monkeypatch: pytest.MonkeyPatch, policy: Policy, kind: str, depth: int | None
) -> None:
    monkeypatch.setattr(count_ranks, "_SCORES_AT_ONCE", 400)
    rng = np.random.default_rng(3)
    vectors = rng.integers(-2, 3, (150, 3)).astype(np.float32)  # many equal ones
    states = rng.integers(-3, 4, (40, 3)).astype(np.float32)
    histories = [rng.integers(0, 150, rng.integers(0, 30)).tolist() for _ in range(40)]
    targets = rng.integers(0, 150, 40)
    targets[:8] = [history[0] if history else 0 for history in histories[:8]]
    ranked = RankedItems.where(rng.random(150) < 0.6)
    asked: list[int] = []
    if kind == "table":
        ranker: Ranker = DenseRanker(ScoreTable((states @ vectors.T)[:, ranked.items], asked))
    else:
        ranker = FaissRanker(InnerProduct(Catalogue.build(ranked.vectors(vectors)), states))
    places = ranked.places_of(one_each(targets))
    found = rank_targets(ranker, ranked.of_histories(csr(histories)), places, policy=policy, depth=depth)
    assert 5 < (places.items < 0).sum() < 35
    assert max(asked, default=0) <= 400 // len(ranked)
    scores, items = states @ vectors.T, set(ranked.items.tolist())
    for user, (history, target) in enumerate(zip(histories, targets.tolist(), strict=True)):
        rank, ties, candidates = expected(scores[user], items, set(history), target, policy)
        assert found.candidates[user] == candidates
        if depth is None or rank > candidates or rank - ties / 2 <= depth:
            assert (found.rank[user], found.equal[user]) == (rank, ties)
        else:
            assert (found.greater[user], found.equal[user]) == (depth, 0)


def test_the_whole_catalogue_is_not_copied() -> None:
    ranked, vectors, histories = RankedItems.where(np.ones(4, bool)), np.ones((4, 2), np.float32), csr([[1, 2], [3]])
    assert ranked.are_all
    assert ranked.vectors(vectors) is vectors
    assert ranked.of_histories(histories) is histories


def test_places_by_hand() -> None:
    ranked = RankedItems.where(np.array([False, True, False, True, True]))
    assert (len(ranked), ranked.items.tolist(), ranked.places.tolist()) == (3, [1, 3, 4], [-1, 0, -1, 1, 2])
    histories = ranked.of_histories(csr([[4, 0, 1], [2], [], [3, 3]]))
    assert [histories.of(user).tolist() for user in range(4)] == [[2, 0], [], [], [1, 1]]
