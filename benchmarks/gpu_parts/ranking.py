"""Lists of the best items on the GPU and on the CPU, and the speed of ranking all users' targets."""

import time
from collections.abc import Iterator
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from gpu_parts.part import Finding, Setting, absent, has_faiss, holds, noted
from tcf.data.histories import Histories, one_each
from tcf.ranking.catalogue import Catalogue
from tcf.ranking.faiss_ranker import FaissRanker
from tcf.ranking.faiss_search import exhaustive_search
from tcf.ranking.products.torch_ranker import TorchRanker
from tcf.ranking.ranker import Ranker, top_k
from tcf.ranking.ranks import rank_targets
from tcf.ranking.scorers import InnerProduct

__all__ = ["check_lists", "measure_ranking"]

_LIST = 50


def check_lists(setting: Setting) -> Iterator[Finding]:
    """Compare the best 50 items of each user with those by scores in float64."""
    users, items, width = (200, 500, 32) if setting.small else (2_000, 20_000, 256)
    states_UD, vectors_ID = _normal(users, width, 0), _normal(items, width, 1)
    yield from _by_torch(setting, states_UD, vectors_ID)
    if not has_faiss():
        yield absent("lists by FAISS", "FAISS is not installed here")
        return
    _, by_cpu = exhaustive_search(vectors_ID, "cpu")(states_UD, _LIST)
    yield _same("lists by FAISS on the CPU", by_cpu, states_UD, vectors_ID)
    if _faiss_gpus() == 0:
        yield absent("lists by FAISS on the GPU", "this FAISS sees no GPU")
    else:
        _, by_gpu = exhaustive_search(vectors_ID, "cuda")(states_UD, _LIST)
        yield _same("lists by FAISS on the GPU", by_gpu, states_UD, vectors_ID)


def _by_torch(
    setting: Setting, states_UD: npt.NDArray[np.float32], vectors_ID: npt.NDArray[np.float32]
) -> Iterator[Finding]:
    """Lists and ranks by torch's products on the device, beside those of float64 and of the CPU."""
    product = InnerProduct(Catalogue.build(vectors_ID), states_UD)
    device, users = setting.device, len(states_UD)
    nobody = Histories(np.zeros(users + 1, np.int64), np.zeros(0, np.int32))
    lists = top_k(TorchRanker(product, device), nobody, _LIST)
    yield _same(f"lists by torch on {device.type}", lists.items_UK.astype(np.int64), states_UD, vectors_ID)
    targets = one_each(lists.items_UK[:, _LIST // 2])
    found, expected = (
        rank_targets(TorchRanker(product, where), nobody, targets).greater for where in (device, torch.device("cpu"))
    )
    wrong = int((np.abs(found - expected) > 1).sum())
    yield holds(f"ranks by torch on {device.type}", wrong == 0, "those of the CPU", f"{wrong} of {users} users differ")


def measure_ranking(setting: Setting) -> Iterator[Finding]:
    """Rank all targets in the whole catalogue."""
    users, items, width = (2_000, 1_000, 64) if setting.small else (200_000, 85_000, 512)
    draw = np.random.default_rng(2)
    seen = Histories(np.arange(users + 1, dtype=np.int64) * 5, draw.integers(0, items, users * 5).astype(np.int32))
    targets = one_each(draw.integers(0, items, users))
    product = InnerProduct(Catalogue.build(_normal(items, width, 1)), _normal(users, width, 0))
    rankers: list[tuple[str, Ranker, int | None]] = [
        (f"all ranks by torch on {setting.device.type}", TorchRanker(product, setting.device), None)
    ]
    if has_faiss():
        kind: Literal["cpu", "cuda"] = "cuda" if _faiss_gpus() else "cpu"
        rankers.append((f"ranks to 10 by FAISS on {kind}", FaissRanker(product, kind), 10))
    for name, ranker, depth in rankers:
        what = f"{name}, {users:,} users x {items:,} items x {width}"
        began = time.perf_counter()
        ranks = rank_targets(ranker, seen, targets, depth=depth)
        seconds = time.perf_counter() - began
        yield holds(f"{what}: ranked", len(ranks) == users, f"{users:,} users", f"{len(ranks):,}")
        yield noted(what, f"{seconds:.1f} s, {users / seconds:,.0f} users/s")


def _normal(rows: int, width: int, seed: int) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((rows, width), np.float32)


def _same(
    what: str, rows_UK: npt.NDArray[np.int64], states_UD: npt.NDArray[np.float32], vectors_ID: npt.NDArray[np.float32]
) -> Finding:
    """Whether the lists equal those by float64 scores, except for scores that are equal within rounding."""
    scores_UI = states_UD.astype(np.float64) @ vectors_ID.astype(np.float64).T
    best_UK = np.argsort(-scores_UI, axis=1, kind="stable")[:, :_LIST]
    listed, expected = (np.take_along_axis(scores_UI, rows, 1) for rows in (rows_UK, best_UK))
    wrong = int((np.abs(listed - expected) > 1e-4 * np.abs(expected).max()).any(1).sum())
    return holds(what, wrong == 0, "those of float64", f"{wrong} of {len(rows_UK)} users differ")


def _faiss_gpus() -> int:
    import faiss

    return int(faiss.get_num_gpus()) if hasattr(faiss, "StandardGpuResources") else 0
