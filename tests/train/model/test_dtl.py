import math

import numpy as np
import numpy.typing as npt
import pytest
import torch

from tcf.train.model.item_tower import DTL

Floats = npt.NDArray[np.float64]


def gelu(x: Floats) -> Floats:
    return np.asarray(x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2))))


def reference(x: Floats, parameters: list[Floats]) -> Floats:
    """n x (Linear + GELU), GELU after the last layer too; parameters are weight, bias, weight, bias, ..."""
    for weight, bias in zip(parameters[::2], parameters[1::2], strict=True):
        x = gelu(x @ weight.T + bias)
    return x


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_forward_and_gradient_equal_numpy(layers: int) -> None:
    torch.manual_seed(1)
    dtl = DTL(5, 4, layers, 0.0)
    vectors = torch.randn(7, 5)
    weights = torch.randn(7, 4)
    out = dtl(vectors)
    (out * weights).sum().backward()

    parameters = [p.detach().double().numpy() for p in dtl.parameters()]
    expected = reference(vectors.double().numpy(), parameters)
    np.testing.assert_allclose(out.detach().numpy(), expected, atol=1e-6)
    rng = np.random.default_rng(0)
    for which, parameter in enumerate(dtl.parameters()):
        direction = rng.normal(size=parameter.shape)
        step = 1e-6

        def loss(scale: float, which: int = which, direction: Floats = direction) -> float:
            moved = [p + scale * direction if i == which else p for i, p in enumerate(parameters)]
            return float((reference(vectors.double().numpy(), moved) * weights.double().numpy()).sum())

        numeric = (loss(step) - loss(-step)) / (2 * step)
        assert parameter.grad is not None
        assert float((parameter.grad.double().numpy() * direction).sum()) == pytest.approx(numeric, rel=1e-4, abs=1e-5)


def test_widths_and_types() -> None:
    dtl = DTL(5, 4, 2, 0.1)
    assert [tuple(p.shape) for p in dtl.parameters()] == [(4, 5), (4,), (4, 4), (4,)]
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        assert dtl(torch.zeros(3, 5, dtype=dtype)).dtype == torch.float32


def test_dropout_lies_between_layers_and_not_after_the_last() -> None:
    torch.manual_seed(0)
    single = DTL(6, 50, 1, 0.9).train()
    double = DTL(6, 50, 2, 0.9).train()
    x = torch.randn(8, 6)
    assert torch.equal(single(x), single(x))
    assert not torch.equal(double(x), double(x))
    # Dropout at the end would leave zeros.
    assert (double(x) == 0).float().mean() < 0.01
    double.eval()
    assert torch.equal(double(x), double(x))
