"""Bytes, counts and durations in human-readable form."""

__all__ = ["as_bytes", "as_count", "as_seconds"]


def as_bytes(number: float) -> str:
    """Format bytes in binary units: `512 B`, `3.6 GiB`."""
    scaled, unit = _scaled(number, 1024, ("B", "KiB", "MiB", "GiB", "TiB"))
    return f"{scaled:.0f} {unit}" if scaled >= 100 or unit == "B" else f"{scaled:.1f} {unit}"


def as_count(number: float) -> str:
    """Format a count in short form: `512`, `3.6 thousand`, `175 billion`."""
    scaled, unit = _scaled(number, 1000, ("", " thousand", " million", " billion", " trillion"))
    return f"{scaled:.0f}{unit}" if scaled >= 100 or not unit else f"{scaled:.1f}{unit}"


def _scaled(number: float, step: int, units: tuple[str, ...]) -> tuple[float, str]:
    """Scale a number to the largest unit in which it is at least 1."""
    power = 0
    while number >= step and power < len(units) - 1:
        number, power = number / step, power + 1
    return number, units[power]


def as_seconds(number: float) -> str:
    """Format a duration in seconds: `12 s`, `3 min 20 s`, `5 h 12 min`, `3 d 4 h`."""
    whole = round(number)
    match whole:
        case _ if whole < 60:
            return f"{number:.1f} s" if number < 10 else f"{whole} s"
        case _ if whole < 3600:
            return f"{whole // 60} min {whole % 60} s"
        case _ if whole < 86_400:
            return f"{whole // 3600} h {whole % 3600 // 60} min"
        case _:
            return f"{whole // 86_400} d {whole % 86_400 // 3600} h"
