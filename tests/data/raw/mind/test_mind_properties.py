"""The rule for MIND histories compared with a plain implementation, on synthetic folders read in tiny blocks."""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from small.data.raw import histories_of, with_engine, write_files
from tcf.data.raw.mind.read_mind import read_mind
from tcf.data.raw.raw_log import RawLog
from tcf.data.tables import text_lines

N_NEWS = 6
BEGIN = int(np.datetime64("2019-11-12T13:00:00", "s").astype(np.int64))
NEWS = "".join(f"N{n}\tc\ts\tTitle {n}\ta\tu\t[]\t[]\n" for n in range(N_NEWS))


@dataclass(frozen=True)
class Row:
    user: int
    minute: int
    history: list[int]
    impressions: list[tuple[int, bool]]

    def written(self, impression: int) -> str:
        history = " ".join(f"N{item}" for item in self.history)
        shown = " ".join(f"N{item}-{int(clicked)}" for item, clicked in self.impressions)
        return f"{impression}\tU{self.user}\t11/12/2019 1:{self.minute:02}:00 PM\t{history}\t{shown}\n"


items = st.integers(0, N_NEWS)  # the last one is in no news.tsv
rows = st.builds(
    Row,
    st.integers(0, 3),
    st.integers(0, 5),
    st.lists(items, max_size=5),
    st.lists(st.tuples(items, st.booleans()), max_size=4),
)
# Users do not affect one another, so that an example with many rows is a test of several histories.
rows_of_a_folder = st.lists(rows, min_size=1, max_size=8) | st.lists(rows, min_size=9, max_size=24)


def expected(rows: list[Row]) -> dict[str, list[tuple[str, int]]]:
    """Histories and their times, in minutes, by the rule, a user and an event at a time."""
    return {
        f"U{user}": _expected([row for row in rows if row.user == user])
        for user in dict.fromkeys(row.user for row in rows)
    }


def _expected(rows: list[Row]) -> list[tuple[str, int]]:
    rows = sorted(rows, key=lambda row: row.minute)
    place = max(range(len(rows)), key=lambda at: (len(rows[at].history), -at))
    history = rows[place].history
    by = [next(row.minute for row in rows if len(row.history) > at) for at in range(len(history))]
    clicks = [(at, item) for at, row in enumerate(rows) for item, clicked in row.impressions if clicked]
    early, behind = defaultdict[int, list[int]](list), list[tuple[int, int]]()
    for at, item in clicks:
        if at < place and len(early[item]) < history.count(item):
            early[item].append(rows[at].minute)
        else:
            behind.append((item, rows[at].minute))
    for item, minutes in early.items():
        last = [at for at, other in enumerate(history) if other == item][-len(minutes) :] if minutes else []
        for at, minute in zip(last, minutes, strict=True):
            # Unknown news is ignored.
            by[at] = min(by[at], minute) if item < N_NEWS else by[at]
    times = [min(by[at:]) for at in range(len(by))]
    events = list(zip(history, times, strict=True))
    events += [(item, max([minute, *times[-1:]])) for item, minute in behind]
    return [(f"N{item}", minute) for item, minute in events if item < N_NEWS]


@settings(max_examples=20, deadline=None)
@given(st.lists(rows_of_a_folder, min_size=1, max_size=3), st.integers(30, 200))
@example([[Row(0, 0, [], [(1, True), (1, True)]), Row(0, 1, [1, 2, 1, 3], [(1, True)])]], 30)
def test_the_rule(folders: list[list[Row]], block: int) -> None:
    everything = [row for rows in folders for row in rows]
    with TemporaryDirectory() as scratch:
        for number, rows in enumerate(folders):
            text = "".join(row.written(number) for row in rows)  # no file is a copy of another
            write_files(Path(scratch) / f"part{number}", {"news.tsv": NEWS, "behaviors.tsv": text})
        with patch.object(text_lines, "_BLOCK", block):
            wanted = expected(everything)
            if any(wanted.values()) or not any(row.history or row.impressions for row in everything):
                assert _events(with_engine(read_mind)(Path(scratch), bad_rows="error")) == wanted


def _events(log: RawLog) -> dict[str, list[tuple[str, int]]]:
    assert log.times is not None
    minutes = np.split((log.times - BEGIN) // 60, log.offsets[1:-1])
    histories = histories_of(log)
    return {
        user: list(zip(histories[user], mine.tolist(), strict=True))
        for user, mine in zip(histories, minutes, strict=True)
    }
