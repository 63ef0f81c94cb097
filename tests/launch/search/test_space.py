"""The ranges of a search, by hand."""

from typing import Any

import pytest

from tcf.common.errors import ConfigError
from tcf.launch.search.space import Choices, Numbers, combinations, read_space


def test_lists_are_choices_and_tables_are_numbers() -> None:
    space = read_space(
        {
            "width": [64, 128],
            "learning_rate": {"low": 1e-4, "high": 1, "log": True},
            "dropout": {"low": 0, "high": 0.5, "step": 0.1},
            "history": {"low": 5, "high": 20, "step": 5},
            "weight_decay": [0, 0.1],
        },
        {},
        "s.toml: [space]",
    )
    assert space == {
        "width": Choices((64, 128)),
        "learning_rate": Numbers(1e-4, 1.0, log=True),
        "dropout": Numbers(0.0, 0.5, step=0.1),
        "history": Numbers(5.0, 20.0, step=5.0, whole=True),
        "weight_decay": Choices((0.0, 0.1)),
    }


def test_none_leaves_an_optional_setting_out() -> None:
    assert read_space({"whiten": ["none", 64]}, {}, "") == {"whiten": Choices((None, 64))}
    assert read_space({"whiten": ["none", "full", 64]}, {}, "") == {"whiten": Choices((None, "full", 64))}
    assert read_space({"whiten": {"low": 8, "high": 64}}, {}, "") == {"whiten": Numbers(8.0, 64.0, whole=True)}
    assert read_space({"negatives": {"low": 1, "high": 9}}, {}, "") == {"negatives": Numbers(1.0, 9.0, whole=True)}


def test_the_studys_ranges() -> None:
    rates, widths = Choices((1e-3, 5e-4, 1e-4, 5e-5)), Choices((64, 128, 256, 512, 1024, 2048, 4096))
    assert read_space({"paper": True}, {"items": "id"}, "") == {"learning_rate": rates, "width": widths}
    assert read_space({"paper": True}, {}, "") == {"learning_rate": rates}
    assert read_space({"paper": True}, {"items": "id", "width": 64}, "") == {"learning_rate": rates}
    own = Choices((32,))
    assert read_space({"paper": True, "width": [32]}, {"items": "id"}, "") == {"width": own, "learning_rate": rates}


def test_combinations() -> None:
    space = {"width": Choices((8, 16)), "heads": Choices((1, 2))}
    assert [tuple(values.values()) for values in combinations(space)] == [(8, 1), (8, 2), (16, 1), (16, 2)]
    ends = {"width": Numbers(8.0, 16.0, whole=True), "dropout": Numbers(0.0, 0.5)}
    assert [tuple(values.values()) for values in combinations(ends, ends=True)] == [
        (8, 0.0),
        (8, 0.5),
        (16, 0.0),
        (16, 0.5),
    ]
    with pytest.raises(ValueError, match="no list of values"):
        combinations(ends)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "expected settings to search, found none"),
        ({"paper": False}, "expected settings to search, found none"),
        ({"paper": 1}, "paper: expected true or false, found 1"),
        ({"monitor": ["hr@10", "ndcg@10"]}, r"monitor: expected it in \[train\], since all trials are compared"),
        ({"paper": True, "items": ["id"]}, r"expected items in \[train\]"),
        ({"widht": [1]}, r"s.toml: \[space\]: unknown setting widht; did you mean width\?"),
        ({"width": 64}, r"\[space\] width: expected a list of values, or a table"),
        ({"width": []}, "expected a list of values, or a table"),
        ({"width": [64, "128"]}, "width: expected a whole number, found '128'"),
        ({"width": [64, 64]}, "expected different values, found 64 twice"),
        ({"width": [0, 64]}, "width: expected at least 1, found 0"),
        ({"width": ["none"]}, "expected a whole number, found 'none'"),
        ({"width": {"low": 1.5, "high": 4}}, "expected whole numbers"),
        ({"width": {"low": 0, "high": 4}}, "width: expected at least 1"),
        ({"width": {"low": 64, "high": 64}}, "expected low to be below high"),
        ({"width": {"low": 64}}, "expected low to be below high"),
        ({"width": {"low": 64, "hihg": 128}}, r"\[space\] width: unknown setting hihg; did you mean high\?"),
        ({"dropout": {"low": 0, "high": 0.5, "log": True}}, "expected a low above 0"),
        ({"width": {"low": 1, "high": 9, "log": True, "step": 2}}, "no step with log"),
        ({"dropout": {"low": 0, "high": 0.5, "step": 0.2}}, "expected a step that divides"),
        ({"dropout": {"low": 0, "high": 0.5, "step": -0.1}}, "expected a step that divides"),
        ({"loss": {"low": 0, "high": 1}}, "since this is not a number, found a range"),
        ({"compile": {"low": 0, "high": 1}}, "since this is not a number, found a range"),
        ({"seed": [1]}, r"seed: expected a setting that is not in \[train\], found it in both"),
    ],
)
def test_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_space(values, {"seed": 3}, "s.toml: [space]")
