from pathlib import Path

import numpy as np
import pytest

from tcf.common.errors import ConfigError
from tcf.evaluate.batch.names_below import names_below

OUT = Path("out")


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["runs/text", "runs/id"], ["text", "id"]),
        (["runs/text/seed-0", "runs/id/seed-0"], ["text/seed-0", "id/seed-0"]),
        (["runs/text/seed-0", "runs/id/seed-0", "runs/first"], ["text/seed-0", "id/seed-0", "first"]),
        # Seeds of one setting stay in one folder, for `tcf compare out/text`.
        (["runs/text/seed-0", "runs/text/seed-1", "runs/id/seed-0"], ["text/seed-0", "text/seed-1", "id/seed-0"]),
        # None lies within another one's: the one above gets a longer name.
        (["r/a", "r/a/b", "r/c/b"], ["r/a", "a/b", "c/b"]),
        (["runs/text", "runs/text/selection"], ["text", "selection"]),
        (["games/popularity", "runs/popularity"], ["games/popularity", "runs/popularity"]),
        (["/1/x/y", "/2/x/y", "/2/z/y"], ["1/x/y", "2/x/y", "z/y"]),
        (["runs/a/../b", "./c/"], ["b", "c"]),
    ],
)
def test_the_shortest_end_that_tells_a_path_from_the_others(paths: list[str], names: list[str]) -> None:
    assert names_below(OUT, [*map(Path, paths)]) == names


def test_no_result_is_at_the_place_of_another_or_within_it() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        made = {"/".join(rng.choice(["a", "b", "c"], rng.integers(2, 6))) for _ in range(6)}
        every = [Path("/top", path) for path in sorted(made)]
        paths = [path for path in every if not any(other.is_relative_to(path) for other in every if other != path)]
        named = [Path(name) for name in names_below(OUT, paths)]
        assert all(str(path).endswith(f"/{name}") for path, name in zip(paths, named, strict=True))
        assert not any(one.is_relative_to(other) for one in named for other in named if one is not other)


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (["runs/a", "runs/b", "runs/./a"], "^runs/a: expected each path once, found it twice; name it once$"),
        (["/a", "/x/a/b", "/y/b"], "^/a: expected a name of its own below out, "),
        (["runs/a", "runs/b\n"], r"^runs/b\n: expected a name .* below out, found one that contains control char"),
        (["runs/a", "runs/b\\c"], r"found one that leads outside the folder; evaluate it alone$"),
        (["runs/a", "/"], r"^/: expected a name"),
    ],
)
def test_names_that_are_refused(paths: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        names_below(OUT, [*map(Path, paths)])
