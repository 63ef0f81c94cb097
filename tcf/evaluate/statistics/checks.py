"""What intervals and tests ask of their arguments."""

from typing import Any

import numpy as np
import numpy.typing as npt

from tcf.common.errors import RunError, shape_words

__all__ = ["check_at_least", "check_probability", "check_values"]


def check_values(values: npt.NDArray[np.float64], axes: str, name: str) -> None:
    """Refuse an array of another number of axes, one without elements, and one with NaN or infinity.

    Args:
        values: the array.
        axes: what its axes are, in words: `users, columns`.
        name: what the array is called in the message.

    Raises:
        RunError: saying what was found.
    """
    if values.ndim != len(axes.split(", ")) or not values.size:
        raise RunError(
            f"{name}: expected an array of ({axes}) with at least one of each, found the shape "
            f"{shape_words(values.shape)}; give it a value for each of them"
        )
    bad = int((~np.isfinite(values)).sum())
    if bad:
        raise RunError(f"{name}: expected finite values, found {bad} that are not; leave such users out")


def check_at_least(least: int, value: int, name: str) -> None:
    """Refuse a smaller number.

    Raises:
        RunError: saying what was found.
    """
    if value < least:
        raise RunError(f"{name}: expected at least {least}, found {value}; give a larger number")


def check_probability(value: Any, name: str) -> None:
    """Refuse what is not between 0 and 1, both excluded.

    Raises:
        RunError: saying what was found.
    """
    if not 0 < value < 1:
        raise RunError(f"{name}: expected a probability between 0 and 1, found {value}; 0.95 is usual for an interval")
