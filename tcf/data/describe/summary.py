"""A one-page description of a dataset: its counts and a few of its users, as JSON values and as text."""

import textwrap
from collections.abc import Mapping
from typing import Any, get_args

from tcf.common.errors import DataError
from tcf.common.files import MANIFEST
from tcf.common.untrusted.printable import printable
from tcf.data.dataset import DATASET, Dataset
from tcf.data.describe.target_repeats import repeated_targets_words
from tcf.data.split import Part

__all__ = ["describe", "render"]

_EXAMPLE_USERS = 3
_EXAMPLE_ITEMS = 5
_TEXT_SHOWN = 90
_LABEL_WIDTH = 24
_WIDTH = 119  # of lines of words
_COUNTS = (
    "users",
    "items",
    "interactions",
    "repeated_interactions",
    "items_without_training",
    "unseen_items",
    "duplicate_texts",
)
_SUMMARIES = ("history_lengths", "text_lengths")
_SEEN = {"earlier": "before what is kept", "others": "otherwise"}
_LIKE_BEFORE = "targets_like_the_item_before"
_PARTS = ("training", "validation", "test")
_MORE_OF_SPLIT = ("training_users", "between", "targets_without_earlier_items")
_OF_GIVEN = (
    "context",
    "users_without_training",
    "users_with_several_targets",
    "further_validation_targets",
    "further_test_targets",
)
_DATES = ("first", "validation_from", "test_from", "last")


def describe(dataset: Dataset) -> dict[str, Any]:
    """Describe a dataset as JSON values.

    Returns:
        The statistics of the dataset, and `format`, `path`, `fingerprint` and `examples`: the first users, each with
        the ids and texts of their last items, oldest first.

    Raises:
        DataError: the statistics in the manifest are incomplete.
    """
    _check_complete(dataset)
    return {
        "format": DATASET.name,
        "path": str(dataset.path),
        "fingerprint": dataset.fingerprint,
        **dataset.statistics,
        "examples": [_example(dataset, user) for user in range(min(_EXAMPLE_USERS, dataset.n_users))],
    }


def render(description: Mapping[str, Any]) -> str:
    """Render a description as text for a terminal."""
    split = description["split"]
    lines = [
        _line("dataset", description["path"]),
        _line("fingerprint", description["fingerprint"]),
        *(_line(key.replace("_", " "), f"{description[key]:,}") for key in _COUNTS),
        _line("duplicate interactions", _number(description["duplicate_interactions"])),
        _line("seen besides", _seen(description["seen_items"])),
        _line("history lengths", _spread(description["history_lengths"], "items")),
        _line("text lengths", _spread(description["text_lengths"], "characters")),
        *_split(split),
        *_skipped(description["skipped"]),
        *(line for words in repeated_targets_words(description) for line in _warning(words)),
    ]
    for example in description["examples"]:
        lines += ["", f"user {printable(example['user'])}, last items, oldest first"]
        lines += [f"  {printable(item['item'])}  {printable(_shortened(item['text']))}" for item in example["items"]]
    return "\n".join(lines)


def _check_complete(dataset: Dataset) -> None:
    """Check that every statistic is present and has its type, because the manifest may have been edited or damaged."""
    parts: dict[str, Mapping[str, Any]] = {"facts": dataset.statistics}
    for name in (*_SUMMARIES, "seen_items", "split", "skipped"):
        found = dataset.statistics.get(name)
        if not isinstance(found, Mapping):
            raise _incomplete(dataset, f"facts.{name}")
        parts[name] = found
    wanted = [("facts", key) for key in _COUNTS] + [("split", key) for key in (*_PARTS, *_MORE_OF_SPLIT)]
    wanted += [("split", key) for key in (_OF_GIVEN if parts["split"].get("kind") == "given" else ())]
    wanted += [("seen_items", key) for name in _SEEN for key in (name, f"{name}_users")]
    wanted += [(summary, key) for summary in _SUMMARIES for key in ("min", "median", "mean", "max")]
    wanted += [("skipped", reason) for reason in parts["skipped"]]
    for part, key in wanted:
        if not isinstance(parts[part].get(key), int | float):
            raise _incomplete(dataset, f"facts.{key}" if part == "facts" else f"facts.{part}.{key}")
    for key in ("kind", *(_DATES if parts["split"].get("kind") == "time" else ())):
        if not isinstance(parts["split"].get(key), str):
            raise _incomplete(dataset, f"facts.split.{key}")
    _check_duplicates(dataset)


def _check_duplicates(dataset: Dataset) -> None:
    """Check the statistics that may be null, because events have no times."""
    if not isinstance(dataset.statistics.get("duplicate_interactions", ""), int | None):
        raise _incomplete(dataset, "facts.duplicate_interactions")
    found = dataset.statistics.get(_LIKE_BEFORE)
    for part in get_args(Part):
        numbers = found.get(part) if isinstance(found, Mapping) else None
        if not isinstance(numbers, Mapping):
            raise _incomplete(dataset, f"facts.{_LIKE_BEFORE}.{part}")
        for key, kind in (("targets", int), ("equal", int), ("duplicates", int | None)):
            if not isinstance(numbers.get(key, ""), kind):
                raise _incomplete(dataset, f"facts.{_LIKE_BEFORE}.{part}.{key}")


def _incomplete(dataset: Dataset, entry: str) -> DataError:
    return DataError(
        f"{dataset.path / MANIFEST}: expected the statistic {entry}, found none or one of another type; "
        f"{DATASET.remedy(dataset.path)}"
    )


def _example(dataset: Dataset, user: int) -> dict[str, Any]:
    last = dataset.histories.of(user)[-_EXAMPLE_ITEMS:].tolist()
    items = [{"item": dataset.item_ids[item].as_py(), "text": dataset.texts[item].as_py()} for item in last]
    return {"user": dataset.user_ids[user].as_py(), "items": items}


def _number(number: int | None) -> str:
    return "unknown: events without exact times" if number is None else f"{number:,}"


def _line(label: str, value: str) -> str:
    return f"{printable(label):<{_LABEL_WIDTH}}{printable(value)}"


def _seen(counts: Mapping[str, int]) -> str:
    """Say how many items users have had besides their histories, so that these are not recommended to them."""
    found = [
        f"{counts[f'{name}_users']:,} users {counts[name]:,} items {when}"
        for name, when in _SEEN.items()
        if counts[name]
    ]
    return ", ".join(found) or "nothing"


def _spread(summary: Mapping[str, float], unit: str) -> str:
    if not summary["max"]:
        return "none"
    return (
        f"{summary['min']:,} to {summary['max']:,} {unit}, mean {summary['mean']:,.1f}, median {summary['median']:,.1f}"
    )


def _warning(words: str) -> list[str]:
    lines = textwrap.wrap(words, _WIDTH - _LABEL_WIDTH)
    return [_line("" if row else "warning", line) for row, line in enumerate(lines)]


def _skipped(skipped: Mapping[str, int]) -> list[str]:
    if not skipped:
        return [_line("left out", "nothing")]
    width = max(len(f"{number:,}") for number in skipped.values())
    shown = [f"{number:>{width},}  {reason.replace('_', ' ')}" for reason, number in skipped.items()]
    return [_line("left out" if row == 0 else "", text) for row, text in enumerate(shown)]


def _split(split: Mapping[str, Any]) -> list[str]:
    """Render kind and interactions of the parts; for a split by time or a given one also what is peculiar to it."""
    lines = [_line("split", f"{split['kind']}: " + ", ".join(f"{split[part]:,} {part}" for part in _PARTS))]
    match split["kind"]:
        case "time":
            return lines + [_line("", words) for words in _of_time(split)]
        case "given":
            return lines + [_line("", words) for words in _of_given(split)]
        case _:
            return lines


def _of_time(split: Mapping[str, Any]) -> list[str]:
    return [
        f"training from {split['first']} until {split['validation_from']}, {split['training_users']:,} users",
        f"validation from {split['validation_from']}, test from {split['test_from']} to {split['last']}",
        f"{split['between']:,} in no part: input of test queries, not trained on",
        f"{split['targets_without_earlier_items']:,} targets without an earlier item: not evaluated",
    ]


def _of_given(split: Mapping[str, Any]) -> list[str]:
    """Say whom the split trains, and what in it is not trained on, not evaluated or suspicious, where there is any."""
    late = split.get("users_trained_after_test")
    of_time = [f"{late or 0:,} users have a training item later than their test target: results may be too good"]
    further = split["further_validation_targets"] + split["further_test_targets"]
    return [
        f"the split of the raw files; {split['training_users']:,} users with training items",
        *_if_any(split["users_without_training"], "users without training items"),
        *_if_any(split["context"], "items of context: input of queries, not trained on"),
        *_if_any(
            split["users_with_several_targets"],
            f"users with several targets in a part, all evaluated: {further:,} more targets than users",
        ),
        *_if_any(split["targets_without_earlier_items"], "targets without an earlier item: not evaluated"),
        *(of_time if late else []),
    ]


def _if_any(number: int, words: str) -> list[str]:
    return [f"{number:,} {words}"] if number else []


def _shortened(text: str) -> str:
    return text if len(text) <= _TEXT_SHOWN else text[:_TEXT_SHOWN] + "..."
