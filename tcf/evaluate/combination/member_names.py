"""Names of members: those of their folders, made distinct, or given ones."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tcf.common.errors import ConfigError, value_words

__all__ = ["distinct_names"]

_FORBIDDEN = "=,"
"""In options, names stand before the one and between the others."""


def distinct_names(runs: Sequence[Path], names: Sequence[str] | None, taken: Sequence[str]) -> tuple[str, ...]:
    """Return a name for each run, none of them twice.

    >>> distinct_names([Path("/r/text/seed-0"), Path("/r/id/seed-0"), Path("/r/id/seed-1")], None, [])
    ('text-seed-0', 'id-seed-0', 'seed-1')
    >>> distinct_names([Path("/r/text"), Path("/r/text")], None, [])
    ('text', 'text-2')

    Args:
        runs: their directories.
        names: given names; None for those of the directories.
        taken: names of other members.

    Raises:
        ConfigError: there are not as many names as runs, or a name is empty, there twice, or cannot be typed.
    """
    if names is None:
        return _numbered([_clean(name) for name in _by_parents(runs)], taken)
    if len(names) != len(runs):
        raise ConfigError(f"--names: expected {len(runs)}, one for each run, found {len(names)}; correct them")
    for name in names:
        if not name or not name.isprintable() or any(mark in name for mark in _FORBIDDEN):
            raise ConfigError(
                f"--names: expected printable names without = and commas, found {value_words(name)}; choose another"
            )
    twice = [name for name, number in Counter([*names, *taken]).items() if number > 1]
    if twice:
        raise ConfigError(f"--names: expected different names, found {twice[0]} twice; choose another")
    return tuple(names)


def _by_parents(runs: Sequence[Path]) -> list[str]:
    """The names of directories; equal ones have the names of their parents before them, as few as it takes."""
    parts = [path.absolute().parts[1:] for path in runs]
    depths = [1] * len(runs)
    while True:
        found = ["-".join(names[-depth:]) for names, depth in zip(parts, depths, strict=True)]
        numbers = Counter(found)
        deeper = [
            depth + (numbers[name] > 1 and depth < len(names))
            for name, names, depth in zip(found, parts, depths, strict=True)
        ]
        if deeper == depths:
            return found
        depths = deeper


def _clean(name: str) -> str:
    return "".join("-" if mark in _FORBIDDEN or not mark.isprintable() else mark for mark in name) or "run"


def _numbered(names: Sequence[str], taken: Sequence[str]) -> tuple[str, ...]:
    """Add numbers to names that are still there twice."""
    found = list[str]()
    for name in names:
        number, distinct = 1, name
        while distinct in found or distinct in taken:
            number += 1
            distinct = f"{name}-{number}"
        found.append(distinct)
    return tuple(found)
