"""A queue between two threads: it waits when full or empty, and no thread waits for an end that has gone."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tcf.common.threads import Channel, Closed

LONG = 10.0  # seconds, after which a thread that still waits is taken to wait for good
SHORT = 0.05  # seconds, within which a thread that need not wait has long gone on


def waits(work: Callable[[], object], then: Callable[[], object]) -> object:
    """What a piece of work gives that waits until something else is done."""
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(work)
        with pytest.raises(TimeoutError):
            waiting.result(SHORT)
        then()
        return waiting.result(LONG)


def test_elements_come_in_the_order_in_which_they_were_put() -> None:
    channel = Channel[int](3)

    def fill() -> None:
        for number in range(500):
            channel.put(number)
        channel.close()

    with ThreadPoolExecutor(1) as pool:
        filling = pool.submit(fill)
        assert list(channel) == list(range(500))
        filling.result(LONG)


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_no_more_elements_wait_than_its_depth(depth: int) -> None:
    channel = Channel[int](depth)
    for number in range(depth):
        channel.put(number)
    waits(lambda: channel.put(depth), channel.get)
    channel.close()
    assert list(channel) == list(range(1, depth + 1))


def test_who_takes_waits_for_an_element() -> None:
    channel = Channel[int](1)
    assert waits(channel.get, lambda: channel.put(7)) == 7


def test_closing_wakes_who_waits_to_put() -> None:
    channel = Channel[int](1)
    channel.put(0)
    with pytest.raises(Closed):
        waits(lambda: channel.put(1), channel.close)
    with pytest.raises(Closed):
        channel.put(2)
    assert list(channel) == [0]


def test_closing_wakes_who_waits_to_take() -> None:
    channel = Channel[int](1)
    with pytest.raises(Closed):
        waits(channel.get, channel.close)
    assert list(channel) == []


def test_closing_wakes_all_of_several() -> None:
    channel = Channel[int](1)
    with ThreadPoolExecutor(3) as pool:
        taking = [pool.submit(channel.get) for _ in range(3)]
        channel.close()
        assert [type(future.exception(LONG)) for future in taking] == [Closed] * 3


def test_an_error_comes_after_the_elements_before_it() -> None:
    channel = Channel[int](3)
    channel.put(1)
    channel.put(2)
    channel.close(ValueError("torn"))
    assert (channel.get(), channel.get()) == (1, 2)
    for _ in range(2):
        with pytest.raises(ValueError, match="torn"):
            channel.get()


def test_an_error_ends_a_loop_that_waits() -> None:
    channel = Channel[int](1)
    with pytest.raises(ValueError, match="torn"):
        waits(lambda: list(channel), lambda: channel.close(ValueError("torn")))


def test_the_first_error_is_the_one_that_is_told() -> None:
    channel = Channel[int](1)
    channel.close()
    channel.close(ValueError("first"))
    channel.close(ValueError("second"))
    channel.close()
    with pytest.raises(ValueError, match="first"):
        channel.get()
