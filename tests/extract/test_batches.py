import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcf.extract.batches import cut_shards, micro_batches


def test_micro_batches_by_hand() -> None:
    lengths = np.array([3, 1, 3, 2, 3, 1])
    assert [rows.tolist() for rows in micro_batches(lengths, 6)] == [[0, 2], [4], [3], [1, 5]]


@pytest.mark.parametrize("tokens", [1, 2])
def test_a_text_longer_than_a_micro_batch_runs_alone(tokens: int) -> None:
    assert [rows.tolist() for rows in micro_batches(np.array([5, 5]), tokens)] == [[0], [1]]


def test_no_texts() -> None:
    assert micro_batches(np.zeros(0, np.int64), 10) == []
    assert cut_shards(np.zeros(0, np.int64), 10) == []


@given(st.lists(st.integers(1, 30), max_size=60), st.integers(1, 100))
def test_every_text_is_in_one_batch_of_its_own_length(lengths: list[int], tokens: int) -> None:
    batches = micro_batches(np.array(lengths, np.int64), tokens)
    assert sorted(np.concatenate([np.zeros(0, np.int64), *batches]).tolist()) == list(range(len(lengths)))
    firsts = []
    for rows in batches:
        (length,) = {lengths[row] for row in rows}
        assert len(rows) == 1 or len(rows) * length <= tokens
        firsts.append(length)
    assert firsts == sorted(firsts, reverse=True)


def test_shards_by_hand() -> None:
    assert [rows.tolist() for rows in cut_shards(np.array([2, 3, 5, 8, 9]), 2)] == [[2, 3], [5, 8], [9]]


@given(st.integers(1, 9), st.integers(0, 40), st.data())
def test_going_on_cuts_at_the_same_places(shard_rows: int, n: int, data: st.DataObject) -> None:
    whole = cut_shards(np.arange(n), shard_rows)
    done = data.draw(st.integers(0, len(whole)))
    missing = np.arange(n)[done * shard_rows :]
    assert [rows.tolist() for rows in cut_shards(missing, shard_rows)] == [rows.tolist() for rows in whole[done:]]
