"""How a user's published history and clicks become one history (the rule is in `tcf.data.raw.mind.read_mind`).

Shapes: R rows of all `behaviors.tsv` together, C clicks, U users, H items of the users' longest histories.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tcf.common.ragged import offsets_from, spans
from tcf.common.threads import in_parallel
from tcf.data.events.sort_events import stable_order

__all__ = ["Clicks", "MergedHistories", "Published", "longest_rows", "merge_histories", "places_in_time"]

_Ints = npt.NDArray[np.int64]
_Codes = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Published:
    """What the rows publish.

    Attributes:
        users: (R,) int64, user of each row, numbered from 0 without gaps.
        times: (R,) int64.
        lengths: (R,) int64, items in the row's history.
    """

    users: _Ints
    times: _Ints
    lengths: _Ints


@dataclass(frozen=True)
class Clicks:
    """Clicked impressions.

    Attributes:
        rows: (C,) int64, rising.
        items: (C,) int32, item or -1.
    """

    rows: _Ints
    items: _Codes


@dataclass(frozen=True)
class MergedHistories:
    """Every user's events, oldest first, those of unknown items (-1) among them.

    Attributes:
        offsets: (U + 1,) int64.
        items: (nnz,) int32.
        times: (nnz,) int64, within a user never falling.
        absorbed: clicks that a later history holds already.
    """

    offsets: _Ints
    items: _Codes
    times: _Ints
    absorbed: int


def places_in_time(times: _Ints) -> _Ints:
    """The place of each row, (R,), among all rows in the order of time, and of rows where times are equal."""
    places = np.empty(len(times), np.int64)
    places[stable_order(times)] = np.arange(len(times))
    return places


def longest_rows(published: Published, places: _Ints, n_users: int) -> _Ints:
    """The row whose history stands for each user, (U,): of the longest ones the first in time."""
    shorter = (published.lengths.max(initial=0) - published.lengths) * len(places)
    best = np.full(n_users, np.iinfo(np.int64).max)
    np.minimum.at(best, published.users, shorter + places)
    row_at = np.empty(len(places), np.int64)
    row_at[places] = np.arange(len(places))
    rows: _Ints = row_at[best % max(len(places), 1)]
    return rows


def merge_histories(
    published: Published, places: _Ints, longest: _Ints, counts: _Ints, items: _Codes, clicks: Clicks
) -> MergedHistories:
    """Put clicks behind histories.

    Args:
        published: the rows.
        places: of the rows in time, (R,).
        longest: row of each user's longest history, (U,).
        counts: items in it, (U,).
        items: of all these histories, one user after the other, (H,) int32, or -1.
        clicks: those of all rows.
    """
    owners = published.users[clicks.rows]
    found, latest = in_parallel(  # sorting takes its time, and leaves a core to other threads
        lambda: _find_in_histories(owners, clicks, places, longest, counts, items),
        lambda: _published_times(published, places),
    )
    history_times = _no_later(latest, found, published.times[clicks.rows], counts)
    known = found.held
    rows, owners, clicked = clicks.rows[~known], owners[~known], clicks.items[~known]
    order = _by_owner(owners, places[rows])  # within a row as in the file
    rows, owners, clicked = rows[order], owners[order], clicked[order]
    n_clicks = np.bincount(owners, minlength=len(longest))
    offsets = offsets_from(counts + n_clicks)
    then = spans(offsets[:-1] + counts, n_clicks)
    first = np.ones(offsets[-1], bool)
    first[then] = False
    all_items, all_times = np.empty(offsets[-1], np.int32), np.empty(offsets[-1], np.int64)
    all_items[first], all_items[then] = items, clicked
    all_times[first] = history_times
    last = np.full(len(longest), np.iinfo(np.int64).min)
    some = counts > 0
    last[some] = history_times[np.cumsum(counts)[some] - 1]
    all_times[then] = np.maximum(published.times[rows], last[owners])
    return MergedHistories(offsets, all_items, all_times, int(known.sum()))


def _by_owner(owners: _Ints, places: _Ints) -> _Ints:
    """The order by owner, then place, then position."""
    by_place = stable_order(places)
    order: _Ints = by_place[stable_order(owners[by_place])]
    return order


@dataclass(frozen=True)
class _Found:
    """Clicks that histories hold.

    Attributes:
        held: (C,) which clicks.
        clicks: (M,) int64, those clicks again.
        places: (M,) int64, the item of the histories, (H,), that stands for each.
    """

    held: npt.NDArray[np.bool_]
    clicks: _Ints
    places: _Ints


def _find_in_histories(
    owners: _Ints, clicks: Clicks, places: _Ints, longest: _Ints, counts: _Ints, items: _Codes
) -> _Found:
    """Match clicks from before the longest history with its items: the first clicks with the last equal items."""
    before = np.flatnonzero((places[clicks.rows] < places[longest][owners]) & (clicks.items >= 0))
    before = before[stable_order(places[clicks.rows[before]])]
    n_items = max(int(items.max(initial=0)), int(clicks.items.max(initial=0))) + 2
    theirs = _Runs.of(owners[before] * n_items + clicks.items[before] + 1)
    held = np.zeros(len(owners), bool)
    if not len(before):
        return _Found(held, before, before)
    concerned = np.zeros(len(longest), bool)
    concerned[owners[before]] = True
    at = np.flatnonzero(np.repeat(concerned, counts))
    mine = np.repeat(np.flatnonzero(concerned), counts[concerned]) * n_items + items[at] + 1
    run = np.minimum(np.searchsorted(theirs.keys, mine), len(theirs.keys) - 1)
    equal = theirs.keys[run] == mine
    at, run = at[equal], run[equal]
    available = np.bincount(run, minlength=len(theirs.keys))
    used = np.minimum(available, theirs.numbers)
    # Clicks and items of one run, each in the order of time: the first `used` of those, the last `used` of these.
    there = _Runs.of(run)
    clicked = theirs.order[spans(theirs.begins, used)]
    matched = there.order[spans(there.begins + (available - used)[there.keys], used[there.keys])]
    held[before[clicked]] = True
    return _Found(held, before[clicked], at[matched])


@dataclass(frozen=True)
class _Runs:
    """Equal keys brought together, those of one key in their order.

    Attributes:
        keys: (n_runs,) rising.
        begins: (n_runs,) where each run begins in `order`.
        numbers: (n_runs,) how long it is.
        order: (n,) positions of the keys.
    """

    keys: _Ints
    begins: _Ints
    numbers: _Ints
    order: _Ints

    @classmethod
    def of(cls, keys: _Ints) -> "_Runs":
        order = stable_order(keys)
        ordered = keys[order]
        new = np.ones(len(keys), bool)
        new[1:] = ordered[1:] != ordered[:-1]
        begins = np.flatnonzero(new)
        return cls(ordered[begins], begins, np.diff(begins, append=len(keys)), order)


def _no_later(times: _Ints, found: _Found, click_times: _Ints, counts: _Ints) -> _Ints:
    """Times of the histories' items, lowered to those of clicks, and to those of later items of the same user, (H,)."""
    if not len(found.places):
        return times
    times[found.places] = np.minimum(times[found.places], click_times[found.clicks])
    low = int(times.min())
    # Users are put one above the other, so that one running minimum, from the end, serves all.
    above = np.repeat(np.arange(len(counts)) * (int(times.max()) - low + 1), counts) - low
    times += above
    times[::-1] = np.minimum.accumulate(times[::-1])
    times -= above
    return times


def _published_times(published: Published, places: _Ints) -> _Ints:
    """For every item of the longest histories, one user after the other, the time of the first row that is long enough.

    The times are those by which the items were published, (H,).
    """
    order = _by_owner(published.users, places)
    users, lengths = published.users[order], published.lengths[order]
    step = int(lengths.max(initial=0)) + 1
    longest_yet = np.maximum.accumulate(lengths + users * step) - users * step
    earlier = np.concatenate([np.zeros(1, np.int64), longest_yet[:-1]])[: len(users)]
    earlier[np.concatenate([[True], users[1:] != users[:-1]])[: len(users)]] = 0
    times: _Ints = np.repeat(published.times[order], longest_yet - earlier)
    return times
