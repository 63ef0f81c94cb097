"""Which engine ranks by inner product: FAISS or torch."""

from typing import Literal

import torch

from tcf.common.errors import ConfigError
from tcf.config.evaluate import Search
from tcf.ranking.added_scores import AddedScores
from tcf.ranking.faiss_ranker import FaissRanker
from tcf.ranking.faiss_search import load_faiss
from tcf.ranking.products.torch_ranker import TorchRanker
from tcf.ranking.ranker import Ranker
from tcf.ranking.scorers import InnerProduct

__all__ = ["Engine", "product_ranker", "resolve_search"]

Engine = Literal["faiss", "torch"]


def resolve_search(search: Search, *, adds_scores: bool = False) -> Engine:
    """Return the engine that a setting stands for; called before any work that ranks in the end.

    `auto` is torch, for ranks and lists of any depth on every device. On a CPU exact ranks take less than half as long
    as with FAISS. Lists take about as long with either for thousands of users; for some hundreds of users FAISS may
    multiply no matrices, and then takes several times as long.

    Args:
        search: the setting.
        adds_scores: whether something will be added to the products.

    Raises:
        ConfigError: it is FAISS, and something will be added.
        TcfError: it is FAISS, which is not installed.
    """
    match search:
        case "auto" | "torch":
            return "torch"
        case "faiss" if adds_scores:
            raise _searched_by_faiss()
        case "faiss":
            load_faiss()
            return "faiss"


def product_ranker(
    product: InnerProduct, engine: Engine, device: torch.device, added: AddedScores | None = None
) -> Ranker:
    """Return a ranker by inner product.

    Args:
        product: states and item vectors.
        engine: what makes the products.
        device: where; FAISS uses a GPU if it supports them, otherwise the CPU.
        added: what is added to the products; None: nothing.

    Raises:
        ConfigError: something is added to the products of FAISS.
        RunError: the users or items of the products and of what is added differ.
    """
    match engine:
        case "faiss":
            if added is not None:
                raise _searched_by_faiss()
            return FaissRanker(product, "cuda" if device.type == "cuda" else "cpu")
        case "torch":
            return TorchRanker(product, device, added=added)


def _searched_by_faiss() -> ConfigError:
    return ConfigError(
        "--search: expected auto or torch for a ranking that adds scores of single items to products, such as one with "
        "co-occurrence as a member, found faiss, which searches by products alone; leave --search out"
    )
