import math

import pytest
import torch

from tcf.common.errors import RunError
from tcf.train.loss_meter import LossMeter


def test_the_mean_is_over_targets() -> None:
    meter = LossMeter(1, 0.1)
    for loss, targets in ((2.0, 3), (5.0, 1)):
        meter.add(torch.tensor(loss), targets)
    assert meter.mean() == 11 / 4
    assert (meter.steps, meter.targets, meter.total) == (2, 4, 11.0)


def test_when_it_is_looked_at_changes_no_bit() -> None:
    losses = torch.rand(100, generator=torch.Generator().manual_seed(0)) * 10
    meters = [LossMeter(1, 0.1) for _ in range(3)]
    for place, loss in enumerate(losses):
        for meter in meters:
            meter.add(loss, 1 + place % 7)
        meters[0].look()
        if place % 5 == 0:
            meters[1].look()
    assert len({meter.mean() for meter in meters}) == 1
    assert meters[2].steps == 100


def test_it_goes_on_where_another_stood() -> None:
    losses = torch.rand(70, generator=torch.Generator().manual_seed(1))
    whole, first = LossMeter(2, 0.1), LossMeter(2, 0.1)
    for loss in losses:
        whole.add(loss, 3)
    for loss in losses[:41]:
        first.add(loss, 3)
    first.look()
    rest = LossMeter(2, 0.1, total=first.total, targets=first.targets, steps=first.steps)
    for loss in losses[41:]:
        rest.add(loss, 3)
    assert rest.mean() == whole.mean()
    assert rest.steps == 70


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_is_named_by_its_step(bad: float) -> None:
    meter = LossMeter(4, 0.25)
    for loss in (1.0, 1.0, bad, 1.0):
        meter.add(torch.tensor(loss), 1)
    with pytest.raises(RunError, match=rf"epoch 4, step 3: .*found {bad}; .*--learning-rate \(now 0.25\)"):
        meter.look()


def test_it_looks_by_itself_now_and_then() -> None:
    """A loss that is not finite is noticed within an epoch, not at its end."""
    meter = LossMeter(1, 0.1)
    with pytest.raises(RunError, match="step 1:"):
        for _ in range(100):
            meter.add(torch.tensor(math.nan), 1)
