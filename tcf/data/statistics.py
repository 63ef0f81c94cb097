"""What there is to count in a dataset, for its manifest and for `tcf data describe`."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tcf.data.dataset import Histories
from tcf.data.split import training_counts, training_histories

__all__ = ["statistics_of"]


def statistics_of(histories: Histories, texts: "pa.LargeStringArray", skipped: Mapping[str, int]) -> dict[str, Any]:
    """Count what a dataset holds, as JSON values.

    Args:
        histories: item indices by user.
        texts: (n_items,).
        skipped: reason to the number of rows, events, users or items left out.

    Returns:
        `users`, `items`, `interactions`; `history_lengths` in items and `text_lengths` in characters, each min, median,
        mean and max; `repeated_interactions`, with an item that the same user had before; `items_without_training`,
        which occur as held-out targets only; `duplicate_texts`, items whose text an earlier one has; `split`, the
        kind and the interactions of each part; `skipped`.
    """
    n_users, n_items = len(histories), len(texts)
    training = training_histories(histories)
    return {
        "users": n_users,
        "items": n_items,
        "interactions": len(histories.items),
        "history_lengths": _summary(histories.lengths),
        "text_lengths": _summary(np.asarray(pc.utf8_length(texts))),
        "repeated_interactions": _repeats(histories, n_items),
        "items_without_training": int((training_counts(histories, n_items) == 0).sum()),
        "duplicate_texts": n_items - pc.count_distinct(texts).as_py(),
        "split": {
            "kind": "leave-one-out",
            "training": len(training.items),
            "validation": n_users,
            "test": n_users,
        },
        "skipped": dict(skipped),
    }


def _summary(lengths: npt.NDArray[Any]) -> dict[str, float]:
    return {
        "min": int(lengths.min()),
        "median": float(np.median(lengths)),
        "mean": float(lengths.mean()),
        "max": int(lengths.max()),
    }


def _repeats(histories: Histories, n_items: int) -> int:
    users = np.repeat(np.arange(len(histories)), histories.lengths)
    pairs = np.sort(users * n_items + histories.items)
    return int((pairs[1:] == pairs[:-1]).sum())
