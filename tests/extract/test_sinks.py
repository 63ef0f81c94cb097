from typing import Any

import numpy as np
import pytest
import torch

from tcf.encoders.pooling import VectorHead
from tcf.extract.micro_batches import TextGroup, micro_batches
from tcf.extract.sinks import TokenSink, VectorSink

CPU = torch.device("cpu")

# Shard of three texts with 2, 0 and 1 tokens; the device reads text 2 first, then text 0, and text 1 not at all. The
# sink is given text 0 before text 2.
ORDER = np.array([2, 0, 1])
READ_2, READ_0, READ_1 = (
    TextGroup(np.array([row]), length, *before)
    for row, length, before in ((2, 1, (0, 0)), (0, 2, (1, 1)), (1, 0, (2, 3)))
)
NOTHING = torch.empty((1, 0, 0))
LENGTHS = np.array([2, 0, 1])
TEXT_2 = torch.tensor([[[5.0, 6.0]]])
TEXT_0 = torch.tensor([[[1.0, 2.0], [3.0, 8.0]]])


def one(texts: int, length: int) -> TextGroup:
    """All texts of a shard, which have equal lengths."""
    [batch] = micro_batches(np.full(texts, length), 100)
    [group] = batch.groups
    return group


def fed(sink: Any) -> Any:
    sink.put(READ_0, TEXT_0)
    sink.put(READ_1, NOTHING)
    sink.put(READ_2, TEXT_2)
    return sink


@pytest.mark.parametrize(
    ("pooling", "first"), [("mean", [2, 5]), ("first", [1, 2]), ("last", [3, 8])]
)  # fmt: skip
def test_vectors_are_pooled_and_come_back_in_the_shards_order(pooling: Any, first: list[float]) -> None:
    vectors = fed(VectorSink(3, 2, torch.float32, VectorHead([pooling]), CPU)).vectors(ORDER)
    assert vectors.dtype == np.float32
    assert vectors.tolist() == [first, [0, 0], [5, 6]]


def test_token_states_come_back_in_the_shards_order() -> None:
    states, offsets = fed(TokenSink(LENGTHS, 2, torch.float32, CPU)).states(ORDER)
    assert offsets.tolist() == [0, 2, 2, 3]
    assert states.tolist() == [[1, 2], [3, 8], [5, 6]]


def test_texts_of_one_group_keep_their_own_tokens() -> None:
    sink = TokenSink(np.array([2, 2]), 1, torch.float32, CPU)
    sink.put(one(2, 2), torch.tensor([[[1.0], [2.0]], [[3.0], [4.0]]]))
    assert sink.states(np.array([1, 0]))[0].tolist() == [[3], [4], [1], [2]]


def test_numbers_are_rounded_to_the_nearest_once() -> None:
    sink = VectorSink(1, 5, torch.float16, VectorHead(["first"]), CPU)
    sink.put(one(1, 1), torch.tensor([[[0.1, 65_504.0, -65_504.0, 1e-9, 0.0]]]))
    assert not len(sink.unstorable(np.array([0])))
    # The float16 next to 0.1 is 1638 / 2^14.
    assert sink.vectors(np.array([0])).tolist() == [[1638 / 16384, 65_504.0, -65_504.0, 0.0, 0.0]]
    # A mean is taken of the states before they are rounded: the float16 of 2048 + 1 is 2048, that of 2049.5 is 2050.
    mean = VectorSink(1, 1, torch.float16, VectorHead(["mean"]), CPU)
    mean.put(one(1, 2), torch.tensor([[[2049.0], [2050.0]]]))
    assert mean.vectors(np.array([0])).tolist() == [[2050]]


def test_bfloat16_is_given_as_its_bits() -> None:
    sink = TokenSink(np.array([1]), 3, torch.bfloat16, CPU)
    sink.put(one(1, 1), torch.tensor([[[1.0, -2.0, 1.0 + 2**-7 + 2**-9]]]))
    states, _ = sink.states(np.array([0]))
    assert states.dtype == np.uint16
    assert states.tolist() == [[0x3F80, 0xC000, 0x3F81]]


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("storage", [torch.float16, torch.float32, torch.bfloat16])
def test_what_is_not_finite_is_noticed_in_any_micro_batch(value: float, storage: torch.dtype) -> None:
    for sink in (VectorSink(3, 2, storage, VectorHead(["last"]), CPU), TokenSink(LENGTHS, 2, storage, CPU)):
        sink.put(READ_2, torch.tensor([[[0.0, value]]]))
        sink.put(READ_0, TEXT_0)
        sink.put(READ_1, NOTHING)
        assert sink.unstorable(ORDER).tolist() == [2]


def test_what_does_not_fit_is_noticed_where_it_is_stored_and_only_there() -> None:
    large = torch.tensor([[[65_520.0, 0.0]], [[1.0, 1.0]]])
    for storage, fits in ((torch.float16, False), (torch.float32, True), (torch.bfloat16, True)):
        sink = TokenSink(np.array([1, 1]), 2, storage, CPU)
        sink.put(one(2, 1), large)
        assert sink.unstorable(np.array([0, 1])).tolist() == ([] if fits else [0])
    assert not len(fed(VectorSink(3, 2, torch.float16, VectorHead(["mean"]), CPU)).unstorable(ORDER))


def test_a_shard_without_tokens() -> None:
    vectors, tokens = (
        VectorSink(2, 3, torch.float16, VectorHead(["mean"]), CPU),
        TokenSink(np.zeros(2, int), 3, torch.float16, CPU),
    )
    for sink in (vectors, tokens):
        sink.put(one(2, 0), torch.empty((2, 0, 0)))
        assert not len(sink.unstorable(np.array([0, 1])))
    assert vectors.vectors(np.array([0, 1])).tolist() == [[0, 0, 0]] * 2
    states, offsets = tokens.states(np.array([0, 1]))
    assert (states.shape, offsets.tolist()) == ((0, 3), [0, 0, 0])


def test_all_texts_with_a_number_that_cannot_be_stored_are_told() -> None:
    bad = torch.tensor([[[torch.nan, 0.0]]])
    for sink in (VectorSink(3, 2, torch.float32, VectorHead(["mean"]), CPU), TokenSink(LENGTHS, 2, torch.float32, CPU)):
        sink.put(READ_2, bad)
        sink.put(READ_0, torch.cat([torch.zeros_like(bad), bad], dim=1))
        sink.put(READ_1, NOTHING)
        assert sink.unstorable(ORDER).tolist() == [0, 2]
