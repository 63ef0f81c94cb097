"""Ranking every user's target in the whole catalogue: tcf beside NumPy, RecTools and the machine's matrix products.

    python benchmarks/evaluate.py --users 20000 --items 85000 --width 512 --rectools PYTHON
    python benchmarks/evaluate.py --data DATASET --width 128 --rectools PYTHON

States and item vectors are random; with `--data`, users, targets and seen items are those of a dataset, otherwise each
user has seen 20 items. All contenders have the same number of threads and take turns:

- numpy: a product and a full argsort for one user after the other, on a sample; the rank is looked up;
- faiss, torch: tcf's two engines, all ranks; `lists` are the best items to a depth;
- rectools: the rankers that RecTools' models use (`rectools_ranking.py`, which says how to install it): lists;
- matrix product: the same states and vectors multiplied by torch in blocks, and nothing else.

Ranks of NumPy and both engines, and lists of RecTools, are compared with scores in float64 for some users: they may
differ only where scores lie within float32 rounding.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from tcf.data.dataset import open_dataset
from tcf.data.histories import Histories, one_each
from tcf.data.split import held_out
from tcf.ranking.catalogue import Catalogue, blocks
from tcf.ranking.faiss_ranker import FaissRanker
from tcf.ranking.products.torch_ranker import TorchRanker
from tcf.ranking.ranker import Ranker, top_k
from tcf.ranking.ranks import rank_targets
from tcf.ranking.scorers import InnerProduct

_HERE = Path(__file__).parent
_USERS_A_PRODUCT = 1024


@dataclass(frozen=True)
class Setting:
    """What is ranked.

    Attributes:
        states_UD: one state per user.
        vectors_ND: one vector per item.
        seen: each user's seen items.
        targets_U: each user's target.
    """

    states_UD: npt.NDArray[np.float32]
    vectors_ND: npt.NDArray[np.float32]
    seen: Histories
    targets_U: npt.NDArray[np.int64]

    @staticmethod
    def made_up(users: int, items: int, width: int) -> "Setting":
        """Random users who have seen 20 items each."""
        draw = np.random.default_rng(0)
        offsets = np.arange(users + 1, dtype=np.int64) * 20
        seen = Histories(offsets, draw.integers(0, items, users * 20).astype(np.int32))
        return Setting(*_normal(draw, (users, items), width), seen, draw.integers(0, items, users))

    @staticmethod
    def of_dataset(path: Path, width: int) -> "Setting":
        """The test queries of a dataset."""
        dataset = open_dataset(path)
        queries = held_out(dataset.split, "test", "first")
        states_UD, vectors_ND = _normal(np.random.default_rng(0), (len(queries), dataset.n_items), width)
        return Setting(states_UD, vectors_ND, queries.earlier, queries.targets.items.astype(np.int64))

    @property
    def product(self) -> InnerProduct:
        """States and vectors for the rankers of tcf."""
        return InnerProduct(Catalogue.build(self.vectors_ND), self.states_UD)


def main() -> None:
    """Measure in turns, compare, and print."""
    options = _options()
    torch.set_num_threads(options.threads)
    made = Setting.of_dataset(options.data, options.width) if options.data else _made_up(options)
    users, items = len(made.states_UD), len(made.vectors_ND)
    print(f"{users:,} users x {items:,} items x {options.width}, {options.threads} threads, {options.rounds} rounds")
    with tempfile.TemporaryDirectory(prefix="tcf-benchmark-") as scratch:
        contenders = _contenders(made, options, Path(scratch))
        rates: dict[str, list[float]] = {name: [] for name in contenders}
        for _ in range(options.rounds):
            for name, run in contenders.items():
                rates[name].append(run())
    _print(rates)
    wrong = _wrong_ranks(made, options.sample)
    print(f"users whose rank differs by more than rounding, {options.sample} of each contender checked: {wrong}")
    sys.exit(1 if wrong else 0)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a dataset directory")
    parser.add_argument("--users", type=int, default=20_000)
    parser.add_argument("--items", type=int, default=85_000)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--depths", type=int, nargs="*", default=[10, 50], help="depths of the lists")
    parser.add_argument("--sample", type=int, default=200, help="users for NumPy's full sort, and for the comparison")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1, help="set OMP_NUM_THREADS and MKL_NUM_THREADS to the same")
    parser.add_argument("--rectools", type=Path, help="a Python with RecTools")
    options = parser.parse_args()
    if os.environ.get("OMP_NUM_THREADS") != str(options.threads):
        parser.error(f"--threads: expected OMP_NUM_THREADS={options.threads} in the environment, which FAISS reads")
    return options


def _made_up(options: argparse.Namespace) -> Setting:
    return Setting.made_up(options.users, options.items, options.width)


def _normal(
    draw: np.random.Generator, rows: tuple[int, int], width: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    return draw.standard_normal((rows[0], width), np.float32), draw.standard_normal((rows[1], width), np.float32)


def _contenders(made: Setting, options: argparse.Namespace, folder: Path) -> dict[str, Callable[[], float]]:
    """Functions that rank, and return users per second."""
    product, users = made.product, len(made.states_UD)
    engines: dict[str, Ranker] = {"torch": TorchRanker(product, torch.device("cpu")), "faiss": FaissRanker(product)}
    found: dict[str, Callable[[], float]] = {
        "matrix product": lambda: _rate(users, lambda: _multiply(made)),
        "numpy": lambda: _rate(options.sample, lambda: _ranks_by_numpy(made, options.sample)),
    }
    for name, ranker in engines.items():
        found[f"{name}, all ranks"] = lambda ranker=ranker: _rate(users, lambda: _ranks(ranker, made))  # type: ignore[misc]
        for depth in options.depths:
            found[f"{name}, lists of {depth}"] = lambda ranker=ranker, depth=depth: _rate(  # type: ignore[misc]
                users, lambda: top_k(ranker, made.seen, depth)
            )
    if options.rectools:
        arrays = folder / "arrays.npz"
        np.savez(
            arrays,
            states=made.states_UD,
            vectors=made.vectors_ND,
            offsets=made.seen.offsets,
            items=made.seen.items,
        )
        for kind in ("torch", "implicit"):
            for depth in options.depths:
                job = {"arrays": str(arrays), "ranker": kind, "depth": depth, "threads": options.threads}
                found[f"rectools {kind}, lists of {depth}"] = lambda job=job: (
                    users
                    / _by_rectools(  # type: ignore[misc]
                        options.rectools, job, folder, made
                    )
                )
    return found


def _rate(users: int, run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return users / (time.perf_counter() - began)


def _multiply(made: Setting) -> None:
    states, vectors = torch.from_numpy(made.states_UD), torch.from_numpy(made.vectors_ND)
    scores = torch.empty(_USERS_A_PRODUCT, len(vectors))
    with torch.inference_mode():
        for users in blocks(len(states), _USERS_A_PRODUCT):
            torch.mm(states[users], vectors.T, out=scores[: users.stop - users.start])


def _ranks(ranker: Ranker, made: Setting) -> npt.NDArray[np.int64]:
    return rank_targets(ranker, made.seen, one_each(made.targets_U)).greater


def _ranks_by_numpy(made: Setting, users: int) -> npt.NDArray[np.int64]:
    """The number of candidates before the target, by a full sort for each user."""
    before = np.empty(users, np.int64)
    for user in range(users):
        scores_N = made.vectors_ND @ made.states_UD[user]
        seen, target = made.seen.of(user), made.targets_U[user]
        scores_N[seen[seen != target]] = -np.inf
        before[user] = np.flatnonzero(np.argsort(-scores_N, kind="stable") == target)[0]
    return before


def _by_rectools(python: Path, job: dict[str, object], folder: Path, made: Setting) -> float:
    """Seconds that RecTools takes; its lists are compared with scores in float64 for a few users."""
    task, lists, result = folder / "job.json", folder / "lists.npy", folder / "result.json"
    task.write_text(json.dumps(job | {"lists": str(lists), "result": str(result)}), encoding="utf-8")
    subprocess.run([python, str(_HERE / "rectools_ranking.py"), str(task)], check=True)
    listed = np.load(lists)
    for user in range(20):
        scores_N = made.vectors_ND.astype(np.float64) @ made.states_UD[user].astype(np.float64)
        scores_N[made.seen.of(user)] = -np.inf
        best = np.sort(scores_N)[::-1][: listed.shape[1]]
        if not np.allclose(scores_N[listed[user]], best, rtol=1e-4, atol=1e-4):
            raise SystemExit(f"RecTools: expected the best items of user {user}, found others")
    return float(json.loads(result.read_text(encoding="utf-8"))["seconds"])


def _print(rates: dict[str, list[float]]) -> None:
    medians = {name: statistics.median(found) for name, found in rates.items()}
    print(f"{'':<32}{'users/s':>10}{'of matrix rate':>16}{'x numpy':>10}")
    for name, rate in medians.items():
        share, times = rate / medians["matrix product"], rate / medians["numpy"]
        print(f"{name:<32}{rate:>10,.0f}{share:>16.2f}{times:>10.1f}")


def _wrong_ranks(made: Setting, users: int) -> int:
    """Count ranks of NumPy and both engines that lie outside those of float64 scores, give or take rounding."""
    few = np.arange(min(users, len(made.states_UD)))
    product = InnerProduct(Catalogue.build(made.vectors_ND), made.states_UD[few])
    some = Setting(made.states_UD[few], made.vectors_ND, made.seen.take(few), made.targets_U[few])
    least, most = _bounds(some)
    rankers = (TorchRanker(product, torch.device("cpu")), FaissRanker(product))
    found = [_ranks_by_numpy(some, len(few)), *(_ranks(ranker, some) for ranker in rankers)]
    return sum(int(((before < least) | (before > most)).sum()) for before in found)


def _bounds(made: Setting) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The least and the greatest number of candidates before each target that rounding can explain."""
    bounds = []
    for user, target in enumerate(made.targets_U):
        scores_N = made.vectors_ND.astype(np.float64) @ made.states_UD[user].astype(np.float64)
        lengths = np.linalg.norm(made.vectors_ND, axis=1) * np.linalg.norm(made.states_UD[user])
        slack = (lengths + lengths[target]) * np.finfo(np.float32).eps * np.sqrt(made.vectors_ND.shape[1])
        candidates = np.ones(len(scores_N), bool)
        candidates[made.seen.of(user)] = False
        candidates[target] = False
        above = scores_N - scores_N[target]
        bounds.append([int((candidates & (above > slack)).sum()), int((candidates & (above > -slack)).sum())])
    least, most = np.array(bounds).T
    return least, most


if __name__ == "__main__":
    main()
