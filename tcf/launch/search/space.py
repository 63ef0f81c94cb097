"""The search space: the ranges that parameters are sampled from."""

import dataclasses
import itertools
import math
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tcf.common.errors import ConfigError, value_words
from tcf.config.fields import from_mapping, from_value
from tcf.config.train import TrainConfig

__all__ = ["Choices", "Numbers", "Range", "combinations", "neighbours", "read_space"]

# The study's ranges for ids: learning rates from 1e-3 to 5e-5, widths from 64 to 4096.
_RATES = (1e-3, 5e-4, 1e-4, 5e-5)
_WIDTHS = (64, 128, 256, 512, 1024, 2048, 4096)
_NONE = "none"  # stands for a setting without a value, since TOML has no null
_FORM = "a list of values, or a table such as {low = 1e-4, high = 1e-2, log = true}"


@dataclass(frozen=True)
class Choices:
    """A list of unordered values.

    Attributes:
        values: values of the setting; None leaves it unset.
    """

    values: tuple[Any, ...]


@dataclass(frozen=True)
class Numbers:
    """A range of numbers.

    Attributes:
        low: the smallest number, included.
        high: the largest number, included.
        log: whether to sample the logarithm uniformly, instead of the number.
        step: distance between neighbouring numbers; None for a continuous range.
        whole: whether the numbers are whole.
    """

    low: float
    high: float
    log: bool = False
    step: float | None = None
    whole: bool = False


Range = Choices | Numbers


@dataclass(frozen=True)
class _Table:
    """A range of numbers as written in the file."""

    low: float = math.nan
    high: float = math.nan
    log: bool = False
    step: float | None = None


def read_space(values: Mapping[str, Any], fixed: Mapping[str, Any], where: str) -> dict[str, Range]:
    """The ranges of a search file's table.

    Args:
        values: a list or a table for each setting; `paper = true` adds the study's ranges for settings that are neither
            here nor in `fixed`.
        fixed: settings that all trials share.
        where: file and table, for messages.

    Raises:
        ConfigError: a setting is unknown or fixed, or a range is empty or has values that are invalid for the setting.
    """
    named = {key: value for key, value in values.items() if key != "paper"}
    if "monitor" in named:
        raise ConfigError(
            f"{where} monitor: expected it in [train], since all trials are compared by one metric; move it"
        )
    both = sorted(set(named) & set(fixed))
    if both:
        raise ConfigError(f"{where} {both[0]}: expected a setting that is not in [train], found it in both; remove one")
    space = {key: _range(key, value, where) for key, value in named.items()}
    for key, choices in _paper(values.get("paper", False), space, fixed, where).items():
        if key not in space and key not in fixed:
            space[key] = choices
    if not space:
        raise ConfigError(f"{where}: expected settings to search, found none; add one, such as width = [64, 128]")
    return space


def combinations(space: Mapping[str, Range], ends: bool = False) -> Iterator[dict[str, Any]]:
    """Iterate over all combinations of values, the last setting varying fastest.

    Args:
        space: the ranges.
        ends: whether ranges of numbers take their smallest and largest value; if not, there must not be any.
    """
    axes = _axes(space, ends=ends)
    return (dict(zip(space, values, strict=True)) for values in itertools.product(*axes.values()))


def neighbours(space: Mapping[str, Range]) -> Iterator[dict[str, Any]]:
    """Iterate over combinations that differ from that of all first values in two settings at most.

    They show each setting beside each value of any other, which takes few of all combinations.

    Args:
        space: the ranges; of numbers the smallest and the largest value count.
    """
    axes = _axes(space, ends=True)
    first = {key: values[0] for key, values in axes.items()}
    for one, other in itertools.combinations_with_replacement(axes, 2):
        for value, another in itertools.product(axes[one], axes[other]):
            yield {**first, one: value, other: another}


def _axes(space: Mapping[str, Range], *, ends: bool) -> dict[str, tuple[Any, ...]]:
    axes: dict[str, tuple[Any, ...]] = {}
    for key, span in space.items():
        match span:
            case Choices(values):
                axes[key] = values
            case Numbers(low, high, whole=whole) if ends:
                axes[key] = (int(low), int(high)) if whole else (low, high)
            case Numbers():
                raise ValueError(f"{key}: a range of numbers has no list of values")
    return axes


def _paper(wanted: Any, space: Mapping[str, Range], fixed: Mapping[str, Any], where: str) -> dict[str, Range]:
    """The study's ranges: learning rates, and for ids also widths; for text the study kept one width."""
    if not isinstance(wanted, bool):
        raise ConfigError(f"{where} paper: expected true or false, found {value_words(wanted)}")
    if not wanted:
        return {}
    if "items" in space:
        raise ConfigError(
            f"{where} paper: expected items in [train], since the study's ranges depend on it, found it here; move it"
        )
    rates: dict[str, Range] = {"learning_rate": Choices(_RATES)}
    return {**rates, "width": Choices(_WIDTHS)} if fixed.get("items") == "id" else rates


def _range(key: str, value: Any, where: str) -> Range:
    if key not in _hints():
        from_value(TrainConfig, key, value, where)  # raises an error that lists the known settings
    match value:
        case [_, *_]:
            return _choices(key, value, where)
        case dict():
            return _numbers(key, value, f"{where} {key}")
        case _:
            raise ConfigError(f"{where} {key}: expected {_FORM}, found {value_words(value)}")


def _choices(key: str, values: list[Any], where: str) -> Choices:
    optional = type(None) in typing.get_args(_hints()[key])
    found = tuple(None if optional and v == _NONE else from_value(TrainConfig, key, v, where) for v in values)
    for value in found:
        _check_minimum(key, value, where)
        if found.count(value) > 1:
            raise ConfigError(f"{where} {key}: expected different values, found {value_words(value)} twice; remove one")
    return Choices(found)


def _numbers(key: str, value: dict[str, Any], where: str) -> Numbers:
    table = from_mapping(_Table, value, where)
    low, high, step = table.low, table.high, table.step
    whole = _is_whole(key, where)
    if not low < high or math.isinf(high - low):
        raise ConfigError(f"{where}: expected low to be below high, found {value_words(value)}")
    if whole and not all(number.is_integer() for number in (low, high, step or 1.0)):
        raise ConfigError(f"{where}: expected whole numbers, found {value_words(value)}")
    if table.log and (low <= 0 or step is not None):
        raise ConfigError(f"{where}: expected a low above 0 and no step with log, found {value_words(value)}")
    if step is not None and not (step > 0 and math.isclose((high - low) / step, round((high - low) / step))):
        raise ConfigError(
            f"{where}: expected a step that divides the distance from low to high, found {value_words(value)}"
        )
    _check_minimum(key, low, where.removesuffix(f" {key}"))
    return Numbers(low, high, table.log, step, whole)


def _is_whole(key: str, where: str) -> bool:
    """Whether a setting takes whole numbers only; settings that are not numbers have no ranges."""
    kinds = {_hints()[key], *typing.get_args(_hints()[key])}
    if not kinds & {int, float}:
        raise ConfigError(
            f"{where}: expected a list of values, since this is not a number, found a range; list its values"
        )
    return int in kinds


def _hints() -> dict[str, Any]:
    return typing.get_type_hints(TrainConfig)


def _check_minimum(key: str, value: Any, where: str) -> None:
    (entry,) = (entry for entry in dataclasses.fields(TrainConfig) if entry.name == key)
    minimum = entry.metadata["minimum"]
    if minimum is not None and isinstance(value, int | float) and not value >= minimum:
        raise ConfigError(f"{where} {key}: expected at least {minimum}, found {value}")
