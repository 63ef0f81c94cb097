"""A dataset in a page: its counts and a few of its users, as JSON values and as text for a terminal."""

from collections.abc import Mapping
from typing import Any

from tcf.data.dataset import DATASET, Dataset

__all__ = ["describe", "render"]

_EXAMPLE_USERS = 3
_EXAMPLE_ITEMS = 5
_TEXT_SHOWN = 90
_LABEL_WIDTH = 24
_PARTS = ("training", "validation", "test")


def describe(dataset: Dataset) -> dict[str, Any]:
    """Describe a dataset as JSON values.

    Returns:
        The statistics of the dataset, and `format`, `path`, `fingerprint` and `examples`: the first users, each with
        the ids and texts of its last items, oldest first.
    """
    return {
        "format": DATASET.name,
        "path": str(dataset.path),
        "fingerprint": dataset.fingerprint,
        **dataset.statistics,
        "examples": [_example(dataset, user) for user in range(min(_EXAMPLE_USERS, dataset.n_users))],
    }


def render(description: Mapping[str, Any]) -> str:
    """A description as lines for a terminal."""
    split = description["split"]
    lines = [
        _line("dataset", description["path"]),
        _line("fingerprint", description["fingerprint"]),
        *(_line(key, f"{description[key]:,}") for key in ("users", "items", "interactions")),
        *(
            _line(key.replace("_", " "), f"{description[key]:,}")
            for key in ("repeated_interactions", "items_without_training", "duplicate_texts")
        ),
        _line("history lengths", _spread(description["history_lengths"], "items")),
        _line("text lengths", _spread(description["text_lengths"], "characters")),
        _line("split", f"{split['kind']}: " + ", ".join(f"{split[part]:,} {part}" for part in _PARTS)),
        *_skipped(description["skipped"]),
    ]
    for example in description["examples"]:
        lines += ["", f"user {example['user']}, last items, oldest first"]
        lines += [f"  {item['item']}  {_shortened(item['text'])}" for item in example["items"]]
    return "\n".join(lines)


def _example(dataset: Dataset, user: int) -> dict[str, Any]:
    last = dataset.histories.of(user)[-_EXAMPLE_ITEMS:].tolist()
    items = [{"item": dataset.item_ids[item].as_py(), "text": dataset.texts[item].as_py()} for item in last]
    return {"user": dataset.user_ids[user].as_py(), "items": items}


def _line(label: str, value: str) -> str:
    return f"{label:<{_LABEL_WIDTH}}{value}"


def _spread(summary: Mapping[str, float], unit: str) -> str:
    return (
        f"{summary['min']:,} to {summary['max']:,} {unit}, mean {summary['mean']:,.1f}, median {summary['median']:,.1f}"
    )


def _skipped(skipped: Mapping[str, int]) -> list[str]:
    if not skipped:
        return [_line("left out", "nothing")]
    width = max(len(f"{number:,}") for number in skipped.values())
    shown = [f"{number:>{width},}  {reason.replace('_', ' ')}" for reason, number in skipped.items()]
    return [_line("left out" if row == 0 else "", text) for row, text in enumerate(shown)]


def _shortened(text: str) -> str:
    return text if len(text) <= _TEXT_SHOWN else text[:_TEXT_SHOWN] + "..."
