"""The weights of blocks that do not stay on a device: in order, each read once, in memory that is used again."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from small.encoders.families import stored_weights
from small.extract.sweeps import CPU
from tcf.encoders.folder.open_model_folder import open_model_folder
from tcf.encoders.split.skeleton import Skeleton, open_skeleton
from tcf.extract.schedules.weight_stream import BlockStream

ALL = [0, 1, 2]


@pytest.fixture
def skeleton(family: Callable[[str], Path]) -> Skeleton:
    return open_skeleton(open_model_folder(family("opt")), torch.float32)


def passed(stream: BlockStream, first: int = 0, stop: int = 3, device: int = 0) -> Iterator[int]:
    """The blocks of a pass, given back one after the other; each must have its own weights."""
    with stream.load_blocks(first, stop) as channels:
        for loaded in channels[device]:
            yield loaded.block
            loaded.release()


def nbytes(skeleton: Skeleton, *blocks: int) -> int:
    return sum(weight.stored.nbytes for block in blocks for weight in skeleton.within[block])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("held", [[], [1], ALL])
def test_blocks_come_in_order_with_their_own_weights(
    held: list[int], dtype: torch.dtype, family: Callable[[str], Path]
) -> None:
    skeleton = open_skeleton(open_model_folder(family("opt")), dtype)
    expected = stored_weights(family("opt"))
    stream = BlockStream(skeleton.within, ALL, held, [CPU, CPU])
    for _ in range(2):
        seen = []
        with stream.load_blocks(0, 3) as channels:
            for here, there in zip(*channels, strict=True):
                assert here.block == there.block
                for loaded in (here, there):
                    for name, tensor in loaded.tensors.items():
                        own = expected[f"model.decoder.layers.{loaded.block}.{name}"]
                        assert torch.equal(tensor, own.to(dtype))
                    loaded.release()
                seen.append(here.block)
        assert seen == ALL
    stream.close()


@pytest.mark.parametrize(("held", "again"), [([], ALL), ([1], [0, 2]), (ALL, [])])
def test_those_that_stay_in_memory_are_read_once(held: list[int], again: list[int], skeleton: Skeleton) -> None:
    stream = BlockStream(skeleton.within, ALL, held, [CPU])
    assert list(passed(stream)) == ALL
    assert stream.bytes_read == nbytes(skeleton, *ALL)
    assert list(passed(stream)) == ALL
    assert stream.bytes_read == nbytes(skeleton, *ALL) + nbytes(skeleton, *again)
    stream.close()


@pytest.mark.parametrize(("first", "stop", "blocks"), [(1, 3, [1, 2]), (0, 1, [0]), (2, 2, []), (1, 2, [1])])
def test_a_part_of_the_blocks_is_read_alone(first: int, stop: int, blocks: list[int], skeleton: Skeleton) -> None:
    stream = BlockStream(skeleton.within, ALL, [], [CPU])
    assert list(passed(stream, first, stop)) == blocks
    assert stream.bytes_read == nbytes(skeleton, *blocks)
    stream.close()


def test_one_block_is_read_while_another_is_in_use_and_a_third_waits_for_both_devices(skeleton: Skeleton) -> None:
    stream = BlockStream(skeleton.within, ALL, [], [CPU, CPU])
    with stream.load_blocks(0, 3) as (one, other):
        taken: list[int] = []
        second, all_three = threading.Event(), threading.Event()

        def take() -> None:
            for loaded in other:
                taken.append(loaded.block)
                loaded.release()
                (second if len(taken) == 2 else all_three if len(taken) == 3 else threading.Event()).set()

        held = one.get()
        own = {name: tensor.clone() for name, tensor in held.tensors.items()}
        threading.Thread(target=take, daemon=True).start()
        assert second.wait(10)
        assert not all_three.wait(0.2)
        assert taken == [0, 1] and all(torch.equal(held.tensors[name], tensor) for name, tensor in own.items())
        held.release()
        assert all_three.wait(10)
    stream.close()


def test_a_pass_that_is_given_up_leaves_no_thread_and_the_next_one_is_whole(skeleton: Skeleton) -> None:
    before = set(threading.enumerate())
    stream = BlockStream(skeleton.within, ALL, [], [CPU, CPU])
    for taken in (0, 1, 2):
        with pytest.raises(KeyboardInterrupt), stream.load_blocks(0, 3) as channels:
            for _ in range(taken):
                channels[0].get()
            raise KeyboardInterrupt
    blocks = []
    with stream.load_blocks(0, 3) as channels:
        for here, there in zip(*channels, strict=True):
            blocks.append(here.block)
            here.release()
            there.release()
    assert blocks == ALL
    stream.close()
    assert set(threading.enumerate()) <= before
