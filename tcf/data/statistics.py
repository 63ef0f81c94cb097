"""What there is to count in a dataset, for its manifest and for `tcf data describe`."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tcf.common.threads import ordered_map
from tcf.data.histories import Histories
from tcf.data.split import Split, held_out, training_counts
from tcf.data.time_split import Periods

__all__ = ["dataset_statistics"]

_AT_ONCE = (
    1 << 19
)  # interactions that are sorted at once; few, so that pairs mostly fit into 32 bits, which sort faster


def dataset_statistics(
    split: Split, texts: "pa.LargeStringArray", skipped: Mapping[str, int], periods: Periods | None = None
) -> dict[str, Any]:
    """Count what a dataset holds, as JSON values.

    Args:
        split: item indices by user, and what they are for.
        texts: (n_items,).
        skipped: reason to the number of rows, events, users or items left out.
        periods: where the log was cut, if the split is by time.

    Returns:
        `users`, `items`, `interactions`; `history_lengths` in items and `text_lengths` in characters, each min, median,
        mean and max; `repeated_interactions`, with an item that the same user had before; `items_without_training`,
        which occur outside the training part only (cold items); `duplicate_texts`, items whose text an earlier one has;
        `split`: its kind, the interactions and users of each part, and the dates; `skipped`.
    """
    histories, n_items = split.histories, len(texts)
    return {
        "users": len(histories),
        "items": n_items,
        "interactions": len(histories.items),
        "history_lengths": _summary(histories.lengths),
        "text_lengths": _summary(np.asarray(pc.utf8_length(texts))),
        "repeated_interactions": _repeats(histories, n_items),
        "items_without_training": int((training_counts(split, n_items) == 0).sum()),
        "duplicate_texts": n_items - pc.count_distinct(texts).as_py(),
        "split": {**_parts(split), **_dates(periods)},
        "skipped": dict(skipped),
    }


def _parts(split: Split) -> dict[str, int]:
    """Interactions of each part, of which validation and test have one a user; and those that are in none."""
    targets = [split.target_positions(part) for part in ("validation", "test")]
    asked = [len(held_out(split, part)) for part in ("validation", "test")]
    held = sum(int((positions >= 0).sum()) for positions in targets)
    training = int(split.training.sum(dtype=np.int64))
    return {
        "training": training,
        "training_users": int((split.training > 0).sum()),
        "validation": asked[0],
        "test": asked[1],
        "between": len(split.histories.items) - training - held,
        "targets_without_earlier_items": held - sum(asked),
    }


def _dates(periods: Periods | None) -> dict[str, str]:
    if periods is None:
        return {"kind": "leave-one-out"}
    times = {
        "first": periods.first,
        "validation_from": periods.validation_from,
        "test_from": periods.test_from,
        "last": periods.last,
    }
    return {"kind": "time", **{name: periods.shown(time) for name, time in times.items()}}


def _summary(lengths: npt.NDArray[Any]) -> dict[str, float]:
    return {
        "min": int(lengths.min()),
        "median": float(np.median(lengths)),
        "mean": float(lengths.mean()),
        "max": int(lengths.max()),
    }


def _repeats(histories: Histories, n_items: int) -> int:
    """Interactions whose item the user had before, counted some users at a time."""
    ends = np.arange(_AT_ONCE, len(histories.items) + _AT_ONCE, _AT_ONCE)
    stops = np.unique(np.searchsorted(histories.offsets, ends, side="right") - 1)

    def count(bounds: tuple[int, int]) -> int:
        start, stop = bounds
        kind = np.dtype(np.uint32 if (stop - start) * n_items < 1 << 32 else np.uint64)
        users = (np.arange(stop - start) * n_items).astype(kind)
        pairs = np.repeat(users, np.diff(histories.offsets[start : stop + 1]))
        pairs += histories.items[histories.offsets[start] : histories.offsets[stop]].astype(kind)
        pairs.sort()
        return int((pairs[1:] == pairs[:-1]).sum())

    bounds = pairwise([0, *stops.tolist(), len(histories)])
    return sum(ordered_map(count, bounds, threads=2, extra=2))
