import io

import numpy as np

from tcf.common.progress import Progress
from tcf.encoders.tokenize import TokenSequences
from tcf.extract.micro_batches import micro_batches
from tcf.extract.plan.plan import FlopCost
from tcf.extract.progress import ExtractionProgress
from tcf.extract.schedules.device_threads import ProgressCounter
from tcf.extract.shards import Shard

COST = FlopCost(per_token=10, per_pair=1)  # 11 of a text of one token, 171 of one of nine
TOTAL = 6 * 11 + 2 * 171


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def shard(lengths: list[int]) -> Shard:
    """Texts of so many tokens, of as many items."""
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    sequences = TokenSequences(np.zeros(offsets[-1], np.int32), offsets, 0)
    n = len(lengths)
    return Shard(np.zeros((n, 2), np.uint64), sequences, np.arange(n), n)


def lines(shards: list[list[int]], *, order: int = 1, depth: int = 1, first: int = 0) -> list[str]:
    """What is shown of shards of such texts, computed by a device that takes a second for each operation.

    Args:
        shards: tokens of the texts of each.
        order: -1 for short texts first.
        depth: blocks of a sweep.
        first: of those, the blocks that an earlier attempt has passed.
    """
    clock, stream = Clock(), io.StringIO()
    with Progress("extract", 8, "items", stream, work=TOTAL, clock=clock) as shown:
        progress = ExtractionProgress(shown, COST)
        for lengths in shards:
            counter = ProgressCounter(progress.of_shard(shard(lengths)), depth)
            batches = micro_batches(np.array(lengths), 9)[::order]
            counter.begin_at(first, batches)
            for block in range(first, depth):
                for batch in batches:
                    clock.now += COST.of(batch.n_tokens, batch.n_texts * batch.shape[1] ** 2) / depth
                    counter.passed(batch, block)
    return stream.getvalue().splitlines()


def left(shown: list[str]) -> list[str]:
    """The time left in each line that has one."""
    return [line.partition(" left")[0].rpartition(", ")[2] for line in shown if " left" in line]


def test_the_time_left_is_right_whichever_texts_come_first() -> None:
    texts = [1, 9, 1, 1, 1, 1, 1, 9]
    # Texts of nine tokens take 171 seconds each, the six of one token 66 together.
    assert left(lines([texts])) == ["0:03:57", "0:01:06"]
    assert left(lines([texts], order=-1)) == ["0:05:42", "0:02:51"]
    assert left(lines([[1] * 6, [9, 9]])) == ["0:05:42", "0:02:51"]


def test_in_a_sweep_every_block_counts() -> None:
    shown = lines([[9, 9, 1, 1, 1, 1, 1, 1]], depth=2)
    # Through one block: twice 85.5 seconds and once 33.
    assert [line.rpartition("(")[2] for line in shown[1:-1]] == ["block 1/2)"] * 3 + ["block 2/2)"] * 3
    assert left(shown) == ["0:05:22", "0:03:57", "0:03:24", "0:01:58", "0:00:33"]


def test_blocks_of_an_earlier_attempt_count_as_done_and_not_in_the_rate() -> None:
    shown = lines([[9, 9, 1, 1, 1, 1, 1, 1]], depth=2, first=1)
    assert left(shown) == ["0:01:58", "0:00:33"]


def test_shards_of_other_workers_count() -> None:
    clock, stream = Clock(), io.StringIO()
    with Progress("extract", 8, "items", stream, work=TOTAL, clock=clock) as shown:
        progress = ExtractionProgress(shown, COST)
        clock.now = 171.0  # two workers at once
        progress.pass_over(shard([9, 9]))
    assert left(stream.getvalue().splitlines()) == ["0:00:33"]


def test_what_the_plan_underestimated_takes_no_time_below_zero() -> None:
    clock, stream = Clock(), io.StringIO()
    with Progress("extract", 8, "items", stream, work=TOTAL / 2, clock=clock) as shown:
        clock.now = 300.0
        ExtractionProgress(shown, COST).pass_over(shard([9, 9]))
    assert left(stream.getvalue().splitlines()) == ["0:00:00"]
