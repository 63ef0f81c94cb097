"""Written dates and times of day as microseconds since 1970, in SQL, by a pattern with named groups.

A pattern is a regular expression of RE2 whose groups all have names, since DuckDB only counts them. It makes sure that
hours, minutes, seconds and offsets are in range; whether there is such a day is checked afterwards.

`pattern_of` translates a format in the notation of `strptime` to a pattern, which matches what
`datetime.datetime.strptime` accepts.
"""

import re
from collections.abc import Sequence

from tcf.common.errors import ConfigError
from tcf.data.tables.engine import literal

__all__ = ["ISO", "MONTHS", "WEEKDAYS", "moments", "pattern_of"]

_SECOND = 10**6
_HOUR, _HALF_DAY, _MINUTES = "[01][0-9]|2[0-3]", "0[1-9]|1[0-2]|[1-9]", "[0-5][0-9]"
_CLOCK = rf"(?P<hour>{_HOUR})(?::(?P<minute>{_MINUTES})(?::(?P<second>{_MINUTES})(?:[.,](?P<fraction>[0-9]+))?)?)?"
_ZONE = rf"Z|UTC|GMT|[+-](?:{_HOUR})(?::?{_MINUTES})?"

ISO = rf"(?P<year>[0-9]{{4}})-(?P<month>[0-9]{{2}})-(?P<day>[0-9]{{2}})(?:(?:[ T]{_CLOCK} ?| )(?P<zone>{_ZONE})?)?"
"""ISO 8601 with a hyphen between the parts of a date, to which ` UTC` or ` GMT` may be added."""

MONTHS = "January February March April May June July August September October November December".split()
WEEKDAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
_SHORT = "".join(name[:3] for name in MONTHS).lower()
# As datetime.strptime has them, except: fractions may have nine digits, offsets may lack the minutes, and of the names
# of zones only those that mean UTC everywhere are known.
_DIRECTIVES = {
    "Y": "(?P<year>[0-9]{4})",
    "y": "(?P<short_year>[0-9]{2})",
    "m": "(?P<month>1[0-2]|0[1-9]|[1-9])",
    "B": f"(?P<month_name>{'|'.join(MONTHS)})",
    "b": f"(?P<month_name>{'|'.join(name[:3] for name in MONTHS)})",
    "d": "(?P<day>3[01]|[12][0-9]|0[1-9]|[1-9]| [1-9])",
    "j": "(?P<day_of_year>36[0-6]|3[0-5][0-9]|[12][0-9]{2}|0[1-9][0-9]|00[1-9]|[1-9][0-9]|0[1-9]|[1-9])",
    "A": f"(?:{'|'.join(WEEKDAYS)})",
    "a": f"(?:{'|'.join(name[:3] for name in WEEKDAYS)})",
    "H": f"(?P<hour>{_HOUR}|[0-9])",
    "I": f"(?P<half_day_hour>{_HALF_DAY})",
    "p": "(?P<half_day>AM|PM)",
    "M": f"(?P<minute>{_MINUTES}|[0-9])",
    "S": f"(?P<second>{_MINUTES}|[0-9])",
    "f": "(?P<fraction>[0-9]{1,9})",
    "z": f"(?P<zone>{_ZONE})",
    "Z": "(?:UTC|GMT|Z)",
    "%": "%",
}
_ONCE = (
    ("year", "short_year"),
    ("month", "month_name", "day_of_year"),
    ("day", "day_of_year"),
    ("hour", "half_day_hour"),
    *((name,) for name in ("half_day", "minute", "second", "fraction", "zone")),
)
_MONTH = f"((instr('{_SHORT}', lower(f.month_name[:3])) + 2) // 3)"
_CENTURY = "((case when f.short_year <= '68' then '20' else '19' end) || nullif(f.short_year, ''))"  # as POSIX has it
_GROUP = re.compile(r"\(\?P<([a-z_]+)>")


def pattern_of(written: str) -> str:
    """Translate a format in the notation of `datetime.strptime`, such as `%d/%m/%Y %H:%M`.

    Raises:
        ConfigError: it has an unknown directive, says something twice, or does not say what a date needs.

    Example:
        >>> pattern_of("%Y/%m")
        '(?P<year>[0-9]{4})/(?P<month>1[0-2]|0[1-9]|[1-9])'
    """
    pieces = re.findall(r"%.?|\s+|[^%\s]+", written.strip(), re.DOTALL)
    pattern = "".join(_piece(piece, written) for piece in pieces)
    groups = _GROUP.findall(pattern)
    wrong = next((alike for alike in _ONCE if sum(groups.count(name) for name in alike) > 1), None)
    if wrong is not None:
        raise ConfigError(f"{_expected(written, 'each part of a time once')} twice: {' or '.join(wrong)}; write one")
    if not {"year", "short_year"} & {*groups}:
        raise ConfigError(f"{_expected(written, 'a year, %Y or %y')}, which has none; add it")
    if "day" in groups and not {"month", "month_name"} & {*groups}:
        raise ConfigError(f"{_expected(written, 'a month, %m, %b or %B')}, which has a day only; add it")
    return pattern


def _expected(written: str, what: str) -> str:
    return f"--time-format: expected {what}, found {written[:80]!r}"


def _piece(piece: str, written: str) -> str:
    if piece[0] != "%":
        return r"\s+" if piece.isspace() else re.escape(piece)
    if piece[1:] not in _DIRECTIVES:
        known = "".join(f"%{letter} " for letter in _DIRECTIVES)
        raise ConfigError(
            f"--time-format: expected text and the directives {known.strip()}, found {piece} in {written[:80]!r}; "
            "write it with these, such as '%d/%m/%Y %H:%M:%S'"
        )
    return _DIRECTIVES[piece[1:]]


def moments(source: str, pattern: str) -> str:
    """Return a query for the columns `written` and `moment`: dates, and their microseconds since 1970.

    Args:
        source: a table or subquery in SQL with the column `written`.
        pattern: matches all of a date, in upper or lower case; the moment of what it does not match is null.
    """
    groups = _GROUP.findall(pattern)
    listed = ", ".join(literal(name) for name in groups)
    fields = f"regexp_extract(written, {literal(f'(?i)^(?:{pattern})$')}, [{listed}])"
    seconds = f"({_days(groups)}) * 86400 + {_clock(groups)} - {_offset(groups)}"
    moment = f"({seconds}) * {_SECOND} + {_fraction(groups)}"
    return f"select written, {moment} as moment from (select written, {fields} as f from {source})"


def _days(groups: Sequence[str]) -> str:
    """Return the days since 1970; null if there is no such day, or the pattern did not match."""
    year = "nullif(f.year, '0000')" if "year" in groups else _CENTURY
    if "day_of_year" in groups:
        date = f"try_cast({year} || '-01-01' as date) + try_cast(f.day_of_year as int) - 1"
        return f"case when year({date}) = try_cast({year} as int) then {date} - date '1970-01-01' end"
    month = "f.month" if "month" in groups else _MONTH if "month_name" in groups else "'01'"
    day = "ltrim(f.day)" if "day" in groups else "'01'"
    return f"try_cast({year} || '-' || {month} || '-' || {day} as date) - date '1970-01-01'"


def _clock(groups: Sequence[str]) -> str:
    """Return the seconds since midnight; %p says nothing about the hours of %H."""
    hour = _number("hour", groups)
    if "half_day_hour" in groups:
        afternoon = "case when lower(f.half_day) = 'pm' then 12 else 0 end" if "half_day" in groups else "0"
        hour = f"({_number('half_day_hour', groups)} % 12 + {afternoon})"
    return f"{hour} * 3600 + {_number('minute', groups)} * 60 + {_number('second', groups)}"


def _offset(groups: Sequence[str]) -> str:
    """Return how many seconds the time is ahead of UTC."""
    if "zone" not in groups:
        return "0"
    digits = "replace(f.zone[2:], ':', '')"
    size = f"(try_cast({digits}[:2] as bigint) * 3600 + coalesce(try_cast({digits}[3:] as bigint), 0) * 60)"
    sign = "case (f.zone)[1] when '-' then -1 else 1 end"
    return f"case when (f.zone)[1] in ('+', '-') then {size} * {sign} else 0 end"


def _fraction(groups: Sequence[str]) -> str:
    """Return the microseconds of a fraction of a second; further digits are cut."""
    return "rpad(f.fraction, 6, '0')::bigint" if "fraction" in groups else "0"


def _number(group: str, groups: Sequence[str]) -> str:
    return f"coalesce(try_cast(f.{group} as bigint), 0)" if group in groups else "0"
