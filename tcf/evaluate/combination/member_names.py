"""Names of members: those of their folders, made distinct, or given ones."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tcf.common.errors import ConfigError, value_words

__all__ = ["distinct_names"]

_FORBIDDEN = "=,"
"""In options, names stand before the one and between the others."""


def distinct_names(runs: Sequence[Path], names: Sequence[str | None] | None, taken: Sequence[str]) -> tuple[str, ...]:
    """Return a name for each run, none of them twice.

    >>> distinct_names([Path("/r/text/seed-0"), Path("/r/id/seed-0"), Path("/r/id/seed-1")], None, [])
    ('text-seed-0', 'id-seed-0', 'seed-1')
    >>> distinct_names([Path("/r/text"), Path("/r/text"), Path("/r/id")], [None, None, "text"], [])
    ('text-2', 'text-3', 'text')

    Args:
        runs: their directories.
        names: given names; None, also for a single run, for those of the directories.
        taken: names of other members.

    Raises:
        ConfigError: there are not as many names as runs, or a name is empty, there twice, or cannot be typed.
    """
    given = [None] * len(runs) if names is None else list(names)
    if len(given) != len(runs):
        raise ConfigError(f"names: expected {len(runs)}, one for each run, found {len(given)}; correct them")
    chosen = [name for name in given if name is not None]
    for name in chosen:
        if not name or not name.isprintable() or any(mark in name for mark in _FORBIDDEN):
            raise ConfigError(
                f"names of runs: expected printable ones without = and commas, found {value_words(name)}; choose others"
            )
    twice = [name for name, number in Counter([*chosen, *taken]).items() if number > 1]
    if twice:
        raise ConfigError(f"names of members: expected different ones, found {twice[0]} twice; choose another")
    return _numbered(given, [_clean(name) for name in _by_parents(runs)], {*chosen, *taken})


def _by_parents(runs: Sequence[Path]) -> list[str]:
    """The names of directories, after those of their parents as far as they would be equal otherwise."""
    parts = [path.absolute().parts[1:] for path in runs]
    depths = dict.fromkeys(parts, 1)
    while True:
        numbers = Counter(_joined(names, depth) for names, depth in depths.items())
        alike = [n for n, depth in depths.items() if numbers[_joined(n, depth)] > 1 and depth < len(n)]
        if not alike:
            return [_joined(names, depths[names]) for names in parts]
        depths |= {names: depths[names] + 1 for names in alike}


def _joined(names: tuple[str, ...], depth: int) -> str:
    return "-".join(names[-depth:])


def _clean(name: str) -> str:
    return "".join("-" if mark in _FORBIDDEN or not mark.isprintable() else mark for mark in name) or "run"


def _numbered(given: Sequence[str | None], usual: Sequence[str], taken: set[str]) -> tuple[str, ...]:
    """Return given names, and in their place the usual ones, with numbers where these are taken."""
    found = list[str]()
    for name, folder in zip(given, usual, strict=True):
        number, distinct = 1, folder
        while name is None and distinct in taken:
            number += 1
            distinct = f"{folder}-{number}"
        found.append(distinct if name is None else name)
        taken = {*taken, found[-1]}
    return tuple(found)
