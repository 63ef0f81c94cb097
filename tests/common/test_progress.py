import io
import subprocess
import sys

import pytest

from tcf.common.progress import Progress
from tcf.common.units import as_rate, as_time


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_plain_lines_come_at_the_start_every_ten_seconds_and_at_the_end() -> None:
    clock, stream = Clock(), io.StringIO()
    with Progress("extract", 100, "items", stream, clock=clock) as progress:
        for _ in range(4):
            clock.now += 5
            progress.advance(25)
    # 25 items every 5 seconds; the lines after 5 and 15 seconds fall between the intervals.
    assert stream.getvalue().splitlines() == [
        "extract: 0/100 items",
        "extract: 50/100 items, 5.0 items/s, 0:00:10 left",
        "extract: 100/100 items, 5.0 items/s",
        "extract: 100/100 items in 0:00:20, 5.0 items/s",
    ]


def test_resumed_work_counts_as_done_but_not_in_the_rate() -> None:
    clock, stream = Clock(), io.StringIO()
    with Progress("extract", 1000, "items", stream, done=800, extra_unit="tokens", clock=clock) as progress:
        clock.now += 10
        progress.advance(100, extra=1234)
    lines = stream.getvalue().splitlines()
    assert lines[0] == "extract: 800/1,000 items"
    assert lines[1] == "extract: 900/1,000 items, 10.0 items/s, 0:00:10 left, 123 tokens/s"


def test_a_total_may_be_unknown() -> None:
    clock, stream = Clock(), io.StringIO()
    with Progress("fetch", None, "MB", stream, clock=clock) as progress:
        clock.now += 3661
        progress.advance(7322.4)
    assert stream.getvalue().splitlines()[1:] == [
        "fetch: 7,322 MB, 2.0 MB/s",
        "fetch: 7,322 MB in 1:01:01, 2.0 MB/s",
    ]


def test_a_note_stays_until_the_next_one() -> None:
    clock, stream = Clock(), io.StringIO()
    with Progress("train", 2, "epochs", stream, clock=clock) as progress:
        clock.now += 10
        progress.advance(1, "loss 3.2")
        clock.now += 10
        progress.advance(1)
    assert [line.endswith("(loss 3.2)") for line in stream.getvalue().splitlines()] == [False, True, True, True]


def test_work_that_fails_is_not_reported_as_finished() -> None:
    clock, stream = Clock(), io.StringIO()
    with pytest.raises(KeyboardInterrupt), Progress("extract", 10, "items", stream, clock=clock) as progress:
        clock.now += 2
        progress.advance(4)
        raise KeyboardInterrupt
    assert stream.getvalue().splitlines()[-1] == "extract: 4/10 items stopped after 0:00:02, 2.0 items/s"


def test_nothing_done_gives_no_rate_and_no_division_by_zero() -> None:
    stream = io.StringIO()
    with Progress("extract", 0, "items", stream, clock=Clock()):
        pass
    assert stream.getvalue().splitlines() == ["extract: 0/0 items", "extract: 0/0 items in 0:00:00"]


def test_a_task_may_be_hidden_until_it_takes_long() -> None:
    clock, stream = Clock(), io.StringIO()
    for seconds in (4, 6):
        with Progress("ranking", 2, "users", stream, hidden_for=10, clock=clock) as progress:
            for _ in range(2):
                clock.now += seconds
                progress.advance(1)
    assert stream.getvalue().splitlines() == [
        "ranking: 2/2 users, 0.2 users/s",
        "ranking: 2/2 users in 0:00:12, 0.2 users/s",
    ]


def test_a_terminal_gets_a_live_bar_that_shows_the_end() -> None:
    clock, stream = Clock(), Terminal()
    with Progress("extract [a]", 100, "items", stream, clock=clock) as progress:
        clock.now += 10
        progress.advance(100)
    text = stream.getvalue()
    assert "extract [a]" in text
    assert "100/100 items in 0:00:10" in text
    assert "━" in text


def test_standard_error_is_the_one_of_the_moment(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("extract", 1, "items"):
        pass
    assert capsys.readouterr().err.startswith("extract: 0/1 items\n")


def test_rich_is_imported_in_a_terminal_only() -> None:
    script = (
        "import io, sys; from tcf.common.progress import Progress\n"
        "with Progress('a', 1, 'items', io.StringIO()): pass\n"
        "print('rich' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_large_counts_have_separators_and_large_rates_no_decimals() -> None:
    clock, stream = Clock(), io.StringIO()
    with Progress("overlap", 2_572_000, "rows", stream, extra_unit="tokens", clock=clock) as progress:
        clock.now += 10
        progress.advance(1_234_560, extra=999)
        clock.now += 100_000
        progress.advance(10)
    lines = stream.getvalue().splitlines()
    assert lines[1] == "overlap: 1,234,560/2,572,000 rows, 123,456 rows/s, 0:00:11 left, 99.9 tokens/s"
    assert lines[2].startswith("overlap: 1,234,570/2,572,000 rows, 12.3 rows/s, 30:05:")


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(172_799, "47:59:59"), (172_800, "2.0 days"), (280_000, "3.2 days"), (1_452_211_200, "16,808 days")],
)
def test_long_times_are_in_days(seconds: float, shown: str) -> None:
    assert as_time(seconds) == shown


def test_slow_work_has_a_rate() -> None:
    assert [as_rate(number) for number in (0.0123, 0.1, 99.94, 99.96)] == ["0.012", "0.1", "99.9", "100"]
