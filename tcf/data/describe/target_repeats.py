"""Warnings about targets that equal the item before them: they are found without having learned anything."""

from collections.abc import Mapping
from typing import Any

__all__ = ["repeated_targets_words"]

_NOTICEABLE = 0.03  # share of the evaluated users


def repeated_targets_words(statistics: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each part of which more than 3 % of the targets equal the item before them.

    Args:
        statistics: those of a dataset; `targets_like_the_item_before` and the kind of the split are used.
    """
    counts = statistics["targets_like_the_item_before"]
    # Exact duplicates are events of one part: rows that a given split has in two parts have perhaps the same time.
    otherwise = "at another time or in another part" if statistics["split"]["kind"] == "given" else "at another time"
    return [
        _sentence(part, numbers, otherwise)
        for part, numbers in counts.items()
        if numbers["equal"] > _NOTICEABLE * numbers["targets"]
    ]


def _sentence(part: str, numbers: Mapping[str, Any], otherwise: str) -> str:
    targets, equal, exact = numbers["targets"], numbers["equal"], numbers["duplicates"]
    found = f"{equal / targets:.1%} of the {targets:,} {part} targets equal the item before them"
    if exact is None:
        return f"{found}; without times, exact duplicates cannot be told from repeats: check the log for duplicates"
    if 2 * exact > equal:
        return (
            f"{found}, {exact:,} of {equal:,} as exact duplicates with the same time; drop these with --drop-duplicates"
        )
    return (
        f"{found}, {equal - exact:,} of {equal:,} as repeats {otherwise}; these are found by recommending the last "
        "item again, so mention them with the results"
    )
