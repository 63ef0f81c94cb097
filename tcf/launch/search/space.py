"""The search space: the ranges that parameters are sampled from."""

import dataclasses
import itertools
import math
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tcf.common.errors import ConfigError
from tcf.config.fields import from_mapping, from_value
from tcf.config.train import TrainConfig

__all__ = ["Choices", "Numbers", "Range", "combinations", "read_space"]

# What the study searched for ids: learning rates from 1e-3 to 5e-5, widths from 64 to 4096.
_RATES = (1e-3, 5e-4, 1e-4, 5e-5)
_WIDTHS = (64, 128, 256, 512, 1024, 2048, 4096)
_NONE = "none"  # TOML has no word for a setting that is not given
_FORM = "a list of values, or a table such as {low = 1e-4, high = 1e-2, log = true}"


@dataclass(frozen=True)
class Choices:
    """Some values, without an order.

    Attributes:
        values: each a value of the setting; None for one that is not given.
    """

    values: tuple[Any, ...]


@dataclass(frozen=True)
class Numbers:
    """All numbers between two, both included.

    Attributes:
        low: the smallest.
        high: the largest.
        log: whether orders of magnitude are equally likely, instead of numbers.
        step: distance between two of them; None for any.
        whole: whether they are whole numbers.
    """

    low: float
    high: float
    log: bool = False
    step: float | None = None
    whole: bool = False


Range = Choices | Numbers


@dataclass(frozen=True)
class _Table:
    """A range of numbers as the file has it."""

    low: float = math.nan
    high: float = math.nan
    log: bool = False
    step: float | None = None


def read_space(values: Mapping[str, Any], fixed: Mapping[str, Any], where: str) -> dict[str, Range]:
    """The ranges of a search file's table.

    Args:
        values: a list or a table for each setting; `paper = true` adds the study's ranges for settings that are named
            neither here nor in `fixed`.
        fixed: settings that every trial has.
        where: file and table, for messages.

    Raises:
        ConfigError: a setting is unknown or fixed, a range is empty or has values that the setting cannot have.
    """
    named = {key: value for key, value in values.items() if key != "paper"}
    if "monitor" in named:
        raise ConfigError(
            f"{where} monitor: expected it in [train], since all trials are compared by one metric; move it"
        )
    both = sorted(set(named) & set(fixed))
    if both:
        raise ConfigError(f"{where} {both[0]}: expected a setting that [train] leaves open, found it in both; drop one")
    space = {key: _range(key, value, where) for key, value in named.items()}
    for key, choices in _paper(values.get("paper", False), space, fixed, where).items():
        if key not in space and key not in fixed:
            space[key] = choices
    if not space:
        raise ConfigError(f"{where}: expected settings to search, found none; name one, such as width = [64, 128]")
    return space


def combinations(space: Mapping[str, Range], ends: bool = False) -> Iterator[dict[str, Any]]:
    """Every combination of the choices, the last setting fastest.

    Args:
        space: the ranges.
        ends: let numbers take their smallest and largest value; otherwise there must not be any.
    """
    axes = []
    for key, span in space.items():
        match span:
            case Choices(values):
                axes.append(values)
            case Numbers(low, high, whole=whole) if ends:
                axes.append((int(low), int(high)) if whole else (low, high))
            case Numbers():
                raise ValueError(f"{key}: a range of numbers has no list of values")
    return (dict(zip(space, values, strict=True)) for values in itertools.product(*axes))


def _paper(wanted: Any, space: Mapping[str, Range], fixed: Mapping[str, Any], where: str) -> dict[str, Range]:
    """The study's ranges: rates and widths for ids; for text, the same rates at the width that the study kept."""
    if not isinstance(wanted, bool):
        raise ConfigError(f"{where} paper: expected true or false, found {wanted!r}")
    if not wanted:
        return {}
    if "items" in space:
        raise ConfigError(f"{where} paper: expected items in [train], since the study's ranges depend on it")
    rates: dict[str, Range] = {"learning_rate": Choices(_RATES)}
    return {**rates, "width": Choices(_WIDTHS)} if fixed.get("items") == "id" else rates


def _range(key: str, value: Any, where: str) -> Range:
    if key not in _hints():
        from_value(TrainConfig, key, value, where)  # says what is known
    match value:
        case [_, *_]:
            return _choices(key, value, where)
        case dict():
            return _numbers(key, value, f"{where} {key}")
        case _:
            raise ConfigError(f"{where} {key}: expected {_FORM}, found {value!r}")


def _choices(key: str, values: list[Any], where: str) -> Choices:
    optional = type(None) in typing.get_args(_hints()[key])
    found = tuple(None if optional and v == _NONE else from_value(TrainConfig, key, v, where) for v in values)
    for value in found:
        _check_minimum(key, value, where)
        if found.count(value) > 1:
            raise ConfigError(f"{where} {key}: expected different values, found {value!r} twice")
    return Choices(found)


def _numbers(key: str, value: dict[str, Any], where: str) -> Numbers:
    table = from_mapping(_Table, value, where)
    low, high, step = table.low, table.high, table.step
    whole = _is_whole(key, where)
    if not low < high or math.isinf(high - low):
        raise ConfigError(f"{where}: expected a low below a high, found {value}")
    if whole and not all(number.is_integer() for number in (low, high, step or 1.0)):
        raise ConfigError(f"{where}: expected whole numbers, found {value}")
    if table.log and (low <= 0 or step is not None):
        raise ConfigError(f"{where}: expected a low above 0 and no step with log, found {value}")
    if step is not None and not (step > 0 and math.isclose((high - low) / step, round((high - low) / step))):
        raise ConfigError(f"{where}: expected steps that lead from low to high, found {value}")
    _check_minimum(key, low, where.removesuffix(f" {key}"))
    return Numbers(low, high, table.log, step, whole)


def _is_whole(key: str, where: str) -> bool:
    """Whether a setting is a whole number and not any number; other settings have no ranges."""
    kinds = {_hints()[key], *typing.get_args(_hints()[key])}
    if not kinds & {int, float}:
        raise ConfigError(f"{where}: expected a list of values, since this is no number, found a range")
    return int in kinds


def _hints() -> dict[str, Any]:
    return typing.get_type_hints(TrainConfig)


def _check_minimum(key: str, value: Any, where: str) -> None:
    (entry,) = (entry for entry in dataclasses.fields(TrainConfig) if entry.name == key)
    minimum = entry.metadata["minimum"]
    if minimum is not None and value is not None and not value >= minimum:
        raise ConfigError(f"{where} {key}: expected at least {minimum}, found {value}")
