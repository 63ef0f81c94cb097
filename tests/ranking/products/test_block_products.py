from typing import Any

import numpy as np
import pytest
import torch

from tcf.data.histories import Histories
from tcf.ranking.catalogue import Catalogue
from tcf.ranking.products.block_products import BlockShape, Products, block_shape, full_float32
from tcf.ranking.products.user_block import user_blocks
from tcf.ranking.scorers import InnerProduct

CPU = torch.device("cpu")


@pytest.mark.parametrize("n_users", [1, 3, 100, 511, 10**6])
@pytest.mark.parametrize("n_rows", [1, 1000, 16_859, 85_000, 131_072, 131_073, 10**6, 10**7, 10**8])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_scores_of_a_block_are_bounded_however_many_users_and_rows(n_users: int, n_rows: int, device: str) -> None:
    shape = block_shape(n_users, n_rows, torch.device(device))
    assert 4 * shape.users * shape.rows <= (256 if device == "cuda" else 64) * 2**20
    assert shape.users >= min(n_users, 128)  # a product for few users is slow
    assert 1 <= shape.tile <= shape.rows <= n_rows
    assert (shape.rows == n_rows) == (n_rows * min(n_users, 128) * 4 <= (256 if device == "cuda" else 64) * 2**20)


def test_no_memory_is_taken_for_more_than_a_block() -> None:
    product = InnerProduct(Catalogue.build(np.eye(40, dtype=np.float32)), np.ones((30, 40), np.float32))
    products = Products.of(product, CPU, BlockShape(7, 20, 6))
    assert products.memory.shape == (140,)
    assert products.vectors_RD.data_ptr() == product.catalogue.vectors_RD.ctypes.data  # the vectors are not copied
    nobody = Histories(np.zeros(31, np.int64), np.zeros(0, np.int32))
    seen = []
    for block in user_blocks(products, np.arange(30), nobody):
        for scores in block.sweep():
            assert scores.memory.data_ptr() == products.memory.data_ptr()
            seen += [(len(block), tile.start, tile.stop) for tile, _ in scores.tiles()]
    tiles = [(0, 6), (6, 12), (12, 18), (18, 20), (20, 26), (26, 32), (32, 38), (38, 40)]
    assert seen == [(n, *tile) for n in (7, 7, 7, 7, 2) for tile in tiles]


def test_places_are_where_the_tiles_have_their_scores() -> None:
    vectors, states = np.arange(1, 24, dtype=np.float32)[:, None], np.array([[1], [100]], np.float32)
    products = Products.of(InnerProduct(Catalogue.build(vectors), states), CPU, BlockShape(2, 10, 4))
    nobody = Histories(np.zeros(3, np.int64), np.zeros(0, np.int32))
    [block] = user_blocks(products, np.arange(2), nobody)
    for scores in block.sweep():
        rows = torch.arange(scores.rows.start, scores.rows.stop)
        for user in (0, 1):
            found = scores.memory[scores.places(torch.tensor(user), rows)]
            assert found.tolist() == ((rows + 1) * (1, 100)[user]).tolist()


def test_products_are_in_float32_whatever_the_process_allows() -> None:
    before = torch.get_float32_matmul_precision()
    mkldnn: Any = torch.backends.mkldnn
    matmul = mkldnn.matmul
    try:
        torch.set_float32_matmul_precision("medium")
        allowed = matmul.fp32_precision, torch.backends.cuda.matmul.fp32_precision
        assert "ieee" not in allowed
        with pytest.raises(ZeroDivisionError), full_float32():
            assert (matmul.fp32_precision, torch.backends.cuda.matmul.fp32_precision) == ("ieee", "ieee")
            1 / 0  # noqa: B018
        assert (matmul.fp32_precision, torch.backends.cuda.matmul.fp32_precision) == allowed
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize("numbers", [(0, 1, 1), (1, 0, 1), (1, 1, 0)])
def test_an_empty_block_is_refused(numbers: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="expected at least one user, row"):
        BlockShape(*numbers)
