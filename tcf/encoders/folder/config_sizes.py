"""The sizes in a model's `config.json`, checked before anything of that size is made.

Building a model takes time for each block and each expert, and loading it memory for each weight, before the checkpoint
shows that it has no such weights.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tcf.common.errors import ModelError, value_words

__all__ = ["MOST_BLOCKS", "MOST_EXPERTS", "check_counts", "largest_product"]

MOST_BLOCKS = 1000
"""Blocks of a model at most; the deepest published ones have fewer than 200."""
MOST_EXPERTS = 100_000
"""Experts of a block at most; the most of a published one are 16,384."""
_MOST_PARTS = 1_000_000  # blocks times experts
_BLOCKS = re.compile(r"(layers?|blocks?|depth|stages?|groups|layers_per_stack|attends_per_block)$")
_EXPERTS = re.compile(r"experts$")


def check_counts(file: Path, settings: dict[str, Any]) -> None:
    """Refuse more blocks or experts than any model has.

    Args:
        file: the `config.json`, for messages.
        settings: its entries.

    Raises:
        ModelError: there are more.
    """
    numbers = list(_wholes(settings))
    blocks = [(key, value) for key, value in numbers if _BLOCKS.search(key)]
    experts = [(key, value) for key, value in numbers if _EXPERTS.search(key)]
    for found, most in ((blocks, MOST_BLOCKS), (experts, MOST_EXPERTS)):
        for key, value in found:
            if value > most:
                raise _refused(file, key, f"at most {most}", value)
    for key, value in experts:
        for other, count in blocks:
            if value * count > _MOST_PARTS:
                raise _refused(file, key, f"at most {_MOST_PARTS} in all blocks ({other}: {count})", value)


def largest_product(settings: dict[str, Any]) -> int:
    """Return the product of the two largest whole numbers in a `config.json`, which no weight matrix exceeds."""
    largest = sorted(value for _, value in _wholes(settings))[-2:]
    return largest[0] * largest[1] if len(largest) == 2 else 0


def _wholes(settings: dict[str, Any]) -> Iterator[tuple[str, int]]:
    """Yield the whole numbers of a configuration and of those within it, by their keys."""
    for key, value in settings.items():
        match value:
            case bool():
                continue
            case int():
                yield key, value
            case dict():
                yield from _wholes(value)
            case list():
                yield from ((key, entry) for entry in value if type(entry) is int)
            case _:
                continue


def _refused(file: Path, key: str, expected: str, found: int) -> ModelError:
    return ModelError(
        f"{file}: expected {key} to be {expected}, found {value_words(found)}; use the config.json that the weights "
        "were saved with, or download the model again"
    )
