"""What stands for a path, or for several, in the public API."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import tcf
from tcf.api.arguments import as_path, as_paths

OPENED = SimpleNamespace(path=Path("c"))
ONE, TWO = SimpleNamespace(caches=(Path("c"),)), SimpleNamespace(caches=(Path("c/layer0"), Path("c/layer1")))


def test_a_string_a_path_and_an_opened_result_are_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert as_path("~/data", "data") == as_path(Path("~/data"), "data") == Path("/home/me/data")
    assert as_path(OPENED, "cache") == as_path(ONE, "cache") == as_path("c", "cache") == Path("c")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("", "data: expected a path, found an empty string"),
        (Path("a\0b"), "data: expected a path, found one with a NUL character: 'a\\x00b'"),
        (3, "data: expected a path as a string or pathlib.Path, found int"),
        (None, "data: expected a path as a string or pathlib.Path, found NoneType"),
        ("~nobody-here/x", "data: expected a path whose ~ is the home of a known user, found ~nobody-here/x"),
        (TWO, "data: expected one cache, found 2 (c/layer0, c/layer1); name one of them"),
    ],
)
def test_what_is_no_path_is_refused(value: Any, message: str) -> None:
    with pytest.raises(tcf.ConfigError) as caught:
        as_path(value, "data")
    assert str(caught.value) == message


@pytest.mark.parametrize("one", ["c", Path("c"), OPENED, ONE, ["c"], (Path("c"),), [OPENED], [ONE]])
def test_one_is_a_sequence_of_one(one: Any) -> None:
    assert as_paths(one, "caches") == (Path("c"),)


def test_several_keep_their_order() -> None:
    assert as_paths(["b", TWO, "a"], "caches") == (Path("b"), *TWO.caches, Path("a"))
    assert as_paths(TWO, "caches") == TWO.caches
    assert as_paths((), "caches") == ()
    with pytest.raises(tcf.ConfigError, match=r"caches\[1\]: expected a path as a string or pathlib.Path, found int"):
        as_paths(["a", 3], "caches")
    with pytest.raises(tcf.ConfigError, match=r"caches: expected a path as a string or pathlib.Path, found int"):
        as_paths(3, "caches")


def test_settings_of_another_stage_are_refused() -> None:
    wrong: Any = {"epochs": 3}
    configs: tuple[Any, ...] = (wrong, tcf.ExtractConfig())
    for config in configs:
        with pytest.raises(tcf.ConfigError, match=r"^config: expected tcf.TrainConfig\(...\), found (dict|Extract)"):
            tcf.train_recommender("d", "c", out="r", config=config)
    unknown: Any = "tfc"
    with pytest.raises(tcf.ConfigError, match="^format: expected one of tcf, .* found 'tfc'; did you mean tcf"):
        tcf.prepare_dataset(unknown, "raw", "out")
    with pytest.raises(tcf.ConfigError, match="expected --data, or a --cache made from one dataset; found neither"):
        tcf.train_recommender(out="r")
