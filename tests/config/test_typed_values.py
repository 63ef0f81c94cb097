"""Every field of every settings class refuses what is not of its type, and takes what also works."""

import dataclasses
import math
import types
import typing
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tcf.common.errors import ConfigError
from tcf.config.combine import CombineConfig
from tcf.config.evaluate import EvaluateConfig
from tcf.config.extract import ExtractConfig
from tcf.config.fields import CheckedSettings, from_mapping, option_name, read_toml
from tcf.config.launch import LaunchConfig
from tcf.config.prepare import PrepareConfig
from tcf.config.train import TrainConfig
from tcf.launch.search.search_file import SearchConfig

KINDS: tuple[Any, ...] = (
    PrepareConfig,
    ExtractConfig,
    TrainConfig,
    CombineConfig,
    EvaluateConfig,
    LaunchConfig,
    SearchConfig,
)
FIELDS = [(kind, entry) for kind in KINDS for entry in dataclasses.fields(kind)]
by_field = pytest.mark.parametrize(
    ("kind", "entry"), FIELDS, ids=[f"{kind.__name__}.{entry.name}" for kind, entry in FIELDS]
)
ANYTHING = st.one_of(
    st.text(max_size=5),
    st.integers(),
    st.floats(),
    st.booleans(),
    st.binary(max_size=3),
    st.none(),
    st.lists(st.one_of(st.integers(), st.text(max_size=3), st.booleans()), max_size=3),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=2),
    st.builds(object),
)


def has_type(value: Any, hint: Any) -> bool:
    """Whether a value is, without any conversion, what an annotation says."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return any(has_type(value, argument) for argument in arguments)
    if origin is Literal:
        return type(value) is str and value in arguments
    if origin is tuple:
        return type(value) is tuple and all(type(entry) is arguments[0] for entry in value)
    return type(value) is hint


def test_all_settings_classes_are_looked_at() -> None:
    assert set(CheckedSettings.__subclasses__()) == set(KINDS)


@given(st.data())
def test_whatever_is_given_a_setting_has_its_type_or_is_refused(data: st.DataObject) -> None:
    kind, entry = data.draw(st.sampled_from(FIELDS))
    value = data.draw(ANYTHING)
    try:
        found = getattr(kind(**{entry.name: value}), entry.name)
    except ConfigError as error:
        assert "\n" not in str(error)
    else:
        assert has_type(found, entry.type)
        assert found == expected_of(value, entry.type)


def expected_of(value: Any, hint: Any) -> Any:
    """What a value that works becomes: a list a tuple, and a string where a list is expected a list of one."""
    if isinstance(value, str) and get_origin(hint) is tuple:
        return (value,)
    return tuple(value) if isinstance(value, list) else value


@by_field
def test_a_value_of_another_kind_is_refused_by_its_name(kind: Any, entry: "dataclasses.Field[Any]") -> None:
    with pytest.raises(ConfigError, match=rf"^{option_name(entry.name)}: expected .*, found something else$"):
        kind(**{entry.name: object()})


@by_field
def test_a_bool_is_no_number_and_a_number_no_bool(kind: Any, entry: "dataclasses.Field[Any]") -> None:
    wrong: Any = 1 if entry.type is bool else True
    with pytest.raises(ConfigError, match=rf"^{option_name(entry.name)}: expected .*, found {str(wrong).lower()}$"):
        kind(**{entry.name: wrong})


CHOICES = [(kind, entry) for kind, entry in FIELDS if get_origin(entry.type) is Literal]


@given(st.sampled_from(CHOICES), st.text(max_size=5))  # longer ones may be shown in part
def test_an_unknown_choice_is_refused_with_the_known_ones(choice: Any, word: str) -> None:
    kind, entry = choice
    known = get_args(entry.type)
    assume(word not in known)
    with pytest.raises(ConfigError) as caught:
        kind(**{entry.name: word})
    message = f"{option_name(entry.name)}: expected one of {', '.join(known)}, found {word!r}"
    assert str(caught.value).startswith(message)


def test_a_choice_that_is_nearly_right_is_named() -> None:
    with pytest.raises(ConfigError) as caught:
        TrainConfig(backbone="sasrek")  # type: ignore[arg-type]
    assert str(caught.value) == "--backbone: expected one of sasrec, dssm, found 'sasrek'; did you mean sasrec?"


def test_what_also_works_becomes_the_type_of_the_setting() -> None:
    numbers: Any = {"dropout": 0, "width": np.int64(8), "learning_rate": np.float32(0.5), "whiten": np.int32(3)}
    config = TrainConfig(**numbers)
    found = (config.dropout, config.width, config.learning_rate, config.whiten)
    assert found == (0.0, 8, 0.5, 3)
    assert [type(value) for value in found] == [float, int, float, int]
    layers: Any = [0, np.int64(-1)]
    assert ExtractConfig(layers=layers).layers == ExtractConfig(layers=np.array(layers)).layers == (0, -1)  # type: ignore[arg-type]
    events: Any = Path("log") / "events.csv"
    assert PrepareConfig(events=events).events == ("log/events.csv",)
    assert hash(ExtractConfig(layers=layers)) == hash(ExtractConfig(layers=(0, -1)))


STRINGS = [(kind, entry) for kind, entry in FIELDS if entry.type == tuple[str, ...]]


@pytest.mark.parametrize(("kind", "entry"), STRINGS, ids=[entry.name for _, entry in STRINGS])
def test_a_string_is_a_list_of_one(kind: Any, entry: "dataclasses.Field[Any]", tmp_path: Path) -> None:
    """Such as `events = "log.csv"` in TOML."""
    (tmp_path / "c.toml").write_text(f'{entry.name} = "one=two, three"\n')
    found = from_mapping(kind, read_toml(tmp_path / "c.toml"), "c.toml")
    assert getattr(found, entry.name) == ("one=two, three",)
    assert found == kind(**{entry.name: ["one=two, three"]}) == kind(**{entry.name: "one=two, three"})


def test_a_number_beyond_all_floats_is_refused() -> None:
    with pytest.raises(ConfigError, match="--weight-decay: expected a finite number, found inf"):
        TrainConfig(weight_decay=10**400)
    with pytest.raises(ConfigError, match="--weight-decay: expected a finite number, found inf"):
        TrainConfig(weight_decay=math.inf)


@pytest.mark.parametrize("kind", KINDS)
def test_settings_are_shown_as_the_code_that_makes_them(kind: Any) -> None:
    assert repr(kind()) == f"{kind.__name__}()"
    config = TrainConfig(backbone="dssm", epochs=3, pca=8, dropout=0.5)
    assert repr(config) == "TrainConfig(backbone='dssm', dropout=0.5, pca=8, epochs=3)"
    assert eval(repr(config)) == config
