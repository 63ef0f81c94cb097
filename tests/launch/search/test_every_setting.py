"""Every setting of a training can be searched, beside all others: what nothing reads in a trial is left out of it."""

import dataclasses
import typing
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from small.launch.searches import change, workplace
from tcf.common.errors import ConfigError
from tcf.common.random_streams import RandomStream, generator
from tcf.config.train import TrainConfig
from tcf.launch.search.search_file import SearchFile, read_search
from tcf.launch.search.space import Choices
from tcf.launch.search.study import open_study, suggest

# Where a training runs, how it is told, and what all trials share.
NOT_SEARCHED = {"devices", "save_minutes", "verify", "monitor", "refit"}
NUMBERS: dict[str, list[Any]] = {
    "whiten": [16, "full"],
    "whiten_groups": [1, 2],
    "batch_size": [16, 64],
    "heads": [1, 2],
    "width": [32, 64],
}


def values_of(entry: "dataclasses.Field[Any]") -> list[Any]:
    """Some values of a setting, as a search file lists them: every word, and of numbers the default and another."""
    hint: Any = typing.get_type_hints(TrainConfig)[entry.name]
    parts: list[Any] = [*typing.get_args(hint)] or [hint]
    literals: list[Any] = [part for part in [hint, *parts] if typing.get_origin(part) is typing.Literal]
    words = [word for literal in literals for word in typing.get_args(literal)]
    none = ["none"] if type(None) in parts else []
    if bool in parts:
        return [False, True]
    if entry.name in NUMBERS:
        return [*none, *NUMBERS[entry.name]]
    if not {int, float} & {*parts}:
        return words
    default: Any = entry.default if entry.default is not None else entry.metadata["minimum"] or 0
    return [*none, *([] if none else [default]), type(default)(default + 1) if int in parts else default / 2 + 0.25]


def searched() -> dict[str, list[Any]]:
    return {one.name: values_of(one) for one in dataclasses.fields(TrainConfig) if one.name not in NOT_SEARCHED}


def file_of(folder: Path, caches: str, space: dict[str, list[Any]]) -> SearchFile:
    lines = [f"{key} = {_toml(values)}" for key, values in space.items()]
    file = workplace(folder)
    text = file.read_text().partition("[train]")[0].replace("[search]", f"cache = {caches}\n[search]")
    file.write_text("\n".join([text, "[space]", *lines]) + "\n")
    return read_search(file)


def _toml(values: list[Any]) -> str:
    shown = (str(value).lower() if isinstance(value, bool) else repr(value).replace("'", '"') for value in values)
    return f"[{', '.join(shown)}]"


def test_every_value_of_every_setting_is_drawn_and_read_by_some_trial(tmp_path: Path) -> None:
    every = searched()
    # Ids start from one cache, and several are mixed.
    one = {key: values for key, values in every.items() if key != "mix"}
    several = {**every, "id_init": ["random", "zero"]}
    draw = generator(RandomStream.TRIAL_PARAMETER, 0)
    read = defaultdict[str, set[Any]](set)
    for search in (file_of(tmp_path, '"a"', one), file_of(tmp_path, '["a", "b"]', several)):
        spans = {key: span.values for key, span in search.space.items() if isinstance(span, Choices)}
        assert spans.keys() == search.space.keys()
        for _ in range(200):
            params = {key: values[draw.integers(len(values))] for key, values in spans.items()}
            try:
                config = search.settings(params)
            except ConfigError:
                continue  # it contradicts itself: whitened and projected, say
            for key in search.read(params):
                read[key].add(params[key])
                assert getattr(config, key) == params[key]
    assert read == {key: {None if value == "none" else value for value in values} for key, values in every.items()}


def test_values_of_several_kinds_in_one_list_are_kept_by_the_journal(tmp_path: Path) -> None:
    file = workplace(tmp_path)
    search = change(file, ('items = "id"', 'items = "text"'), ("[search]", 'cache = "a"\n[search]'),
                    ("width = [8, 16]", 'whiten = ["none", 8, "full"]'))  # fmt: skip
    assert search.space["whiten"] == Choices((None, 8, "full"))
    search.out.mkdir()
    study = open_study(search, {})
    drawn = [suggest(study.ask(), search.space)["whiten"] for _ in range(9)]
    assert {*drawn} == {None, 8, "full"}
    again = open_study(search, {})
    assert [trial.params["whiten"] for trial in again.get_trials()] == drawn
    assert [search.settings({"whiten": value}).whiten for value in drawn] == drawn


def test_what_a_trial_does_not_read_is_left_out_of_it(tmp_path: Path) -> None:
    search = change(workplace(tmp_path), ('items = "id"\n', ""), ("[search]", 'cache = "a"\n[search]'),
                    ("width = [8, 16]", 'items = ["text", "id"]\nwhiten = [8]\nwhiten_epsilon = [0.2]'))  # fmt: skip
    params = {"learning_rate": 0.5, "items": "id", "whiten": 8, "whiten_epsilon": 0.2}
    assert search.read(params) == {"learning_rate": 0.5, "items": "id"}
    assert search.settings(params) == TrainConfig(items="id", learning_rate=0.5, epochs=4, devices="cpu")
    assert search.settings({**params, "items": "text"}).whiten_epsilon == 0.2


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "width = [8, 16]",
            'whiten = ["none", 8]',
            r"\[space\] whiten: expected a setting that a trial reads, found one",
        ),
        ("epochs = 4", "epochs = 4\nwhiten = 8", r"\[train\] whiten: expected a setting that a trial reads, found one"),
        ("width = [8, 16]", 'mix = ["concat", "weights"]', r"\[space\] mix: expected a setting that a trial reads"),
    ],
)
def test_what_no_trial_reads_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        change(workplace(tmp_path), (old, new))
    # Which the default, spelled out, is not.
    assert change(workplace(tmp_path, "other"), ("epochs = 4", "epochs = 4\nmlp_layers = 0")).fixed["mlp_layers"] == 0
