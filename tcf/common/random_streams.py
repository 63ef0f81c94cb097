"""All streams of random numbers in tcf, in one place, so that it is visible which of them share a seed.

A stream is a function of a seed and of numbers that say where it is used (an epoch, a step, a trial), never of what was
drawn before. An interrupted run therefore needs no generator state, and several processes draw the same numbers. No
other module makes or seeds a generator; `tests/test_smells.py` checks that.
"""

from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

__all__ = ["RandomStream", "derived_seed", "generator", "torch_generator"]


class RandomStream(IntEnum):
    """The purpose of random numbers.

    The first four and `WINDOWS` share the training seed, and their enum values are part of the seed sequence, so these
    values are fixed; so are those of `BOOTSTRAP` and `SIGN_FLIPS`, whose seed may be that of any other stream.
    `ROW_ORDER` is left out of the sequence, which NumPy treats as 0. The other streams use seeds of other settings, and
    their values only identify them. The streams of a search share one seed: a grid has an order but no proposals, and
    `TRIAL_PARAMETER` adds one word to the sequence.
    """

    ROW_ORDER = 0
    """Order of the rows in an epoch. Training seed; epoch, counted from 1."""
    LOSS_SAMPLES = 1
    """Items that a loss samples for a batch. Training seed; epoch and step."""
    VALIDATION_USERS = 2
    """Users sampled for validation, if not all are used. Training seed; 0 and 0."""
    DROPOUT = 3
    """Dropout masks of a step. Training seed; steps of the run so far and rank of the process."""
    SAMPLED_USERS = 4
    """Users kept by `--sample-users`. Seed of `data prepare`."""
    SAMPLED_VECTORS = 5
    """Items whose nearest neighbours are searched in another dataset. Seed of the comparison."""
    RANDOM_BASELINE = 6
    """Scores of the random baseline. Seed of the evaluation."""
    GRID_ORDER = 7
    """Order of a search's grid. Search seed."""
    TRIAL = 8
    """Proposals for a trial of a search. Search seed; trial number."""
    TRIAL_PARAMETER = 9
    """A trial's value of one parameter. Search seed; trial number and checksum of the parameter's name."""
    WORKLOAD_SAMPLE = 10
    """Texts sampled to estimate the number of tokens of a large catalogue. Fixed seed."""
    HASH_OF_VECTORS = 11
    """Factors of a hash that finds equal vectors. Attempt, counted from 0."""
    HASH_OF_IDS = 12
    """Factors of a hash table of ids. Fixed seed."""
    FIRST_WEIGHTS = 13
    """Initial weights of a model. Training seed, drawn by torch."""
    CALIBRATION = 14
    """Input of calibration runs. Fixed seed, drawn by torch."""
    WINDOWS = 15
    """Where the windows of histories begin in an epoch. Training seed; epoch and 0."""
    BOOTSTRAP = 16
    """Weights of users in a bootstrap. Seed of the evaluation; number of the group of users and 0."""
    SIGN_FLIPS = 17
    """Signs of users in a sign-flip test. Seed of the comparison; number of the group of users and 0."""
    COMBINED_USERS = 18
    """Users to whose validation targets the weights of a combination are fitted. Seed of the combination."""


_NUMBERED = frozenset(
    {
        RandomStream.LOSS_SAMPLES,
        RandomStream.VALIDATION_USERS,
        RandomStream.DROPOUT,
        RandomStream.WINDOWS,
        RandomStream.BOOTSTRAP,
        RandomStream.SIGN_FLIPS,
    }
)
_DRAWN_BY_TORCH = frozenset({RandomStream.FIRST_WEIGHTS, RandomStream.CALIBRATION})


def generator(stream: RandomStream, seed: int, *place: int) -> np.random.Generator:
    """Return a NumPy generator at the beginning of a stream.

    Args:
        stream: the purpose of the numbers.
        seed: at least 0.
        place: where they are used, as documented for the stream; each at least 0.
    """
    return np.random.default_rng(_words(stream, seed, place))


def torch_generator(stream: RandomStream, seed: int, device: "torch.device | str" = "cpu") -> "torch.Generator":
    """Return a torch generator at the beginning of a stream that is drawn by torch.

    It uses the seed itself; `generator` derives its state from seed and place.

    Args:
        stream: the purpose of the numbers: `FIRST_WEIGHTS` or `CALIBRATION`.
        seed: at least 0.
        device: device of the tensors to fill.
    """
    import torch

    if stream not in _DRAWN_BY_TORCH:
        raise ValueError(f"{stream.name} is drawn by NumPy, or seeded by `derived_seed`")
    return torch.Generator(device).manual_seed(seed)


def derived_seed(stream: RandomStream, seed: int, *place: int, bits: int = 64) -> int:
    """Derive a seed for a generator of another library, such as torch or Optuna.

    Args:
        stream: the purpose of the numbers.
        seed: at least 0.
        place: where they are used, as documented for the stream; each at least 0.
        bits: size of the seed, 32 or 64.
    """
    kind = np.uint64 if bits == 64 else np.uint32
    return int(np.random.SeedSequence(_words(stream, seed, place)).generate_state(1, kind)[0])


def _words(stream: RandomStream, seed: int, place: tuple[int, ...]) -> list[int]:
    numbers = [int(stream)] if stream in _NUMBERED else []
    return [seed, *place, *numbers]
