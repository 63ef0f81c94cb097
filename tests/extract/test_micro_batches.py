import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcf.extract.micro_batches import TextGroup, in_order, micro_batches


def groups(lengths: npt.NDArray[np.int64], tokens: int) -> list[TextGroup]:
    """The only group of every micro-batch."""
    batches = micro_batches(lengths, tokens)
    assert all(batch.tree is None and not batch.members for batch in batches)
    return [group for [group] in (batch.groups for batch in batches)]


def test_micro_batches_by_hand() -> None:
    lengths = np.array([3, 1, 3, 2, 3, 1])
    assert [group.rows.tolist() for group in groups(lengths, 6)] == [[0, 2], [4], [3], [1, 5]]


def test_a_group_is_cut_evenly() -> None:
    """Seven texts of 2 tokens, at most 4 texts at once: 4 and 3, and not 4, 4 and a rest."""
    assert [len(group.rows) for group in groups(np.full(7, 2), 8)] == [4, 3]
    assert [len(group.rows) for group in groups(np.full(9, 2), 8)] == [3, 3, 3]


@pytest.mark.parametrize("tokens", [1, 2])
def test_a_text_longer_than_a_micro_batch_runs_alone(tokens: int) -> None:
    assert [group.rows.tolist() for group in groups(np.array([5, 5]), tokens)] == [[0], [1]]


def test_no_texts() -> None:
    assert micro_batches(np.zeros(0, np.int64), 10) == []


def test_texts_without_tokens_come_last() -> None:
    assert [group.rows.tolist() for group in groups(np.array([0, 2, 0]), 10)] == [[1], [0, 2]]


@given(st.lists(st.integers(0, 30), max_size=60), st.integers(1, 100))
def test_every_text_is_in_one_batch_of_its_own_length(lengths: list[int], tokens: int) -> None:
    batches = micro_batches(np.array(lengths, np.int64), tokens)
    assert sorted(in_order(batches).tolist()) == list(range(len(lengths)))
    read = texts = 0
    for batch in batches:
        [group] = batch.groups
        assert {lengths[row] for row in group.rows} == {group.length}
        assert batch.shape == (len(group.rows), group.length)
        assert batch.n_texts == 1 or batch.n_states <= tokens or group.length == 0
        assert batch.n_states == batch.n_tokens == group.n_tokens
        assert batch.states == group.tokens == slice(read, read + batch.n_tokens)
        assert group.texts == slice(texts, texts + len(group.rows))
        read, texts = read + batch.n_tokens, texts + len(group.rows)
    firsts = [batch.groups[0].length for batch in batches]
    assert firsts == sorted(firsts, reverse=True)
