"""Ranks of the baselines popularity and co-occurrence for many users among many items.

    python benchmarks/baselines.py                             # 200,000 users, 1,000,000 items
    python benchmarks/baselines.py --shift 0                   # plain Zipf: the first item has 7 % of all interactions
    python benchmarks/baselines.py --lists 10                  # ranked lists, too

The histories are synthetic. The peak of the resident set is that of the whole process, libraries and histories
included. Ranks of some users are compared with those among the scores of all items, which are computed from the
histories by definition. The exit status is 1 if a rank differs or an expectation is not met.
"""

import argparse
import resource
import sys
import time

import numpy as np
import numpy.typing as npt
from groups import as_size
from processes import expect, mib, table

from tcf.common.ragged import offsets_from
from tcf.data.histories import Histories
from tcf.data.split import Queries, Split, held_out, leave_one_out, training_histories
from tcf.evaluate.baselines.baseline import baseline
from tcf.ranking.ranked_items import RankedItems
from tcf.ranking.ranker import top_k
from tcf.ranking.ranks import Ranks, rank_targets

__all__ = ["synthetic_histories"]


def synthetic_histories(n_users: int, n_items: int, *, shift: float = 100, seed: int = 0) -> Histories:
    """Histories of 15 to 25 items, drawn with probabilities that fall with 1 / (rank + shift) (Zipf and Mandelbrot).

    With a shift of 100, the most popular of 10^6 items has 0.1 % of all interactions, as in large shops; with 0, it has
    7 %. An item's rank has nothing to do with its index.
    """
    rng = np.random.default_rng(seed)
    lengths = rng.integers(15, 26, n_users)
    until = np.cumsum(1 / (np.arange(1, n_items + 1) + shift))
    ranks = np.searchsorted(until, rng.random(int(lengths.sum())) * until[-1])
    items = rng.permutation(n_items)[np.minimum(ranks, n_items - 1)]
    return Histories(offsets_from(lengths), items.astype(np.int32))


def main() -> None:
    """Measure, compare and print a Markdown table."""
    options = _options()
    split = leave_one_out(synthetic_histories(options.users, options.items, shift=options.shift))
    queries = held_out(split, "test")
    ranked = RankedItems.where(np.ones(options.items, np.bool_))
    seconds, rows, same = 0.0, [], True
    for name in ("popularity", "co-occurrence"):
        began, work = time.perf_counter(), time.process_time()
        ranker = baseline(name, split, queries, ranked)
        learnt = time.perf_counter()
        ranks = rank_targets(ranker, queries.earlier, queries.targets)
        ended = time.perf_counter()
        seconds, work = seconds + ended - began, time.process_time() - work
        if options.lists:
            top_k(ranker, queries.earlier, options.lists)
        listed = f"{time.perf_counter() - ended:.1f}" if options.lists else "-"
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        rows.append([name, f"{learnt - began:.1f}", f"{ended - learnt:.1f}", f"{work:.1f}", listed, mib(peak)])
        same &= _compare(name, split, queries, ranks, options)
    listed = f"lists of {options.lists}, s" if options.lists else "lists"
    print(table(["baseline", "learn, s", "rank, s", "both, CPU s", listed, "peak resident set, MiB"], rows))
    print(f"both baselines: {seconds:.1f} s without lists")
    same &= expect(seconds <= options.expect_seconds, f"{options.expect_seconds:g} s at most", f"{seconds:.1f} s")
    same &= expect(peak <= options.expect_memory, f"{mib(options.expect_memory)} MiB at most", f"{mib(peak)} MiB")
    sys.exit(0 if same else 1)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=200_000)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--shift", type=float, default=100, help="how flat the popularity of the first items is")
    parser.add_argument("--lists", type=int, default=0, help="length of ranked lists; 0 for none")
    parser.add_argument("--compared", type=int, default=50, help="number of users to compare")
    parser.add_argument("--expect-seconds", type=float, default=float("inf"))
    parser.add_argument("--expect-memory", type=as_size, default=as_size("1024GiB"))
    return parser.parse_args()


def _compare(name: str, split: Split, queries: Queries, ranks: Ranks, options: argparse.Namespace) -> bool:
    """Compare the ranks of some users with those among all scores."""
    near, wrong = _Near(training_histories(split), options.items), 0
    users = np.random.default_rng(1).permutation(len(queries))[: options.compared]
    for user in users.tolist():
        target, earlier = queries.targets.of(user)[0], queries.earlier.of(user)
        scores = near.popularity if name == "popularity" else near.scores(earlier)
        level = scores[target]
        is_candidate = np.ones(len(scores), np.bool_)
        is_candidate[earlier] = False
        is_candidate[target] = True
        greater, equal = (int((is_candidate & chosen).sum()) for chosen in (scores > level, scores == level))
        wrong += (greater, equal - 1) != (ranks.greater[user], ranks.equal[user])
    return expect(not wrong, f"{name}: ranks as among all scores", f"others of {wrong} of {len(users)} users")


class _Near:
    """Scores of all items by definition."""

    def __init__(self, training: Histories, n_items: int) -> None:
        self._items, self._n_items = training.items, n_items
        self._users = np.repeat(np.arange(len(training)), training.lengths)
        self.popularity = np.bincount(training.items, minlength=n_items).astype(np.float32)

    def scores(self, earlier: npt.NDArray[np.int32]) -> npt.NDArray[np.float32]:
        """Scores for a user with these items, (N,)."""
        scores = np.zeros(self._n_items)
        for back, item in enumerate(earlier[:-6:-1].tolist(), start=1):
            places = np.flatnonzero(self._items == item)
            for distance in (*range(-5, 0), *range(1, 6)):
                others = places + distance
                inside = (others >= 0) & (others < len(self._items))
                others, those = others[inside], places[inside]
                others = others[self._users[others] == self._users[those]]
                np.add.at(scores, self._items[others], (60 // back) * (60 // abs(distance)))
        return scores.astype(np.float32)


if __name__ == "__main__":
    main()
