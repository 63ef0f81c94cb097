"""Who serves whom: the shares of users with a hit of one ranking alone, of several, of all, of none.

With ties or several seeds a hit has a probability. Rankings then hit independently of one another, since the ties and
the seeds of each are drawn by themselves.

Shapes: N rankings, S seeds of a ranking, U users.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["pair_shares", "served_shares"]


def served_shares(names: Sequence[str], values: Sequence[npt.NDArray[np.float64]]) -> dict[str, float]:
    """Return the share of users by who has a hit: `only NAME` of each ranking, `several, not all`, `all`, `none`.

    >>> served_shares(["a", "b"], [np.array([[1.0, 1.0, 0.0, 0.5]]), np.array([[1.0, 0.0, 0.0, 0.0]])])
    {'only a': 0.375, 'only b': 0.0, 'all': 0.25, 'none': 0.375}

    Args:
        names: what the rankings are called.
        values: each user's hits under each seed, (S, U), of each ranking.
    """
    hits_NU = np.stack([values_SU.mean(axis=0) for values_SU in values])
    shares = {f"only {name}": float(_alone(hits_NU, number).mean()) for number, name in enumerate(names)}
    of_all, of_none = float(hits_NU.prod(axis=0).mean()), float((1 - hits_NU).prod(axis=0).mean())
    if len(names) > 2:
        shares["several, not all"] = max(0.0, 1 - sum(shares.values()) - of_all - of_none)
    return {**shares, "all": of_all, "none": of_none}


def pair_shares(
    first_SU: npt.NDArray[np.float64], second_SU: npt.NDArray[np.float64]
) -> tuple[float, float, float, float]:
    """Return the shares of users with a hit of the first ranking alone, of the second one alone, of both, of neither.

    >>> pair_shares(np.array([[1.0, 1.0, 0.0, 0.5]]), np.array([[1.0, 0.0, 0.0, 0.0]]))
    (0.375, 0.0, 0.25, 0.375)
    """
    only_first, only_second, both, neither = served_shares(["first", "second"], [first_SU, second_SU]).values()
    return only_first, only_second, both, neither


def _alone(hits_NU: npt.NDArray[np.float64], number: int) -> npt.NDArray[np.float64]:
    """The probability that a ranking hits and no other one does, by user, (U,)."""
    misses_NU = 1 - hits_NU
    misses_NU[number] = hits_NU[number]
    alone_U: npt.NDArray[np.float64] = misses_NU.prod(axis=0)
    return alone_U
