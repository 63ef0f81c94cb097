"""Events of some of the users, of which filters select ever fewer.

Shapes: k users.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tcf.common.ragged import offsets_from
from tcf.data.histories import Histories, per_user
from tcf.data.split import EventPart, Split, by_parts, by_time, leave_one_out
from tcf.data.time_split import Periods

__all__ = ["EventSelection", "split_of", "until_target"]

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class EventSelection:
    """Events of a subset of the users.

    Attributes:
        users: (k,) positions among the raw users, rising.
        offsets: (k + 1,) where each user's events begin.
        items: positions among the raw items, oldest first within a user.
        times: parallel to `items`; None if the split does not use times.
        parts: parallel to `items`, `EventPart`; None if the split is not a given one.
        duplicates: parallel to `items`, whether an event is an exact duplicate of an earlier one; None if unknown.
    """

    users: npt.NDArray[np.int64]
    offsets: npt.NDArray[np.int64]
    items: npt.NDArray[np.int32]
    times: npt.NDArray[np.int64] | None
    parts: npt.NDArray[np.int8] | None
    duplicates: npt.NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        """Number of events."""
        return len(self.items)

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Number of events of each user, (k,)."""
        return np.diff(self.offsets)

    @property
    def histories(self) -> Histories:
        """The items of each user, as they are."""
        return Histories(self.offsets, self.items)

    def items_alone(self) -> "EventSelection":
        """Return the events without times, parts and duplicates."""
        return EventSelection(self.users, self.offsets, self.items, None, None)

    def where(self, kept: Mask) -> "EventSelection":
        """Return the marked events, of the same users."""
        if kept.all():
            return self
        return self._marked(self.users, offsets_from(per_user(kept, self.offsets)), kept)

    def of(self, kept: Mask) -> "EventSelection":
        """Return the marked users, with all their events."""
        if kept.all():
            return self
        return self._marked(self.users[kept], offsets_from(self.lengths[kept]), np.repeat(kept, self.lengths))

    def _marked(self, users: npt.NDArray[np.int64], offsets: npt.NDArray[np.int64], kept: Mask) -> "EventSelection":
        times = None if self.times is None else self.times[kept]
        parts = None if self.parts is None else self.parts[kept]
        duplicates = None if self.duplicates is None else self.duplicates[kept]
        return EventSelection(users, offsets, self.items[kept], times, parts, duplicates)

    def first(self, most: npt.NDArray[np.int64]) -> "EventSelection":
        """Return each user's oldest events, at most the given number."""
        kept = np.minimum(self.lengths, most)
        return self.where(_runs(np.stack([kept, self.lengths - kept], 1), (True, False)))

    def after(self, most: npt.NDArray[np.int64]) -> "EventSelection":
        """Return each user's events after the given number of oldest ones."""
        kept = np.minimum(self.lengths, most)
        return self.where(_runs(np.stack([kept, self.lengths - kept], 1), (False, True)))

    def last(self, most: int) -> "EventSelection":
        """Return each user's latest events, at most the given number and further targets of a given split."""
        kept = np.minimum(self.lengths, most + self._further_targets())
        return self.where(_runs(np.stack([self.lengths - kept, kept], 1), (False, True)))

    def _further_targets(self) -> npt.NDArray[np.int64] | int:
        """Return the number of each user's targets after the first one of a part, (k,)."""
        if self.parts is None:
            return 0
        validation, test = (
            per_user(self.parts == part, self.offsets) for part in (EventPart.VALIDATION, EventPart.TEST)
        )
        further: npt.NDArray[np.int64] = np.maximum(validation - 1, 0) + np.maximum(test - 1, 0)
        return further


def until_target(events: EventSelection, periods: Periods | None) -> EventSelection:
    """Return every user's events up to the first one in the test period; all events without such a period."""
    if periods is None or events.times is None:
        return events
    late = per_user(events.times >= periods.test_from, events.offsets)
    return events.first(events.lengths - np.maximum(late - 1, 0))


def split_of(events: EventSelection, periods: Periods | None) -> Split:
    """Split events as their parts say, or by time, or else by leave-one-out.

    Args:
        events: those of a history that are kept; none after the test target.
        periods: the periods of a split by time; None for another one.
    """
    if events.parts is not None:
        return by_parts(events.histories, events.parts)
    if periods is None or events.times is None:
        return leave_one_out(events.histories)
    return by_time(events.histories, events.times, periods.validation_from, periods.test_from)


def _runs(lengths: npt.NDArray[np.int64], kept: tuple[bool, bool]) -> Mask:
    """Return a mask over events from two runs for each user: (k, 2) lengths, and which of the runs are kept."""
    return np.repeat(np.tile(np.array(kept), len(lengths)), lengths.ravel())
