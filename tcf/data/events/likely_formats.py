"""Formats in the notation of `strptime` that dates of unknown form may have, to be suggested to the user."""

import re
from collections.abc import Iterator

from tcf.common.errors import ConfigError
from tcf.data.events.date_patterns import MONTHS, WEEKDAYS, moments, pattern_of
from tcf.data.tables.engine import Engine

__all__ = ["likely_formats"]

_CLOCK = re.compile(r"\b\d{1,2}:\d{2}(?P<second>:\d{2}(?P<point>[.,])?(?(point)\d{1,9}))?(?P<half>\s?[ap]m\b)?", re.I)
_ZONE = re.compile(r"(?<=\d|\s|p)[+-]\d{2}:?\d{2}\b")
_WORD = re.compile(r"(?<!%)[^\W\d_]+")
_ORDERS = ("dmy", "mdy", "ymd", "ydm", "md", "dm", "dy", "yd", "my", "ym", "d", "m", "")


def likely_formats(engine: Engine, dates: str) -> list[str]:
    """Return the formats that all given dates have, the likeliest first; none if no format is known.

    Args:
        engine: compares.
        dates: a table or subquery in SQL with dates in the column `written`.
    """
    first = [date for (date,) in engine.rows(f"select written from {dates} limit 1")]
    return [written for date in first for written in _formats_of(date) if _fits(engine, dates, written)]


def _fits(engine: Engine, dates: str, written: str) -> bool:
    try:
        pattern = pattern_of(written)
    except ConfigError:
        return False
    return engine.number(f"select count(*) from ({moments(dates, pattern)}) where moment is null") == 0


def _formats_of(date: str) -> Iterator[str]:
    """Yield the formats that one date may have, whether it fits them or not."""
    rest = _ZONE.sub("%z", _CLOCK.sub(_clock, date.replace("%", "%%")))
    rest = _WORD.sub(lambda word: _name(word[0]), rest)
    rest = re.sub(r"(?<!\d)\d{4}(?!\d)", "%Y", rest)
    has = [part for part, written in (("y", "%Y"), ("m", "%B"), ("m", "%b")) if written in rest]
    pieces = re.split(r"\b\d{1,2}\b", rest)
    for order in _ORDERS:
        if len(order) == len(pieces) - 1 and not set(order) & set(has):
            yield "".join(text + ("%" + part if part else "") for text, part in zip(pieces, [*order, ""], strict=True))


def _clock(found: "re.Match[str]") -> str:
    half = found["half"]
    seconds = ("%S" if not found["point"] else f"%S{found['point']}%f") if found["second"] else ""
    clock = f"{'%I' if half else '%H'}:%M{':' if seconds else ''}{seconds}"
    return clock + (half[:-2] + "%p" if half else "")


def _name(word: str) -> str:
    """Return the directive of a name of a month, a day or a zone; other words stand for themselves."""
    for names, directives in ((MONTHS, "Bb"), (WEEKDAYS, "Aa")):
        if word.title() in names:
            return f"%{directives[0]}"
        if word.title() in [name[:3] for name in names]:
            return f"%{directives[1]}"
    return "%Z" if word.upper() in ("UTC", "GMT", "Z") else word
