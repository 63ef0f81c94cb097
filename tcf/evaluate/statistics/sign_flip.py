"""The paired sign-flip test: is the mean of the users' differences 0?

Fisher, The design of experiments, 1935, section 21. If two rankings serve users equally well, a user's difference is as
likely to have either sign. Signs are drawn anew again and again, and p is the share of the drawings, the observed one
among them, whose mean is at least as far from 0 as observed: (b + 1) / (n + 1), which is never 0 (Phipson and Smyth,
Permutation p-values should never be zero, Stat. Appl. Genet. Mol. Biol. 2010).
"""

import numpy as np
import numpy.typing as npt

from tcf.common.random_streams import RandomStream, generator
from tcf.evaluate.statistics.checks import check_at_least, check_values
from tcf.evaluate.statistics.exact_sums import DRAWS_AT_ONCE, weighted_sums, whole_units
from tcf.ranking.catalogue import blocks

__all__ = ["FLIPS", "sign_flip"]

FLIPS = 9_999

_GROUP = 1024  # users
_SIGNS_A_WORD = 64


def sign_flip(differences_UM: npt.NDArray[np.float64], *, flips: int = FLIPS, seed: int = 0) -> npt.NDArray[np.float64]:
    """Return the two-sided p-values of all columns, (M,); the columns share the signs.

    Sums are exact (`exact_sums`), and sums that differ by no more than the rounding of the differences are equal:
    otherwise the order of adding would decide whether another drawing is as far from 0 as the observed one.

    Five users, all better by 1: of 32 equally likely drawings the two without a mixture are as far from 0.

    >>> sign_flip(np.ones((5, 1))).round(2).tolist()
    [0.06]

    Args:
        differences_UM: each user's difference, (U, M), all finite.
        flips: drawings beside the observed one, n.
        seed: at least 0.

    Raises:
        RunError: there are no users, no columns or no flips, or a difference is not finite.
    """
    check_values(differences_UM, "users, columns", "differences")
    check_at_least(1, flips, "flips")
    # A difference of 0 has no sign.
    units_UM, _ = whole_units(differences_UM[differences_UM.any(axis=1)], max(1, len(differences_UM)))
    sums_FM = np.zeros((flips, units_UM.shape[1]))
    for number, users in enumerate(blocks(len(units_UM), _GROUP)):
        _add_flipped(units_UM[users], generator(RandomStream.SIGN_FLIPS, seed, number, 0), sums_FM)
    # Each user's difference is rounded by at most half a unit, in the observed sum and in the other one.
    as_far_M = (np.abs(sums_FM) >= np.abs(units_UM.sum(axis=0)) - len(units_UM)).sum(axis=0)
    p_M: npt.NDArray[np.float64] = (as_far_M + 1) / (flips + 1)
    return p_M


def _add_flipped(units_KM: npt.NDArray[np.float64], rng: np.random.Generator, sums_FM: npt.NDArray[np.float64]) -> None:
    """Add the sums of a group's differences, with signs drawn for each of F flips, to `sums_FM`."""
    units_KM = np.pad(units_KM, ((0, -len(units_KM) % _SIGNS_A_WORD), (0, 0)))
    signs_of_byte = 1.0 - 2.0 * np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1)
    words = (DRAWS_AT_ONCE, len(units_KM) // _SIGNS_A_WORD)
    for drawn in blocks(len(sums_FM), DRAWS_AT_ONCE):
        bytes_B = rng.integers(0, 2**64, words, np.uint64).view(np.uint8)
        signs_BK = np.take(signs_of_byte, bytes_B, axis=0, mode="clip").reshape(DRAWS_AT_ONCE, -1)
        sums_FM[drawn] += weighted_sums(signs_BK, units_KM)[: drawn.stop - drawn.start]
