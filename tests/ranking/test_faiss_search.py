import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tcf.common.errors import TcfError
from tcf.ranking import faiss_search as search_module
from tcf.ranking.faiss_search import exhaustive_search, load_faiss

faiss = pytest.importorskip("faiss")


def test_best_rows_come_first_with_their_scores() -> None:
    search = exhaustive_search(np.array([[1, 0], [0, 2], [3, 3]], np.float32), "cpu")
    scores, rows = search(np.array([[1, 0], [-1, 1]], np.float32), 2)
    assert rows.tolist() == [[2, 0], [1, 2]]
    assert scores.tolist() == [[3, 1], [2, 0]]


def test_cuda_builds_an_index_on_the_gpu_once(monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[int] = []

    def index(resources: str, width: int) -> object:
        assert resources == "resources"
        built.append(width)
        return faiss.IndexFlatIP(width)

    fake = SimpleNamespace(
        StandardGpuResources=lambda: "resources", get_num_gpus=lambda: 1, GpuIndexFlatIP=index, knn=None
    )
    monkeypatch.setattr(search_module, "load_faiss", lambda: fake)
    search = exhaustive_search(np.eye(3, dtype=np.float32), "cuda")
    for _ in range(2):
        assert search(np.array([[0, 1, 0.5]], np.float32), 2)[1].tolist() == [[1, 2]]
    assert built == [3]


def test_without_a_gpu_the_cpu_searches(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = SimpleNamespace(StandardGpuResources=None, get_num_gpus=lambda: 0, knn=faiss.knn, METRIC_INNER_PRODUCT=0)
    monkeypatch.setattr(search_module, "load_faiss", lambda: fake)
    assert exhaustive_search(np.eye(2, dtype=np.float32), "cuda")(np.array([[0, 1]], np.float32), 1)[1] == [[1]]


def test_without_faiss_an_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(
        TcfError, match=r'the library faiss, found none; install it with `pip install "text-cf\[cpu\]"`'
    ):
        exhaustive_search(np.eye(2, dtype=np.float32), "cpu")


def test_a_faiss_that_cannot_be_imported_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "faiss.py").write_text("raise ImportError('libcudart.so.12: cannot open shared object file')")
    monkeypatch.delitem(sys.modules, "faiss")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(TcfError, match=r"found one that cannot \(libcudart.so.12: cannot open .*; uninstall it"):
        load_faiss()
