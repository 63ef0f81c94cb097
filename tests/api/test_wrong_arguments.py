"""Arguments of the wrong type: every public function and method says which one is wrong, and what it is."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tcf
from small.manifests import reseal
from small.train.runs import csr, make_cache, make_dataset
from tcf.data.histories import Histories
from tcf.data.split import Split, held_out, leave_one_out
from tcf.data.tables.bad_rows import BadRows
from tcf.train.run.open_run import Run

HISTORIES = [[0, 1, 2], [2, 1, 0]]
NO_PATHS: tuple[Any, ...] = (3, 2.5, b"x", object(), {"a": 1}, True, np.arange(3), np.float32(1), "")
NO_NUMBERS: tuple[Any, ...] = ("3", 2.5, b"x", object(), [3], np.arange(3), True, None, 0, float("nan"))
NO_CHOICES: tuple[Any, ...] = ("nope", "", 3, None, b"tcf", ["tcf"], np.arange(3))
NO_SETTINGS: tuple[Any, ...] = ({}, None, "config", tcf.TcfError)
NO_FLAGS: tuple[Any, ...] = ("no", 1, None, [])
Wrong = tuple[Callable[..., Any], dict[str, Any], str, tuple[Any, ...]]

WRONG: list[Wrong] = [
    (tcf.download_dataset, {}, "name", (3, b"ml-100k", None, ["ml-100k"], np.arange(3))),
    (tcf.download_dataset, {"name": "ml-100k"}, "accept_licence", NO_FLAGS),
    (tcf.prepare_dataset, {"raw": "r", "out": "o"}, "format", NO_CHOICES),
    (tcf.prepare_dataset, {"format": "tcf", "out": "o"}, "raw", NO_PATHS),
    (tcf.prepare_dataset, {"format": "tcf", "raw": "r"}, "out", NO_PATHS),
    (tcf.prepare_dataset, {"format": "tcf", "raw": "r", "out": "o"}, "config", NO_SETTINGS),
    (tcf.open_dataset, {}, "path", NO_PATHS),
    (tcf.open_cache, {}, "path", NO_PATHS),
    (tcf.open_run, {}, "path", NO_PATHS),
    (tcf.open_dataset, {"path": "d"}, "verify", NO_CHOICES),
    (tcf.open_cache, {"path": "c"}, "verify", NO_CHOICES),
    (tcf.open_run, {"path": "r"}, "verify", NO_CHOICES),
    (tcf.open_evaluation, {"path": "e"}, "verify", NO_CHOICES),
    (tcf.recommend_items, {"run": "r"}, "verify", NO_CHOICES),
    (tcf.open_run, {"path": "r"}, "data", NO_PATHS),
    (tcf.open_run, {"path": "r"}, "caches", (*NO_PATHS, [3], ["c", None], {"c"})),
    (tcf.open_evaluation, {}, "path", NO_PATHS),
    (tcf.extract_vectors, {"model": "m", "out": "o"}, "data", NO_PATHS),
    (tcf.extract_vectors, {"data": "d", "out": "o"}, "model", NO_PATHS),
    (tcf.extract_vectors, {"data": "d", "model": "m"}, "out", NO_PATHS),
    (tcf.extract_vectors, {"data": "d", "model": "m", "out": "o"}, "config", NO_SETTINGS),
    (tcf.plan_extraction, {"items": 3}, "model", NO_PATHS),
    (tcf.plan_extraction, {"model": "m"}, "data", NO_PATHS),
    (tcf.plan_extraction, {"model": "m"}, "items", tuple(value for value in NO_NUMBERS if value is not None)),
    (
        tcf.plan_extraction,
        {"model": "m", "items": 3},
        "tokens_per_text",
        tuple(value for value in NO_NUMBERS if value is not None),
    ),
    (tcf.plan_extraction, {"model": "m", "items": 3}, "out", NO_PATHS),
    (tcf.plan_extraction, {"model": "m", "items": 3}, "config", NO_SETTINGS),
    (tcf.train_recommender, {"out": "o"}, "data", NO_PATHS),
    (tcf.train_recommender, {"data": "d", "out": "o"}, "caches", (*NO_PATHS, [3])),
    (tcf.train_recommender, {"data": "d"}, "out", NO_PATHS),
    (tcf.train_recommender, {"data": "d", "out": "o"}, "config", NO_SETTINGS),
    (tcf.train_recommender, {"data": "d", "out": "o", "config": tcf.TrainConfig(items="id")}, "init_from", NO_PATHS),
    (tcf.combine_runs, {"out": "o"}, "runs", (*NO_PATHS, [3], {"a": None})),
    (tcf.combine_runs, {"runs": "r"}, "out", NO_PATHS),
    (tcf.combine_runs, {"runs": "r", "out": "o"}, "config", NO_SETTINGS),
    (tcf.combine_runs, {"runs": "r", "out": "o"}, "baselines", ("nope", 3, None, [3], ["random"], {"popularity"})),
    (tcf.combine_runs, {"runs": "r", "out": "o"}, "data", NO_PATHS),
    (tcf.combine_runs, {"runs": "r", "out": "o"}, "caches", (*NO_PATHS, [3])),
    (tcf.open_combination, {}, "path", NO_PATHS),
    (tcf.open_combination, {"path": "c"}, "runs", (3, "r", ["r"], True, {"a": 3})),
    (tcf.open_combination, {"path": "c"}, "data", NO_PATHS),
    (tcf.open_combination, {"path": "c"}, "caches", (*NO_PATHS, [3])),
    (tcf.open_combination, {"path": "c"}, "device", (3, None, True, ["cpu"])),
    (tcf.open_combination, {"path": "c"}, "verify", NO_CHOICES),
    (tcf.evaluate_run, {"out": "o"}, "run", NO_PATHS),
    (tcf.evaluate_run, {"run": "r"}, "out", NO_PATHS),
    (tcf.evaluate_run, {"run": "r", "out": "o"}, "data", NO_PATHS),
    (tcf.evaluate_run, {"run": "r", "out": "o"}, "caches", (*NO_PATHS, [3])),
    (tcf.evaluate_run, {"run": "r", "out": "o"}, "config", NO_SETTINGS),
    (tcf.evaluate_run, {"run": "r", "out": "o"}, "vectors", NO_PATHS),
    (tcf.evaluate_baseline, {"data": "d", "out": "o"}, "name", NO_CHOICES),
    (tcf.evaluate_baseline, {"name": "random", "out": "o"}, "data", NO_PATHS),
    (tcf.evaluate_baseline, {"name": "random", "data": "d"}, "out", NO_PATHS),
    (tcf.evaluate_baseline, {"name": "random", "data": "d", "out": "o"}, "config", NO_SETTINGS),
    (tcf.evaluate_baseline, {"name": "random", "data": "d", "out": "o"}, "seed", ("3", 2.5, [3], True, None, -1)),
    (tcf.evaluate_baseline, {"name": "random", "data": "d", "out": "o"}, "vectors", NO_PATHS),
    (tcf.evaluate_runs, {"out": "o"}, "runs", (*NO_PATHS, [3])),
    (tcf.evaluate_runs, {"runs": "r", "out": "o"}, "vectors", NO_PATHS),
    (tcf.evaluate_runs, {"runs": "r"}, "out", NO_PATHS),
    (tcf.evaluate_runs, {"runs": "r", "out": "o"}, "config", NO_SETTINGS),
    (tcf.evaluate_runs, {"runs": "r", "out": "o"}, "baselines", ("nope", 3, None, [3], ["nope"], {"random"})),
    (tcf.evaluate_runs, {"runs": "r", "out": "o"}, "data", NO_PATHS),
    (tcf.evaluate_runs, {"runs": "r", "out": "o"}, "caches", (*NO_PATHS, [3])),
    (tcf.evaluate_runs, {"runs": "r", "out": "o"}, "seed", ("3", 2.5, [3], True, None, -1)),
    (tcf.evaluate_runs, {"runs": "r", "out": "o"}, "workers", NO_NUMBERS),
    (tcf.evaluate_runs, {"runs": "r", "out": "o"}, "devices", (3, None, True, ["cpu"])),
    (tcf.evaluation_table, {}, "evaluations", (3, None, True, [3], {"a": 3}, np.arange(3), object())),
    (tcf.compare_evaluations, {}, "evaluations", (3, None, True, [3], {"a": 3}, np.arange(3), object(), [], {})),
    (tcf.compare_evaluations, {"evaluations": ["e"]}, "metrics", (3, None, True, [3], "hr", ["hr@0"], ["coverage@5"])),
    (tcf.compare_evaluations, {"evaluations": ["e"]}, "by", (3, None, True, [3], "hot", ["cold", "warm:0"])),
    (tcf.compare_evaluations, {"evaluations": ["e"]}, "resamples", (*NO_NUMBERS, None)),
    (tcf.compare_evaluations, {"evaluations": ["e"]}, "flips", (*NO_NUMBERS, None)),
    (tcf.compare_evaluations, {"evaluations": ["e"]}, "seed", ("3", 2.5, [3], True, None, -1)),
    (tcf.compare_evaluations, {"evaluations": ["e"]}, "confidence", ("3", [3], True, None, 0.0, 1, 1.5, np.nan)),
    (tcf.recommend_items, {}, "run", NO_PATHS),
    (tcf.recommend_items, {"run": "r"}, "k", NO_NUMBERS),
    (tcf.recommend_items, {"run": "r"}, "users", (3, True, object(), [3], b"u", np.arange(3))),
    (tcf.recommend_items, {"run": "r"}, "out", NO_PATHS),
    (tcf.recommend_items, {"run": "r"}, "catalogue", tuple(value for value in NO_CHOICES if value is not None)),
    (tcf.recommend_items, {"run": "r"}, "untrained_users", NO_CHOICES),
    (tcf.recommend_items, {"run": "r"}, "search", NO_CHOICES),
    (tcf.recommend_items, {"run": "r"}, "shares", (3, None, "yes", object())),
    (tcf.recommend_items, {"run": "r"}, "data", NO_PATHS),
    (tcf.recommend_items, {"run": "r"}, "caches", (*NO_PATHS, [3])),
    (tcf.run_pipeline, {}, "file", NO_PATHS),
    (tcf.run_study, {}, "file", NO_PATHS),
    (tcf.run_study, {"file": "f"}, "settings", (3, True, object(), [3], b"u")),
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[tcf.Dataset, tcf.VectorCache]:
    folder = tmp_path_factory.mktemp("made")
    dataset = make_dataset(folder, HISTORIES, ["a", "b", "c"])
    return dataset, make_cache(folder, dataset, np.eye(3, dtype=np.float32))


@pytest.mark.parametrize(
    ("function", "right", "name", "wrong"), WRONG, ids=[f"{function.__name__}-{name}" for function, _, name, _ in WRONG]
)
def test_functions(function: Callable[..., Any], right: dict[str, Any], name: str, wrong: tuple[Any, ...]) -> None:
    for value in wrong:
        with pytest.raises(tcf.TcfError) as raised:
            function(**right, **{name: value})
        assert str(raised.value).startswith(name), (value, raised.value)
        assert ": expected " in str(raised.value)


def every_function() -> Iterator[str]:
    return (name for name in tcf.__all__ if name.islower() and not name.startswith("_"))


def test_every_argument_of_every_function_is_tried() -> None:
    import inspect

    tried = {(function.__name__, name) for function, _, name, _ in WRONG}
    known = {(name, given) for name in every_function() for given in inspect.signature(getattr(tcf, name)).parameters}
    assert known - tried == {("open_run", "device"), ("recommend_items", "device")}  # checked where the run is opened


def test_methods_of_datasets_and_caches(made: tuple[tcf.Dataset, tcf.VectorCache]) -> None:
    dataset, cache = made
    for wrong in NO_CHOICES:
        with pytest.raises(tcf.ConfigError, match="^table: expected one of items, interactions, found "):
            dataset.to_pandas(wrong)
    no_datasets: tuple[Any, ...] = (3, [dataset], {"a": 1}, np.arange(3))
    for value in no_datasets:
        for method in (cache.vectors_for, cache.rows_for, cache.to_pandas):
            with pytest.raises(tcf.ConfigError, match="^dataset: expected a dataset or its directory, found "):
                method(value)
    no_rows: tuple[Any, ...] = (3, None, "01", ["x", 3], {"a": 1}, np.array([0.0, 1.0]), np.zeros((1, 1), np.int64))
    for value in no_rows:
        for rows in (cache.gather, cache.arrays, cache.row_bytes):
            with pytest.raises(
                tcf.ConfigError, match="^rows: expected an array of whole numbers with one axis, found "
            ):
                rows(value)


def test_paths_and_lists_stand_for_datasets_and_arrays(made: tuple[tcf.Dataset, tcf.VectorCache]) -> None:
    dataset, cache = made
    for place in (dataset.path, str(dataset.path)):
        np.testing.assert_array_equal(cache.vectors_for(place), cache.vectors_for(dataset))
        assert cache.to_pandas(place).index.tolist() == dataset.item_ids.to_pylist()
    np.testing.assert_array_equal(cache.gather([2, 0]), cache.gather(np.array([2, 0])))  # type: ignore[arg-type]
    assert cache.gather([]).shape == (0, 3)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [Run, tcf.CombinedRun])
def test_user_states_of_other_types(kind: type[Any]) -> None:
    run = object.__new__(kind)
    two: Any = csr(HISTORIES)
    for users, histories, message in (
        (np.arange(2), HISTORIES, "histories: expected those of a dataset, found list"),
        (["u0", "u1"], two, "users: expected an array of whole numbers with one axis, found list"),
        (np.arange(3), two, "users: expected one for each of 2 histories, found 3"),
    ):
        with pytest.raises(tcf.ConfigError, match=message):
            run.user_states(users, histories)


@pytest.mark.parametrize(
    ("offsets", "items", "message"),
    [
        (
            np.array([0, 2], np.int64),
            np.array([0, 1]),
            "items as an array of int32 .*, found int64 of shape 2; convert",
        ),
        (
            np.array([0, 2], np.int32),
            np.array([0, 1], np.int32),
            r"offsets as an array of int64 .*, found int32 of shape",
        ),
        ([0, 2], np.array([0, 1], np.int32), r"found list; convert whole numbers with np.asarray\(offsets, np.int64\)"),
        (np.array([0, 2]), [0, 1], r"found list; convert whole numbers with np.asarray\(items, np.int32\)"),
        (np.array([0, 2]), np.array([0.0, 1.0]), "found float64 of shape 2"),
        (np.array([[0, 2]]), np.array([0, 1], np.int32), "found int64 of shape 1 x 2"),
        (
            np.array([0, 3]),
            np.array([0, 1], np.int32),
            "offsets rising from 0 to 2, the number of items, found from 0 to 3",
        ),
        (np.array([0, 3, 2]), np.array([0, 1], np.int32), "found from 0 to 2, falling in between"),
        (np.zeros(0, np.int64), np.zeros(0, np.int32), "found none"),
    ],
)
def test_histories(offsets: Any, items: Any, message: str) -> None:
    with pytest.raises(tcf.DataError, match=f"^histories: expected .*{message}") as raised:
        Histories(offsets, items)
    assert "dataset" not in str(raised.value)  # there may be none


def test_a_dataset_with_histories_of_another_type_is_to_be_prepared_again(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, HISTORIES, ["a", "b", "c"])
    np.save(dataset.path / "history_items.npy", dataset.histories.items.astype(np.int64))
    reseal(dataset.path)
    with pytest.raises(
        tcf.DataError, match="histories: expected items .* int64 of shape 6; .*; prepare .* again with `tcf"
    ):
        tcf.open_dataset(dataset.path)


def test_a_split_of_other_types_and_a_part_that_is_none() -> None:
    histories, two = csr(HISTORIES), np.zeros(2, np.int32)
    for numbers, found in (([0, 0], "list"), (two.astype(np.int64), "int64 of shape 2"), (two[:1], "int32 of shape 1")):
        wrong: Any = numbers
        with pytest.raises(tcf.DataError, match=f"^split: expected int32 numbers of training items for 2 .*{found}$"):
            Split(histories, two, wrong, two, two)
    part: Any = "val"
    for use in (leave_one_out(histories).target_positions, partial(held_out, leave_one_out(histories))):
        with pytest.raises(tcf.ConfigError, match="^part: expected one of test, validation, found 'val'"):
            use(part)


def test_a_mode_of_bad_rows_that_is_none() -> None:
    mode: Any = "skp"
    with pytest.raises(tcf.ConfigError, match="^bad_rows: expected one of error, skip, found 'skp'; did you mean skip"):
        BadRows(mode)
