"""Bytes, counts, fractions and durations in human-readable form; programs get the numbers themselves, as JSON."""

__all__ = ["as_bytes", "as_count", "as_percent", "as_rate", "as_time", "counted"]

_TWO_DAYS = 2 * 86_400  # seconds


def as_bytes(number: float) -> str:
    """Format bytes in binary units: `512 B`, `3.6 GiB`."""
    scaled, unit = _scaled(number, 1024, ("B", "KiB", "MiB", "GiB", "TiB"))
    return f"{scaled:.0f} {unit}" if scaled >= 100 or unit == "B" else f"{scaled:.1f} {unit}"


def as_count(number: float) -> str:
    """Format a count in short form: `512`, `3.6 thousand`, `175 billion`."""
    scaled, unit = _scaled(number, 1000, ("", " thousand", " million", " billion", " trillion"))
    return f"{scaled:.0f}{unit}" if scaled >= 100 or not unit else f"{scaled:.1f}{unit}"


def as_percent(fraction: float) -> str:
    """A fraction in percent.

    Example:
        >>> as_percent(0.0555)
        '5.55%'
    """
    return f"{100 * fraction:.2f}%"


def as_rate(number: float) -> str:
    """A number per second; two digits if it is small.

    Example:
        >>> as_rate(6543.7), as_rate(12.34), as_rate(0.0123)
        ('6,544', '12.3', '0.012')
    """
    if number < 0.1:
        return f"{number:.2g}"
    return f"{number:,.0f}" if round(number, 1) >= 100 else f"{number:.1f}"


def as_time(seconds: float) -> str:
    """A time in hours, minutes and seconds; from two days on, in days.

    Example:
        >>> as_time(83.4)
        '0:01:23'
        >>> as_time(100_000)
        '27:46:40'
        >>> as_time(0.2)
        'under 1 s'
        >>> as_time(280_000)
        '3.2 days'
    """
    if 0 < seconds < 1:
        return "under 1 s"
    if seconds >= _TWO_DAYS:
        days = seconds / 86_400
        return f"{days:,.0f} days" if days >= 100 else f"{days:.1f} days"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def counted(number: int, noun: str) -> str:
    """A number of things.

    Example:
        >>> counted(1, "shard"), counted(1_200, "shard")
        ('1 shard', '1,200 shards')
    """
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _scaled(number: float, step: int, units: tuple[str, ...]) -> tuple[float, str]:
    """Scale a number to the largest unit in which it is at least 1."""
    power = 0
    while number >= step and power < len(units) - 1:
        number, power = number / step, power + 1
    return number, units[power]
