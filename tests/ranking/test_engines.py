import sys

import numpy as np
import numpy.typing as npt
import pytest
import torch

from tcf.common.errors import ConfigError, TcfError
from tcf.config.evaluate import Search
from tcf.ranking.added_scores import Added
from tcf.ranking.catalogue import Catalogue
from tcf.ranking.engines import Engine, product_ranker, resolve_search
from tcf.ranking.faiss_ranker import FaissRanker
from tcf.ranking.products.torch_ranker import TorchRanker
from tcf.ranking.ranker import Ranker
from tcf.ranking.scorers import InnerProduct


@pytest.mark.parametrize(("search", "engine"), [("auto", "torch"), ("torch", "torch"), ("faiss", "faiss")])
def test_what_a_setting_stands_for(search: Search, engine: Engine) -> None:
    assert resolve_search(search) == engine


def test_only_a_search_by_faiss_needs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    assert resolve_search("auto") == "torch"
    with pytest.raises(TcfError, match="expected the library faiss, found none"):
        resolve_search("faiss")


@pytest.mark.parametrize(("engine", "kind"), [("faiss", FaissRanker), ("torch", TorchRanker)])
def test_each_engine_has_its_ranker(engine: Engine, kind: type[Ranker]) -> None:
    product = InnerProduct(Catalogue.build(np.eye(3, dtype=np.float32)), np.ones((2, 3), np.float32))
    ranker = product_ranker(product, engine, torch.device("cpu"))
    assert type(ranker) is kind
    assert (ranker.n_users, ranker.n_items) == (2, 3)


class Nothing:
    """Nothing is added for two users and three items."""

    n_users, n_items = 2, 3

    def of(self, users: npt.NDArray[np.int64]) -> Added:
        return Added(np.zeros(len(users) + 1, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32))


def test_faiss_adds_no_scores() -> None:
    product = InnerProduct(Catalogue.build(np.eye(3, dtype=np.float32)), np.ones((2, 3), np.float32))
    ranker = product_ranker(product, "torch", torch.device("cpu"), Nothing())
    assert isinstance(ranker, TorchRanker)
    assert isinstance(ranker.added, Nothing)
    assert resolve_search("auto", adds_scores=True) == "torch"
    words = "--search: expected auto or torch for a ranking that adds scores .* found faiss"
    with pytest.raises(ConfigError, match=words):
        product_ranker(product, "faiss", torch.device("cpu"), Nothing())
    with pytest.raises(ConfigError, match=words):
        resolve_search("faiss", adds_scores=True)
