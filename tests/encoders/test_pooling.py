from typing import Literal

import pytest
import torch

from tcf.encoders.pooling import pool

# Two texts of three tokens, two numbers a state.
STATES_BTD = torch.tensor([[[1.0, 2.0], [3.0, 6.0], [5.0, -2.0]], [[0.0, 0.0], [9.0, 1.0], [0.0, 2.0]]])


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        ("mean", [[3.0, 2.0], [3.0, 1.0]]),
        ("first", [[1.0, 2.0], [0.0, 0.0]]),
        ("last", [[5.0, -2.0], [0.0, 2.0]]),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_pooling_by_hand(
    pooling: Literal["mean", "first", "last"], expected: list[list[float]], dtype: torch.dtype
) -> None:
    pooled = pool(STATES_BTD.to(dtype), pooling)
    assert pooled.dtype == torch.float32
    assert pooled.tolist() == expected


@pytest.mark.parametrize(("dtype", "large"), [(torch.bfloat16, 256.0), (torch.float16, 2048.0)])
def test_a_mean_of_16_bit_states_is_taken_in_float32(dtype: torch.dtype, large: float) -> None:
    # Beyond `large` the type has no odd numbers, so a sum in it would lose every one of the ones.
    states_BTD = torch.tensor([large, 1.0, 1.0, 1.0], dtype=dtype).reshape(1, 4, 1)
    assert pool(states_BTD, "mean").item() == (large + 3) / 4


def test_a_mean_of_float16_states_does_not_overflow() -> None:
    states_BTD = torch.full((1, 4, 1), 60_000.0, dtype=torch.float16)
    assert pool(states_BTD, "mean").item() == 60_000 - 60_000 % 32
