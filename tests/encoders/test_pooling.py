import pytest
import torch
from torch import nn

from tcf.config.extract import Pooling
from tcf.encoders.pooling import VectorHead, pool

# Two texts of three tokens, two numbers a state.
STATES_BTD = torch.tensor([[[1.0, 2.0], [3.0, 6.0], [5.0, -2.0]], [[0.0, 0.0], [9.0, 1.0], [0.0, 2.0]]])


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        ("mean", [[3.0, 2.0], [3.0, 1.0]]),
        ("first", [[1.0, 2.0], [0.0, 0.0]]),
        ("last", [[5.0, -2.0], [0.0, 2.0]]),
        ("max", [[5.0, 6.0], [9.0, 2.0]]),
        ("mean_sqrt_len", [[9 / 3**0.5, 6 / 3**0.5], [9 / 3**0.5, 3 / 3**0.5]]),
        ("weighted_mean", [[22 / 6, 8 / 6], [18 / 6, 8 / 6]]),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_pooling_by_hand(pooling: Pooling, expected: list[list[float]], dtype: torch.dtype) -> None:
    pooled = pool(STATES_BTD.to(dtype), pooling)
    assert pooled.dtype == torch.float32
    assert pooled.tolist() == [pytest.approx(row, rel=1e-6) for row in expected]


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        ("mean", [[4.0, 2.0], [4.5, 1.5]]),
        ("first", [[3.0, 6.0], [9.0, 1.0]]),
        ("last", [[5.0, -2.0], [0.0, 2.0]]),
        ("max", [[5.0, 6.0], [9.0, 2.0]]),
        ("mean_sqrt_len", [[8 / 2**0.5, 4 / 2**0.5], [9 / 2**0.5, 3 / 2**0.5]]),
        ("weighted_mean", [[21 / 5, 6 / 5], [18 / 5, 8 / 5]]),  # weights 2 and 3
    ],
)
def test_the_tokens_of_a_prompt_are_left_out(pooling: Pooling, expected: list[list[float]]) -> None:
    assert pool(STATES_BTD, pooling, 1).tolist() == [pytest.approx(row, rel=1e-6) for row in expected]
    nothing = STATES_BTD[:, 0].tolist() if pooling == "first" else [[0.0, 0.0], [0.0, 0.0]]
    assert pool(STATES_BTD, pooling, 3).tolist() == nothing


def test_several_poolings_are_concatenated_in_order() -> None:
    assert VectorHead(["max", "first"]).vectors(STATES_BTD).tolist() == [[5.0, 6.0, 1.0, 2.0], [9.0, 2.0, 0.0, 0.0]]


def test_an_infinite_state_is_not_hidden_by_an_activation() -> None:
    states_BTD = STATES_BTD.clone()
    states_BTD[1, 2, 0] = torch.inf
    found_BD = VectorHead(["mean"], modules=nn.Sequential(nn.Tanh())).vectors(states_BTD)
    assert found_BD[0].tolist() == pytest.approx([torch.tensor(3.0).tanh().item(), torch.tensor(2.0).tanh().item()])
    assert found_BD[1].isnan().all()


@pytest.mark.parametrize(("dtype", "large"), [(torch.bfloat16, 256.0), (torch.float16, 2048.0)])
def test_a_mean_of_16_bit_states_is_taken_in_float32(dtype: torch.dtype, large: float) -> None:
    # Beyond `large` the type has no odd numbers, so a sum in it would lose every one of the ones.
    states_BTD = torch.tensor([large, 1.0, 1.0, 1.0], dtype=dtype).reshape(1, 4, 1)
    assert pool(states_BTD, "mean").item() == (large + 3) / 4


def test_a_mean_of_float16_states_does_not_overflow() -> None:
    states_BTD = torch.full((1, 4, 1), 60_000.0, dtype=torch.float16)
    assert pool(states_BTD, "mean").item() == 60_000 - 60_000 % 32
