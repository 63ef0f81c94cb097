"""Subsets of events in which no item is rare.

Shapes: n_items items.
"""

import numpy as np
import numpy.typing as npt

from tcf.config.prepare import PrepareConfig
from tcf.data.events.event_selection import EventSelection, split_of, until_target
from tcf.data.histories import occurrences
from tcf.data.split import training_counts
from tcf.data.time_split import Periods

__all__ = ["warm_subset"]

Mask = npt.NDArray[np.bool_]


def warm_subset(
    events: EventSelection, config: PrepareConfig, periods: Periods | None, n_items: int, dropped: dict[str, int]
) -> tuple[EventSelection, Mask]:
    """Remove rare items and the users whose histories are too short without them, again and again until none is left.

    Args:
        events: those of the sampled users.
        config: `min_item_count`, and what is counted for it; `min_history` and `keep_last`.
        periods: the periods of a split by time; None for another one.
        n_items: number of items of the log.
        dropped: takes the numbers of what is removed, by reason.

    Returns:
        The events that are left, and which items have been removed as rare, (n_items,).
    """
    rare, left, short_users, short_events = np.zeros(n_items, bool), events, 0, 0
    while True:
        short = until_target(left, periods).lengths < config.min_history
        short_users, short_events = short_users + int(short.sum()), short_events + int(left.lengths[short].sum())
        left = left.of(~short)
        found = _rare(until_target(left, periods).last(config.keep_last), config, periods, n_items)
        if not found.any():
            break
        rare |= found
        left = left.where(~found[left.items])
    dropped["items_below_min_item_count"] = int(rare.sum())
    dropped["interactions_of_rare_items"] = len(events) - len(left) - short_events
    dropped["users_short_without_rare_items"] = short_users
    dropped["interactions_of_users_short_without_rare_items"] = short_events
    return left, rare


def _rare(kept: EventSelection, config: PrepareConfig, periods: Periods | None, n_items: int) -> Mask:
    """Return which items occur in the histories to be kept, but not often enough in the part that counts."""
    everywhere = occurrences(kept.items, n_items)
    counts = everywhere
    if config.min_item_count_over == "training":
        counts = training_counts(split_of(kept, periods), n_items)
    return (everywhere > 0) & (counts < (config.min_item_count or 0))
