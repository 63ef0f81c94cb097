import threading
import time
from collections.abc import Iterator

import pytest

from tcf.common.threads import BackgroundWorker, in_parallel, ordered_map, prefetch


def wait_until(reached: "threading.Event") -> None:
    assert reached.wait(10), "the other thread did not get there"


def of_thread(name: str) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith(name)]


def test_elements_come_in_order_and_all_of_them() -> None:
    assert list(prefetch(range(500), 3)) == list(range(500))
    assert list(prefetch([], 1)) == []
    assert of_thread("prefetch") == []


def test_the_next_elements_are_made_while_one_is_used_but_not_more_than_asked_for() -> None:
    made: list[int] = []
    three, nine = threading.Event(), threading.Event()

    def elements() -> Iterator[int]:
        for number in range(20):
            made.append(number)
            (three if number == 3 else nine).set() if number in (3, 9) else None
            yield number

    found = prefetch(elements(), 2)
    assert next(found) == 0
    wait_until(three)  # one is used, two are ready, one is in the making
    time.sleep(0.3)
    assert made == [0, 1, 2, 3]
    assert [next(found) for _ in range(6)] == [1, 2, 3, 4, 5, 6]
    wait_until(nine)
    time.sleep(0.3)
    assert made == list(range(10))
    found.close()


def test_an_error_is_raised_where_the_elements_are_used_after_those_before_it() -> None:
    def elements() -> Iterator[int]:
        yield 1
        yield 2
        raise LookupError("no third")

    found = prefetch(elements(), 5)
    assert [next(found), next(found)] == [1, 2]
    with pytest.raises(LookupError, match="no third"):
        next(found)
    assert of_thread("prefetch") == []


def test_closing_early_ends_the_thread() -> None:
    made: list[int] = []

    def elements() -> Iterator[int]:
        for number in range(10**9):
            made.append(number)
            yield number

    found = prefetch(elements(), 1)
    assert next(found) == 0
    found.close()
    assert of_thread("prefetch") == []
    assert len(made) <= 4


def test_work_behind_is_done_in_order_in_another_thread_one_piece_at_a_time() -> None:
    done: list[tuple[int, bool]] = []
    running = threading.Semaphore(1)

    def piece(number: int) -> None:
        assert running.acquire(blocking=False)
        time.sleep(0.01)
        done.append((number, threading.current_thread() is threading.main_thread()))
        running.release()

    with BackgroundWorker() as worker:
        for number in range(5):
            worker.do(lambda number=number: piece(number))  # type: ignore[misc]
            # The piece before is done when the next has begun.
            assert [n for n, _ in done[:number]] == list(range(number))
    assert done == [(number, False) for number in range(5)]
    assert of_thread("background") == []


def test_the_caller_goes_on_while_a_piece_is_done() -> None:
    go_on, done = threading.Event(), threading.Event()

    def piece() -> None:
        wait_until(go_on)
        done.set()

    with BackgroundWorker() as worker:
        worker.do(piece)
        assert not done.is_set()
        go_on.set()
        worker.wait()
        assert done.is_set()


def fail() -> None:
    raise LookupError("not saved")


def test_an_error_behind_is_raised_at_the_next_piece_which_is_not_begun() -> None:
    begun: list[int] = []
    with pytest.raises(LookupError, match="not saved"), BackgroundWorker() as worker:
        worker.do(fail)
        worker.do(lambda: begun.append(1))
    assert begun == []


def test_an_error_of_the_last_piece_is_raised_on_leaving() -> None:
    with pytest.raises(LookupError, match="not saved"), BackgroundWorker() as worker:
        worker.do(fail)


def test_an_error_of_the_block_is_not_hidden_and_what_was_begun_is_finished() -> None:
    done: list[int] = []

    def piece() -> None:
        time.sleep(0.05)
        done.append(1)
        fail()

    with pytest.raises(KeyError, match="of the block"), BackgroundWorker() as worker:
        worker.do(piece)
        raise KeyError("of the block")
    assert done == [1]
    assert of_thread("background") == []


def test_two_pieces_of_work_run_at_the_same_time() -> None:
    met = threading.Barrier(2, timeout=10)
    first, second = in_parallel(lambda: (met.wait(), "first")[1], lambda: (met.wait(), 2)[1])
    assert (first, second) == ("first", 2)


def test_an_error_of_either_piece_is_raised_once_both_have_ended() -> None:
    done: list[int] = []

    def slow() -> None:
        time.sleep(0.05)
        done.append(1)

    with pytest.raises(LookupError, match="not saved"):
        in_parallel(fail, slow)
    with pytest.raises(LookupError, match="not saved"):
        in_parallel(slow, fail)
    assert done == [1, 1]


def test_results_come_in_the_order_of_their_elements_whichever_thread_is_first() -> None:
    def slow_at_first(number: int) -> int:
        time.sleep(0.05 if number < 3 else 0)
        return number * number

    assert list(ordered_map(slow_at_first, range(20), 3)) == [number * number for number in range(20)]
    assert list(ordered_map(slow_at_first, [], 3)) == []
    assert of_thread("ordered") == []


def test_no_more_elements_are_worked_on_at_once_than_there_are_threads() -> None:
    lock, at_work, most = threading.Lock(), 0, 0

    def work(number: int) -> None:
        nonlocal at_work, most
        with lock:
            at_work += 1
            most = max(most, at_work)
        time.sleep(0.01)
        with lock:
            at_work -= 1

    list(ordered_map(work, range(12), 2, extra=4))
    assert most == 2


@pytest.mark.parametrize("extra", [0, 3])
def test_elements_are_taken_only_as_far_ahead_as_asked_for(extra: int) -> None:
    taken: list[int] = []

    def elements() -> Iterator[int]:
        for number in range(20):
            taken.append(number)
            yield number

    found = ordered_map(str, elements(), 2, extra=extra)
    assert taken == []
    assert next(found) == "0"
    assert taken == list(range(3 + extra))
    assert [next(found), next(found)] == ["1", "2"]
    assert taken == list(range(5 + extra))
    found.close()
    assert of_thread("ordered") == []


def test_an_error_of_the_work_comes_where_its_result_would() -> None:
    def work(number: int) -> int:
        if number == 2:
            raise LookupError("no third")
        return number

    found = ordered_map(work, range(10), 4)
    assert [next(found), next(found)] == [0, 1]
    with pytest.raises(LookupError, match="no third"):
        next(found)
    assert of_thread("ordered") == []
