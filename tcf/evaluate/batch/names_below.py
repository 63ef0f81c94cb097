"""Names of results below one folder, after the directories that they are made from."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from tcf.common.errors import ConfigError
from tcf.common.untrusted.inner_path import UnsafePathError, inner_path

__all__ = ["names_below"]

_Parts = tuple[str, ...]


def names_below(out: Path, paths: Sequence[Path]) -> list[str]:
    """Name a result for each path by the shortest end of it that tells it from the others.

    Paths of one folder get names of one length, so that the seeds of a setting stay together. No name is the beginning
    of another one, so that no result lies within another.

    Args:
        out: the folder of all results.
        paths: what the results are made from.

    Raises:
        ConfigError: a path is given twice, or its name cannot be a folder of its own below `out`.

    Example:
        >>> names_below(Path("out"), [Path("runs/text/seed-0"), Path("runs/id/seed-0"), Path("runs/first")])
        ['text/seed-0', 'id/seed-0', 'first']
    """
    whole = [Path(os.path.abspath(path)).parts[1:] for path in paths]  # noqa: PTH100 - without resolving links
    lengths = [1] * len(paths)
    while longer := {place for place in _too_short(whole, lengths) if lengths[place] < len(whole[place])}:
        folders = {whole[place][:-1] for place in longer}
        lengths = [n + (parts[:-1] in folders and n < len(parts)) for parts, n in zip(whole, lengths, strict=True)]
    for place in _too_short(whole, lengths):
        if whole.count(whole[place]) > 1:
            raise ConfigError(f"{paths[place]}: expected each path once, found it twice; name it once")
        raise ConfigError(
            f"{paths[place]}: expected a name of its own below {out}, found that another one's would lie within it; "
            "evaluate it alone"
        )
    return [_checked(out, path, "/".join(name)) for path, name in zip(paths, _ends(whole, lengths), strict=True)]


def _ends(whole: Sequence[_Parts], lengths: Sequence[int]) -> list[_Parts]:
    return [parts[len(parts) - length :] for parts, length in zip(whole, lengths, strict=True)]


def _too_short(whole: Sequence[_Parts], lengths: Sequence[int]) -> Iterator[int]:
    """The places of the names that are the beginning of another one, or the same."""
    ends = _ends(whole, lengths)
    known = dict[_Parts, int]()
    for end in ends:
        for length in range(1, len(end) + 1):
            known[end[:length]] = known.get(end[:length], 0) + 1
    return (place for place, end in enumerate(ends) if known.get(end, 0) > 1)


def _checked(out: Path, path: Path, name: str) -> str:
    try:
        inner_path(out, name)
    except UnsafePathError as error:
        raise ConfigError(
            f"{path}: expected a name that can be a folder below {out}, found one that {error}; evaluate it alone"
        ) from None
    return name
