"""A loss joins the graph with a gradient that is known already."""

import pytest
import torch

from tcf.train.loss.known_gradients import KnownGradients, with_known_gradients


def known() -> KnownGradients:
    """Any numbers: nothing is computed anew."""
    return KnownGradients(torch.tensor(5.0), torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0], [5.0, 6.0]]))


def test_the_known_gradient_is_scaled_and_handed_down() -> None:
    """By 3 / 2, and through the factor 10 of which the states are made."""
    source = torch.ones(1, 2, requires_grad=True)
    vectors = torch.zeros(2, 2, requires_grad=True)
    loss = with_known_gradients(source * 10, vectors, known())
    assert loss.item() == 5
    (loss * 3 / 2).backward()  # type: ignore[no-untyped-call]
    assert source.grad is not None and source.grad.tolist() == [[15.0, 30.0]]
    assert vectors.grad is not None and vectors.grad.tolist() == [[4.5, 6.0], [7.5, 9.0]]


def test_what_is_not_learned_gets_none() -> None:
    states, vectors = torch.zeros(1, 2), torch.zeros(2, 2, requires_grad=True)
    with_known_gradients(states, vectors, known()).backward()  # type: ignore[no-untyped-call]
    assert states.grad is None and vectors.grad is not None
    assert not with_known_gradients(states, vectors.detach(), known()).requires_grad


def test_the_gradient_is_let_go_with_the_first_backward_pass() -> None:
    states = torch.zeros(1, 2, requires_grad=True)
    loss = with_known_gradients(states, torch.zeros(2, 2), known())
    loss.backward()  # type: ignore[no-untyped-call]
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        loss.backward()  # type: ignore[no-untyped-call]
