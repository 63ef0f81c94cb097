import sys

import numpy as np
import pytest
import torch

from tcf.common.errors import TcfError
from tcf.config.evaluate import Search
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
