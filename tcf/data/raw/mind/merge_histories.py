"""Merging a user's published history and clicks into one history, by the rules in `tcf.data.raw.mind.read_mind`.

Shapes: R rows of all `behaviors.tsv` together, C clicks, U users, H items in the users' longest histories,
nnz events of all merged histories, M clicks that a later history contains.
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
    """The published rows.

    Attributes:
        users: (R,) int64, user of each row, numbered from 0 without gaps.
        times: (R,) int64, time of each row.
        lengths: (R,) int64, items in the row's history.
    """

    users: _Ints
    times: _Ints
    lengths: _Ints


@dataclass(frozen=True)
class Clicks:
    """Clicked impressions.

    Attributes:
        rows: (C,) int64, row of each click, rising.
        items: (C,) int32, item of each click; -1 if unknown.
    """

    rows: _Ints
    items: _Codes


@dataclass(frozen=True)
class MergedHistories:
    """Every user's events, oldest first, including events of unknown items (-1).

    Attributes:
        offsets: (U + 1,) int64.
        items: (nnz,) int32.
        times: (nnz,) int64, never falling within a user.
        absorbed: number of clicks that a later history already contains.
    """

    offsets: _Ints
    items: _Codes
    times: _Ints
    absorbed: int


def places_in_time(times: _Ints) -> _Ints:
    """Return the rank of each row by time, (R,); rows of one time keep their order."""
    places = np.empty(len(times), np.int64)
    places[stable_order(times)] = np.arange(len(times))
    return places


def longest_rows(published: Published, places: _Ints, n_users: int) -> _Ints:
    """Return the row with each user's longest history, (U,); of equally long ones, the first in time."""
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
    """Append clicks to histories.

    Args:
        published: the rows.
        places: rank of each row by time, (R,).
        longest: row of each user's longest history, (U,).
        counts: items in that history, (U,).
        items: the concatenated items of these histories, (H,) int32; -1 if unknown.
        clicks: the clicks of all rows.
    """
    owners = published.users[clicks.rows]
    found, latest = in_parallel(  # sorting takes long and uses one core
        lambda: _find_in_histories(owners, clicks, places, longest, counts, items),
        lambda: _published_times(published, places),
    )
    history_times = _capped_times(latest, found, published.times[clicks.rows], counts)
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
    """Return the order by owner, then place, then position."""
    by_place = stable_order(places)
    order: _Ints = by_place[stable_order(owners[by_place])]
    return order


@dataclass(frozen=True)
class _Found:
    """Clicks that histories contain.

    Attributes:
        held: (C,) whether a history contains the click.
        clicks: (M,) int64, the contained clicks.
        places: (M,) int64, for each of them the position of its item among the H items of the histories.
    """

    held: npt.NDArray[np.bool_]
    clicks: _Ints
    places: _Ints


def _find_in_histories(
    owners: _Ints, clicks: Clicks, places: _Ints, longest: _Ints, counts: _Ints, items: _Codes
) -> _Found:
    """Match clicks before the longest history with its items: the first clicks with the last equal items."""
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
    # In each run, both in time order: the first `used` clicks match the last `used` items.
    there = _Runs.of(run)
    clicked = theirs.order[spans(theirs.begins, used)]
    matched = there.order[spans(there.begins + (available - used)[there.keys], used[there.keys])]
    held[before[clicked]] = True
    return _Found(held, before[clicked], at[matched])


@dataclass(frozen=True)
class _Runs:
    """Keys grouped into runs of equal keys; within a run they keep their order.

    Attributes:
        keys: (n_runs,) the key of each run, rising.
        begins: (n_runs,) where each run begins in `order`.
        numbers: (n_runs,) length of each run.
        order: (n,) positions of the keys, run by run.
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


def _capped_times(times: _Ints, found: _Found, click_times: _Ints, counts: _Ints) -> _Ints:
    """Lower the times of history items to those of their clicks and of the user's later items, (H,)."""
    if not len(found.places):
        return times
    times[found.places] = np.minimum(times[found.places], click_times[found.clicks])
    low = int(times.min())
    # Users are shifted into disjoint ranges, so that one running minimum from the end handles all users.
    above = np.repeat(np.arange(len(counts)) * (int(times.max()) - low + 1), counts) - low
    times += above
    times[::-1] = np.minimum.accumulate(times[::-1])
    times -= above
    return times


def _published_times(published: Published, places: _Ints) -> _Ints:
    """Return when each item of the longest histories had been published, (H,).

    That is the time of the user's first row whose history is long enough to contain the item.
    """
    order = _by_owner(published.users, places)
    users, lengths = published.users[order], published.lengths[order]
    step = int(lengths.max(initial=0)) + 1
    longest_yet = np.maximum.accumulate(lengths + users * step) - users * step
    earlier = np.concatenate([np.zeros(1, np.int64), longest_yet[:-1]])[: len(users)]
    earlier[np.concatenate([[True], users[1:] != users[:-1]])[: len(users)]] = 0
    times: _Ints = np.repeat(published.times[order], longest_yet - earlier)
    return times
