"""Statistics of a dataset, for its manifest and for `tcf data describe`."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tcf.common.threads import ordered_map
from tcf.data.histories import Histories, occurrences
from tcf.data.seen import SeenItems
from tcf.data.split import GivenSplit, Part, Split, held_out, training_counts
from tcf.data.tables.arrow_numbers import as_numpy
from tcf.data.time_split import Periods

__all__ = ["dataset_statistics"]

_AT_ONCE = 1 << 19  # interactions sorted at once; few enough that most pairs fit in 32 bits, which sort faster


def dataset_statistics(
    split: Split,
    texts: "pa.LargeStringArray",
    skipped: Mapping[str, int],
    *,
    periods: Periods | None = None,
    given: GivenSplit | None = None,
    duplicates: npt.NDArray[np.bool_] | None = None,
    seen: SeenItems | None = None,
) -> dict[str, Any]:
    """Compute the statistics of a dataset, as JSON values.

    Args:
        split: item indices by user, and their use.
        texts: (n_items,).
        skipped: number of rows, events, users or items left out, by reason.
        periods: the periods of a split by time.
        given: what is known of a split that the raw files bring.
        duplicates: (nnz,) whether an interaction is an exact duplicate of an earlier one, which may not be among them;
            None if that is unknown.
        seen: what the users have had besides; None if that is nothing.

    Returns:
        `users`, `items`, `interactions`; `history_lengths` in items and `text_lengths` in characters, each with min,
        median, mean and max; `repeated_interactions`, whose item the user had before, and `duplicate_interactions`,
        those of them that are exact duplicates of an earlier one, None if that is unknown; `seen_items`, how many items
        users have had `earlier` and otherwise (`others`), and how many users these are (`earlier_users`,
        `others_users`); `items_without_training`, which occur only outside the training part (cold items) or nowhere,
        and `unseen_items`, the latter (`--keep-unseen-items`); `duplicate_texts`, items whose text an earlier item has;
        `targets_like_the_item_before`, for each part the `targets` with an item before them, those `equal` to it and
        the `duplicates` among these, or None; `split`, with its kind, the interactions and users of each part, and the
        dates of a split by time, or what is peculiar to a given one; `skipped`.
    """
    histories, n_items = split.histories, len(texts)
    repeats, exact = _repeats(histories, n_items, duplicates)
    return {
        "users": len(histories),
        "items": n_items,
        "interactions": len(histories.items),
        "history_lengths": _summary(histories.lengths),
        "text_lengths": _summary(as_numpy(pc.utf8_length(texts))),
        "repeated_interactions": repeats,
        "duplicate_interactions": exact,
        "seen_items": _seen(SeenItems.none(len(histories)) if seen is None else seen),
        "items_without_training": int((training_counts(split, n_items) == 0).sum()),
        "unseen_items": int((occurrences(histories.items, n_items) == 0).sum()),
        "duplicate_texts": n_items - pc.count_distinct(texts).as_py(),
        "targets_like_the_item_before": {part: _like_before(split, part, duplicates) for part in get_args(Part)},
        "split": {**_parts(split), **(_dates(periods) if given is None else _given(split, given))},
        "skipped": dict(skipped),
    }


def _seen(seen: SeenItems) -> dict[str, int]:
    """Count the items of each kind that users have had besides their histories, and those users."""
    counts = {name: len(part.items) for name, part in seen.parts.items()}
    return {**counts, **{f"{name}_users": int((part.lengths > 0).sum()) for name, part in seen.parts.items()}}


def _parts(split: Split) -> dict[str, int]:
    """Count the interactions of the parts and those in none; of validation and test, the evaluated users."""
    targets = [split.number_of_targets(part) for part in ("validation", "test")]
    queries = [len(held_out(split, part)) for part in ("validation", "test")]
    held = sum(int((numbers > 0).sum()) for numbers in targets)
    training = int(split.training.sum(dtype=np.int64))
    return {
        "training": training,
        "training_users": int((split.training > 0).sum()),
        "validation": queries[0],
        "test": queries[1],
        "between": len(split.histories.items) - sum(int(n.sum(dtype=np.int64)) for n in split.numbers.values()),
        "targets_without_earlier_items": held - sum(queries),
    }


def _given(split: Split, given: GivenSplit) -> dict[str, str | int | None]:
    """Count what only a given split may have: context, several targets, users without training, and leaks."""
    validation, test = split.validation, split.test
    return {
        "kind": "given",
        "context": int(split.context.sum(dtype=np.int64)),
        "users_without_training": int((split.training == 0).sum()),
        "users_with_several_targets": int(((validation > 1) | (test > 1)).sum()),
        "further_validation_targets": int(np.maximum(validation - 1, 0).sum(dtype=np.int64)),
        "further_test_targets": int(np.maximum(test - 1, 0).sum(dtype=np.int64)),
        "users_trained_after_test": given.trained_after_test,
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
    if not len(lengths):
        return {"min": 0, "median": 0.0, "mean": 0.0, "max": 0}
    return {
        "min": int(lengths.min()),
        "median": float(np.median(lengths)),
        "mean": float(lengths.mean()),
        "max": int(lengths.max()),
    }


def _repeats(histories: Histories, n_items: int, duplicates: npt.NDArray[np.bool_] | None) -> tuple[int, int | None]:
    """Count the interactions whose item the user had before, and the duplicates among them; a few users at a time."""
    ends = np.arange(_AT_ONCE, len(histories.items) + _AT_ONCE, _AT_ONCE)
    stops = np.unique(np.searchsorted(histories.offsets, ends, side="right") - 1)

    def count(bounds: tuple[int, int]) -> tuple[int, int]:
        start, stop = bounds
        kind = np.dtype(np.uint32 if (stop - start) * n_items < 1 << 32 else np.uint64)
        users = (np.arange(stop - start) * n_items).astype(kind)
        pairs = np.repeat(users, np.diff(histories.offsets[start : stop + 1]))
        part = slice(histories.offsets[start], histories.offsets[stop])
        pairs += histories.items[part].astype(kind)
        exact = None if duplicates is None else duplicates[part]
        if exact is None or not exact.any():
            pairs.sort()
            return int((pairs[1:] == pairs[:-1]).sum()), 0
        order = np.argsort(pairs, kind="stable")  # the first interaction with an item stays the first
        again = pairs[order[1:]] == pairs[order[:-1]]
        return int(again.sum()), int((again & exact[order[1:]]).sum())

    bounds = pairwise([0, *stops.tolist(), len(histories)])
    counts = list(ordered_map(count, bounds, threads=2, extra=2))
    return sum(repeats for repeats, _ in counts), None if duplicates is None else sum(exact for _, exact in counts)


def _like_before(split: Split, part: Part, duplicates: npt.NDArray[np.bool_] | None) -> dict[str, int | None]:
    """Count the targets of a part that have an item before them, those equal to it, and the duplicates among these."""
    positions = split.target_positions(part)
    positions = positions[positions > split.starts]
    equal = positions[split.histories.items[positions] == split.histories.items[positions - 1]]
    exact = None if duplicates is None else int(duplicates[equal].sum())
    return {"targets": len(positions), "equal": len(equal), "duplicates": exact}
