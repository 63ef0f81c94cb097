"""Random streams: the generators that published datasets and runs were made with, each a stream of its own."""

from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
import torch

from tcf.common.random_streams import RandomStream, derived_seed, generator, torch_generator

SEEDS = (0, 1, 2**32 - 1, 2**32, 2**40 + 3)
NUMBERED = {
    RandomStream.LOSS_SAMPLES: 1,
    RandomStream.VALIDATION_USERS: 2,
    RandomStream.DROPOUT: 3,
    RandomStream.WINDOWS: 15,
    RandomStream.BOOTSTRAP: 16,
    RandomStream.SIGN_FLIPS: 17,
}


def drawn(rng: np.random.Generator) -> npt.NDArray[np.uint64]:
    return rng.integers(0, 2**64, 8, np.uint64)


@pytest.mark.parametrize("seed", SEEDS)
def test_streams_are_those_of_the_first_version(seed: int) -> None:
    """Spelled out as they were in the places that draw; whatever was published was made with these."""
    own = np.random.default_rng
    assert np.array_equal(drawn(generator(RandomStream.ROW_ORDER, seed, 5)), drawn(own([seed, 5])))
    for stream, number in NUMBERED.items():
        assert np.array_equal(drawn(generator(stream, seed, 4, 7)), drawn(own([seed, 4, 7, number])))
        words = np.random.SeedSequence([seed, 4, 7, number])
        assert derived_seed(stream, seed, 4, 7) == int(words.generate_state(1, np.uint64)[0])
    for stream in RandomStream:
        if stream > RandomStream.DROPOUT and stream not in NUMBERED:
            assert np.array_equal(drawn(generator(stream, seed)), drawn(own(seed)))
            assert np.array_equal(drawn(generator(stream, seed)), drawn(np.random.Generator(np.random.PCG64(seed))))
    for place in ((3,), (3, 0xFFFF_FFFF)):
        words = np.random.SeedSequence([seed, *place])
        assert derived_seed(RandomStream.TRIAL, seed, *place, bits=32) == int(words.generate_state(1)[0])


@pytest.mark.parametrize("seed", [*SEEDS, 2**63 - 1])
def test_first_weights_are_those_of_the_first_version(seed: int) -> None:
    """Spelled out as they were in `tcf.train.model.build`; torch's global generator is left alone."""
    before = torch.get_rng_state()
    found = torch.randn(8, generator=torch_generator(RandomStream.FIRST_WEIGHTS, seed))
    assert torch.equal(found, torch.randn(8, generator=torch.Generator().manual_seed(seed)))
    assert torch.equal(torch.get_rng_state(), before)


def test_torch_draws_no_stream_of_numpys() -> None:
    with pytest.raises(ValueError, match="^ROW_ORDER is drawn by NumPy"):
        torch_generator(RandomStream.ROW_ORDER, 0)


def test_streams_of_a_training_differ_wherever_they_are_used() -> None:
    places = [(1,), (2,)]
    found = [drawn(generator(RandomStream.ROW_ORDER, 3, *place)).tobytes() for place in places]
    found += [drawn(generator(stream, 3, a, b)).tobytes() for stream in NUMBERED for a in range(3) for b in range(3)]
    assert len(set(found)) == len(found)


def test_every_stream_has_a_number_of_its_own_and_says_what_it_is_for() -> None:
    assert all(a + 1 == b for a, b in pairwise(RandomStream))
    assert {int(stream) for stream in NUMBERED} == set(NUMBERED.values())
