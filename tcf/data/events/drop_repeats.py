"""Removal of repeated events with the same user, item and time, such as several pieces in one purchase.

Shapes: nnz events.
"""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from tcf.common.ragged import offsets_from
from tcf.data.events.event_log import Grouped

__all__ = ["without_repeats"]

Positions = npt.NDArray[np.int64]


def without_repeats(log: Grouped, n_items: int) -> tuple[Grouped, int]:
    """Keep only the first of the events with the same user, item and time.

    Args:
        log: histories with times.
        n_items: items are 0 ... n_items - 1.

    Returns:
        The histories, and the number of events left out.
    """
    if log.times is None:
        raise ValueError("expected events with times")
    if len(log.items) == 0:
        return log, 0
    starts = _run_starts(log.offsets, log.times)
    keep = ~_repeats(starts, log.items, n_items)
    kept_before = offsets_from(keep.astype(np.int64))
    offsets = kept_before[log.offsets]
    kept = replace(log, offsets=offsets, items=log.items[keep], times=log.times[keep])
    return kept, len(keep) - int(kept_before[-1])


def _run_starts(offsets: Positions, times: Positions) -> Positions:
    """Return the positions where user or time changes, rising."""
    begins = np.ones(len(times), bool)
    begins[1:] = times[1:] != times[:-1]
    begins[offsets[:-1][offsets[:-1] < len(times)]] = True
    return np.flatnonzero(begins)


def _repeats(starts: Positions, items: npt.NDArray[np.int32], n_items: int) -> npt.NDArray[np.bool_]:
    """Return which events have the item of an earlier event in the same run, (nnz,)."""
    lengths = np.diff(np.append(starts, len(items)))
    runs = np.repeat(np.arange(len(starts)), lengths)
    within = np.arange(len(items)) - np.repeat(starts, lengths)
    bits = int(lengths.max()).bit_length()
    if (len(starts) * n_items).bit_length() + bits > 63:
        order = np.lexsort((within, items, runs))
        same = (items[order[1:]] == items[order[:-1]]) & (runs[order[1:]] == runs[order[:-1]])
        positions = order[1:][same]
    else:
        # Run, item and position within the run packed into one number: NumPy sorts plain distinct numbers fastest.
        packed = (runs * n_items + items) << bits | within
        packed.sort()
        again = packed[1:][packed[1:] >> bits == packed[:-1] >> bits]
        positions = starts[(again >> bits) // n_items] + (again & ((1 << bits) - 1))
    repeated = np.zeros(len(items), bool)
    repeated[positions] = True
    return repeated
