"""Several pieces of work at once: how one error ends all, which one is raised, and where all meet."""

import threading
from collections.abc import Callable

import numpy as np
import pytest

from tcf.common.errors import RunError
from tcf.common.threads import Channel, Closed
from tcf.extract.micro_batches import micro_batches
from tcf.extract.schedules.device_threads import Barrier, ProgressCounter, run_threads

[BATCH] = micro_batches(np.full(4, 3), 100)
MANY = 50  # times, as threads end in any order


def refuse(passed: int) -> None:
    raise RunError(f"disk full after block {passed}")


def ended() -> None:
    raise Closed


def test_pieces_run_at_once_and_no_thread_is_left() -> None:
    before = threading.active_count()
    barrier = threading.Barrier(3)

    def meet() -> None:
        barrier.wait(10)

    run_threads([meet] * 3, [])
    assert threading.active_count() == before


def test_the_first_error_ends_the_others_and_is_the_one_raised() -> None:
    def wrong() -> None:
        raise RunError("torn")

    for wrong_first in (False, True):
        channel = Channel[None](1)
        pieces = [wrong, channel.get] if wrong_first else [channel.get, wrong]
        with pytest.raises(RunError, match="torn"):
            run_threads(pieces, [channel.close])


def test_those_that_were_given_up_hide_no_error() -> None:
    for _ in range(MANY):
        barrier = Barrier(4, refuse)

        def piece(barrier: Barrier = barrier) -> None:
            barrier.reach(2)

        with pytest.raises(RunError, match="disk full after block 2"):
            run_threads([piece] * 4, [barrier.abort])


def test_where_all_were_given_up_that_is_told() -> None:
    with pytest.raises(Closed):
        run_threads([ended, ended], [])


def test_all_meet_before_what_is_done_then() -> None:
    reached: list[str] = []
    barrier = Barrier(2, lambda passed: reached.append(f"then {passed}"))

    def piece(name: str) -> Callable[[], None]:
        def work() -> None:
            for number in (1, 2):
                reached.append(name)
                barrier.reach(number)

        return work

    run_threads([piece("a"), piece("b")], [barrier.abort])
    assert [sorted(reached[:2]), reached[2], sorted(reached[3:5]), reached[5:]] == [
        ["a", "b"],
        "then 1",
        ["a", "b"],
        ["then 2"],
    ]


def test_who_waits_at_a_meeting_that_is_given_up_ends() -> None:
    barrier = Barrier(2, lambda passed: None)

    def wrong() -> None:
        raise RunError("torn")

    with pytest.raises(RunError, match="torn"):
        run_threads([lambda: barrier.reach(1), wrong], [barrier.abort])
    with pytest.raises(Closed):
        barrier.reach(1)


def test_nobody_waits_where_nothing_is_to_be_done() -> None:
    Barrier(2, None).reach(1)


def test_a_text_counts_as_one_when_it_has_passed_all_blocks() -> None:
    told: list[tuple[float, float, str, bool]] = []

    def advance(texts: float, tokens: float, note: str = "", *, resumed: bool = False) -> None:
        told.append((texts, tokens, note, resumed))

    progress = ProgressCounter(advance, 4)
    progress.begin_at(0, [BATCH])
    assert told == []
    progress.begin_at(2, [BATCH])
    progress.passed(BATCH, 2)
    progress.passed(BATCH, 3)
    assert told == [
        (2.0, 6.0, "resuming with block 3/4", True),
        (1.0, 3.0, "block 3/4", False),
        (1.0, 3.0, "block 4/4", False),
    ]


def test_an_aborted_pace_lets_nobody_go_on() -> None:
    told: list[object] = []
    progress = ProgressCounter(lambda *words: told.append(words), 4)
    progress.abort()
    with pytest.raises(Closed):
        progress.passed(BATCH, 0)
    assert told == []


def test_a_model_of_no_blocks_to_pass() -> None:
    told: list[tuple[float, float, str]] = []
    ProgressCounter(lambda *words: told.append(words), 0).passed(BATCH, 0)
    assert told == [(4.0, 12.0, "block 1/1")]
