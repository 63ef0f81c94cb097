"""Every stream of random numbers that tcf draws, in one place, so that it can be seen which of them share a seed.

A stream is a function of a seed and of numbers that say where it is used (an epoch, a step, a trial), never of what was
drawn before it. So an interrupted run needs no state of generators, and each process of several draws the same. No
other module makes or seeds a generator; `tests/test_smells.py` looks for that.
"""

from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

__all__ = ["RandomStream", "derived_seed", "generator", "torch_generator"]


class RandomStream(IntEnum):
    """What random numbers are for.

    The first four share the seed of a training, and their numbers are part of what seeds them, so these are fixed for
    good; that of the order of rows is left out there, which NumPy takes for 0. The others have seeds of other settings,
    and their numbers only name them. Those of a search share one: a grid has an order and no proposals, and a value of
    a trial has one word more.
    """

    ROW_ORDER = 0
    """The order of the rows of an epoch. Seed of the training; the epoch, counted from 1."""
    LOSS_SAMPLES = 1
    """The items that a loss draws for a batch. Seed of the training; epoch and step."""
    VALIDATION_USERS = 2
    """The users by whom an epoch is judged, if not all. Seed of the training; 0 and 0."""
    DROPOUT = 3
    """What dropout leaves out in a step. Seed of the training; steps of the run so far and rank of the process."""
    SAMPLED_USERS = 4
    """The users whom `--sample-users` keeps of a raw log. Seed of the preparation."""
    SAMPLED_VECTORS = 5
    """The items whose nearest neighbours are looked for between two datasets. Seed of that comparison."""
    RANDOM_BASELINE = 6
    """The ranking by chance. Seed of the evaluation."""
    GRID_ORDER = 7
    """The order of a search's grid. Seed of the search."""
    TRIAL = 8
    """What is proposed for a trial of a search. Seed of the search; the trial's number."""
    TRIAL_PARAMETER = 9
    """A trial's value of one parameter. Seed of the search; the trial's number and the checksum of the name."""
    WORKLOAD_SAMPLE = 10
    """The texts by which the tokens of a large catalogue are estimated. Always the same seed."""
    HASH_OF_VECTORS = 11
    """Factors of a hash by which equal vectors are found. The attempt, counted from 0."""
    HASH_OF_IDS = 12
    """Factors of a hash table of ids. Always the same seed."""
    FIRST_WEIGHTS = 13
    """A model's weights before its training. Seed of the training, drawn by torch."""
    CALIBRATION = 14
    """Numbers that are computed with to see how long that takes. Always the same seed, drawn by torch."""


_NUMBERED = frozenset({RandomStream.LOSS_SAMPLES, RandomStream.VALIDATION_USERS, RandomStream.DROPOUT})
_DRAWN_BY_TORCH = frozenset({RandomStream.FIRST_WEIGHTS, RandomStream.CALIBRATION})


def generator(stream: RandomStream, seed: int, *place: int) -> np.random.Generator:
    """A generator at the beginning of a stream.

    Args:
        stream: what the numbers are for.
        seed: at least 0.
        place: where they are used, as the stream says; each at least 0.
    """
    return np.random.default_rng(_words(stream, seed, place))


def torch_generator(stream: RandomStream, seed: int, device: "torch.device | str" = "cpu") -> "torch.Generator":
    """A generator of torch's at the beginning of a stream that is drawn by torch.

    It is seeded by the seed as it is, which differs from what `generator` makes of it.

    Args:
        stream: what the numbers are for: `FIRST_WEIGHTS` or `CALIBRATION`.
        seed: at least 0.
        device: where tensors are filled.
    """
    import torch

    if stream not in _DRAWN_BY_TORCH:
        raise ValueError(f"{stream.name} is drawn by NumPy, or seeded by `derived_seed`")
    return torch.Generator(device).manual_seed(seed)


def derived_seed(stream: RandomStream, seed: int, *place: int, bits: int = 64) -> int:
    """A seed for a generator of another library, such as torch's or Optuna's.

    Args:
        stream: what the numbers are for.
        seed: at least 0.
        place: where they are used, as the stream says; each at least 0.
        bits: of the seed, 32 or 64.
    """
    kind = np.uint64 if bits == 64 else np.uint32
    return int(np.random.SeedSequence(_words(stream, seed, place)).generate_state(1, kind)[0])


def _words(stream: RandomStream, seed: int, place: tuple[int, ...]) -> list[int]:
    numbers = [int(stream)] if stream in _NUMBERED else []
    return [seed, *place, *numbers]
