"""A loss whose gradient was computed in the forward pass, as a node of the autograd graph.

Shapes: P targets, U items, D width.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["KnownGradients", "with_known_gradients"]


@dataclass(frozen=True)
class KnownGradients:
    """A loss with its gradient.

    Attributes:
        loss: a scalar.
        by_state_PD: gradient with respect to the states.
        by_vector_UD: gradient with respect to the item vectors.
    """

    loss: Tensor
    by_state_PD: Tensor
    by_vector_UD: Tensor


def with_known_gradients(states_PD: Tensor, vectors_UD: Tensor, known: KnownGradients) -> Tensor:
    """The loss as a function of states and vectors, whose backward pass scales the known gradient.

    Args:
        states_PD: the states that the loss was computed from, (P, D).
        vectors_UD: the item vectors that it was computed from, (U, D).
        known: loss and gradient, computed without a graph.

    Returns:
        A scalar; its gradient reaches `states_PD` and `vectors_UD`, once.
    """
    loss: Tensor = _KnownGradientsFunction.apply(
        states_PD, vectors_UD, known.loss, known.by_state_PD, known.by_vector_UD
    )  # type: ignore[no-untyped-call]
    return loss


class _KnownGradientsFunction(torch.autograd.Function):
    """Passes the loss through, and scales the known gradient in the backward pass."""

    @staticmethod
    def forward(
        ctx: Any, states_PD: Tensor, vectors_UD: Tensor, loss: Tensor, by_state_PD: Tensor, by_vector_UD: Tensor
    ) -> Tensor:
        """The loss unchanged."""
        ctx.save_for_backward(by_state_PD, by_vector_UD)
        return loss.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_loss: Tensor) -> tuple[Tensor | None, ...]:
        """Scale the known gradient."""
        by_state_PD, by_vector_UD = ctx.saved_tensors
        return by_state_PD * by_loss, by_vector_UD * by_loss, None, None, None
