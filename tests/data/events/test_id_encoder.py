"""Codes of strings, against a dictionary of Python."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tcf.data.events.id_encoder import Encoded, IdEncoder


def encode(blocks: list[list[str]], pending_bytes: int) -> Encoded:
    with IdEncoder(pending_bytes) as coder:
        for block in blocks:
            coder.add(pa.array(block, pa.large_string()))
        return coder.finish()


words = st.sampled_from(["", "a", "b", "ab", "é", "000123", "NaN", "None", "x" * 70])


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(words, max_size=8), max_size=8), st.sampled_from([1, 40, 1 << 20]))
def test_codes_number_strings_by_first_appearance(blocks: list[list[str]], pending_bytes: int) -> None:
    encoded = encode(blocks, pending_bytes)
    numbers: dict[str, int] = {}
    expected = [numbers.setdefault(word, len(numbers)) for block in blocks for word in block]
    assert encoded.values.to_pylist() == list(numbers)
    assert encoded.codes.tolist() == expected
    assert encoded.codes.dtype == np.int32


def test_runs_and_single_strings_mix() -> None:
    encoded = encode([["a", "a", "a", "b"], ["b", "c", "d", "e"], [], ["a", "a"]], 1 << 20)
    assert encoded.codes.tolist() == [0, 0, 0, 1, 1, 2, 3, 4, 0, 0]
    assert encoded.values.to_pylist() == ["a", "b", "c", "d", "e"]


def test_slices_are_taken_as_they_are() -> None:
    strings = pa.array(["x", "a", "b", "b", "y"], pa.large_string())
    with IdEncoder() as coder:
        coder.add(strings.slice(1, 3))
        encoded = coder.finish()
    assert (encoded.values.to_pylist(), encoded.codes.tolist()) == (["a", "b"], [0, 1, 1])


@pytest.mark.parametrize("pending_bytes", [1, 1 << 20])
def test_strings_of_one_length_until_another_comes(pending_bytes: int) -> None:
    blocks = [["b1", "a1", "b1"], [], ["c1", "a1"], ["a1", "long"], ["b1", "long", "d1"]]
    encoded = encode(blocks, pending_bytes)
    assert encoded.values.to_pylist() == ["b1", "a1", "c1", "long", "d1"]
    assert encoded.codes.tolist() == [0, 1, 0, 2, 1, 1, 3, 0, 3, 4]
