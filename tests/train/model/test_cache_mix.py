"""Learned weights of caches, and several forms of a vector through one DTL, against float64."""

from typing import Any

import numpy as np
import torch
from scipy.special import erf

from tcf.config.train import TrainConfig
from tcf.train.model.build import build_model
from tcf.train.model.cache_mix import CacheMix, cache_weights
from tcf.train.model.item_tower import DTL, TextItems
from tcf.train.trial import StandInVectors
from tcf.train.vectors.item_vectors import VectorLayout

CPU = torch.device("cpu")


def mix_of(*logits: float) -> CacheMix:
    mix = CacheMix(len(logits))
    with torch.no_grad():
        mix.logits.copy_(torch.tensor(logits))
    return mix


def test_a_mix_by_hand() -> None:
    """Logits of 0 and ln 3 are weights of 1/4 and 3/4."""
    mix = mix_of(0.0, float(np.log(3)))
    mixed = mix(torch.tensor([[4.0, 8.0, 0.0, 4.0], [1.0, 1.0, 1.0, 1.0]], dtype=torch.float16))
    torch.testing.assert_close(mixed, torch.tensor([[1.0, 5.0], [1.0, 1.0]]))
    np.testing.assert_allclose(cache_weights(torch.nn.Sequential(mix)), [0.25, 0.75], rtol=1e-6)
    assert cache_weights(DTL(2, 2, 1, 0.0)) == []


def test_weights_are_equal_at_first() -> None:
    vectors = StandInVectors.build(5, 12, CPU, caches=3)
    model = build_model(TrainConfig(width=8, mix="weights"), 5, 5, vectors, CPU)
    np.testing.assert_allclose(cache_weights(model), [1 / 3] * 3, rtol=1e-6)
    side_by_side = build_model(TrainConfig(width=8), 5, 5, vectors, CPU)
    assert cache_weights(side_by_side) == []
    shapes = [tower.state_dict()["items.dtl.layers.0.weight"].shape for tower in (model, side_by_side)]
    assert shapes == [(8, 4), (8, 12)]


def test_the_gradient_of_a_weight_is_that_of_a_softmax() -> None:
    mix, generator = mix_of(0.3, -0.2, 0.9).double(), torch.Generator().manual_seed(0)
    vectors, wanted = (torch.randn(5, width, generator=generator, dtype=torch.float64) for width in (12, 4))
    # Rounded by the mix to float32, in which the vectors are computed.
    (mix(vectors) * wanted).sum().backward()
    weights = np.exp(mix.logits.detach().numpy()) / np.exp(mix.logits.detach().numpy()).sum()
    of_each = (vectors.reshape(5, 3, 4) * wanted[:, None]).sum(dim=(0, 2)).numpy()
    assert mix.logits.grad is not None
    np.testing.assert_allclose(mix.logits.grad, weights * (of_each - weights @ of_each), rtol=1e-5)


def test_forms_and_caches_are_laid_out_form_after_form() -> None:
    """Two caches of widths 1 and 2, each of which gives its two forms one after the other."""
    one, other = torch.tensor([[1, 5]]), torch.tensor([[2, 3, 6, 7]])
    layout = VectorLayout(2, (1, 2))
    assert layout.join([one, other]).tolist() == [[1, 2, 3, 5, 6, 7]]
    assert layout.width == 6 and layout.join([other]) is other
    assert VectorLayout(1, (2, 4)).join([one, other]).tolist() == [[1, 5, 2, 3, 6, 7]]


def gelu_layers(vectors: Any, dtl: DTL) -> Any:
    """A DTL in float64."""
    for layer in dtl.layers:
        weight, bias = (getattr(layer, name).detach().double().numpy() for name in ("weight", "bias"))
        linear = vectors @ weight.T + bias
        vectors = linear * (1 + erf(linear / np.sqrt(2))) / 2
    return vectors


def test_each_form_of_the_mixed_vectors_passes_the_dtl_and_is_added_up() -> None:
    """Three caches of width 4 in two forms: row = form 1 of the three caches, then form 2 of them."""
    torch.manual_seed(0)
    dtl, mix, items = DTL(4, 8, 2, 0.0), mix_of(0.5, 0.0, -1.0), torch.arange(5)
    read = torch.randn(5, 24)
    tower = TextItems(StandInVectors.build(5, 24, CPU, forms=2, caches=3), dtl, mix)
    weights = np.exp([0.5, 0.0, -1.0]) / np.exp([0.5, 0.0, -1.0]).sum()
    forms = np.einsum("c,ufcd->ufd", weights, read.double().numpy().reshape(5, 2, 3, 4))
    expected = gelu_layers(forms[:, 0], dtl) + gelu_layers(forms[:, 1], dtl)
    np.testing.assert_allclose(tower(items, read).detach(), expected, atol=1e-6)
    summed = TextItems(StandInVectors.build(5, 24, CPU, forms=2), DTL(12, 8, 1, 0.0))
    rows = read.double().numpy().reshape(5, 2, 12)
    expected = gelu_layers(rows[:, 0], summed.dtl) + gelu_layers(rows[:, 1], summed.dtl)
    np.testing.assert_allclose(summed(items, read).detach(), expected, atol=1e-6)
    assert summed(items[:0], read[:0]).shape == (0, 8)
