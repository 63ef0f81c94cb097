"""Hidden states between two blocks: no more memory than they show, and whole in a file however little a call takes."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from small.extract.sweeps import CPU, engine, own_states, read, sequences_of
from tcf.extract.micro_batches import MicroBatch, micro_batches
from tcf.extract.schedules.hidden_states import FileStates, KeptStates, read_file, write_file

LENGTHS = np.array([3, 2, 3, 1, 2])


def test_a_view_of_more_does_not_keep_that_in_memory() -> None:
    [batch] = micro_batches(np.full(2, 3), 100)
    large = torch.randn(2, 3, 100)
    with KeptStates() as states:
        states.put(batch, large[..., :4])
        kept = states.get(batch, CPU)
        assert torch.equal(kept, large[..., :4])
        assert kept.untyped_storage().nbytes() == 2 * 3 * 4 * 4
        whole = torch.randn(2, 3, 4)
        states.put(batch, whole)
        assert states.get(batch, CPU).data_ptr() == whole.data_ptr()  # nothing is copied without need


@pytest.mark.parametrize("most", [1, 7, 1000])
def test_calls_that_take_less_than_they_are_given_are_made_again(
    most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, get = os.pwritev, os.preadv

    def some(call: Callable[..., int]) -> Callable[..., int]:
        return lambda file, buffers, offset: call(file, [buffers[0][:most]], offset)

    monkeypatch.setattr(os, "pwritev", some(write))
    monkeypatch.setattr(os, "preadv", some(get))
    expected, found = torch.randn(5, 3), torch.zeros(5, 3)
    file = os.open(tmp_path / "f", os.O_RDWR | os.O_CREAT)
    write_file(file, expected, 11)
    read_file(file, found, 11, tmp_path / "f")
    os.close(file)
    assert torch.equal(found, expected)


def test_states_of_another_type_are_kept_in_the_files_own(tmp_path: Path) -> None:
    batches = micro_batches(LENGTHS, 6)
    with FileStates(tmp_path / "states.bin", int(LENGTHS.sum()), 4, torch.float32) as states:
        put = {batch.states_before: torch.randn(*batch.shape, 4).half() for batch in batches}
        for batch in batches:
            states.put(batch, put[batch.states_before])
        for batch in batches:
            assert torch.equal(states.get(batch, CPU), put[batch.states_before].float())


@pytest.mark.parametrize("states", ["memory", "disk"])
def test_a_type_that_blocks_widen_is_kept_as_wide(states: str, family: Callable[[str], Path], tmp_path: Path) -> None:
    """T5 computes with float16 and float32 mixed: what enters its first block is narrower than what leaves it."""
    sequences = sequences_of(family("t5"))
    expected = own_states("t5", family("t5"), sequences, torch.float16)
    loaded = engine(family("t5"), "sweep", ("disk",) * 3, dtype=torch.float16, states=states)
    found = read(loaded, sequences, tmp_path)
    loaded.close()
    assert {layer: torch.equal(found[layer], expected[layer]) for layer in found} == dict.fromkeys(found, True)


def test_the_next_micro_batch_is_expected_while_one_is_computed(
    family: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    get = KeptStates.get

    def expect(self: KeptStates, batches: Sequence[MicroBatch], device: torch.device) -> None:
        told.extend(f"expect {batch.states_before}" for batch in batches)

    def noted(self: KeptStates, batch: MicroBatch, device: torch.device) -> Any:
        told.append(f"get {batch.states_before}")
        return get(self, batch, device)

    monkeypatch.setattr(KeptStates, "expect", expect)
    monkeypatch.setattr(KeptStates, "get", noted)
    sequences = sequences_of(family("opt"))
    loaded = engine(family("opt"), "sweep", ("disk",), layers=(1,))
    read(loaded, sequences, tmp_path)
    loaded.close()
    starts = [batch.states_before for batch in micro_batches(sequences.lengths, 64) if batch.n_states]
    expected = []
    for start, following in zip(starts, [*starts[1:], None], strict=True):
        expected += ([] if following is None else [f"expect {following}"]) + [f"get {start}"]
    assert told == expected
