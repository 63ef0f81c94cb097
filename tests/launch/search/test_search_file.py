"""What a search file may say, and what is refused."""

from pathlib import Path

import pytest

from small.launch.searches import change, workplace
from tcf.commands.options import inputs_of
from tcf.common.errors import ConfigError
from tcf.config.train import TrainConfig
from tcf.launch.search.results import TrialRow, write_results
from tcf.launch.search.search_file import SearchConfig, read_search
from tcf.launch.search.space import Choices, Numbers
from tcf.ranking.metrics import VALIDATION_METRICS


def test_what_a_file_says(tmp_path: Path) -> None:
    search = read_search(workplace(tmp_path))
    assert (search.out, search.data, search.caches) == (tmp_path / "search", tmp_path / "data", ())
    assert search.config == SearchConfig(trials=7, random_trials=3, pruning_trials=2, pruning_epochs=1)
    assert search.fixed == {"items": "id", "epochs": 4, "devices": "cpu"}
    assert search.space == {"learning_rate": Numbers(1e-4, 1e-1, log=True), "width": Choices((8, 16))}
    expected = TrainConfig(items="id", epochs=4, devices="cpu", width=8, learning_rate=0.5, patience=None)
    assert search.settings({"width": 8, "learning_rate": 0.5, "patience": None}) == expected


def test_the_example_is_valid() -> None:
    search = read_search(Path(__file__).parents[3] / "examples" / "search.toml")
    assert search.config == SearchConfig(trials=20)
    assert search.n_trials == 20


def test_one_cache_or_several(tmp_path: Path) -> None:
    file = workplace(tmp_path)
    search = change(file, ("[search]\n", 'cache = "a"\n[search]\n'), ('items = "id"', 'items = "text"'))
    assert search.caches == (Path("a"),)
    assert search.caches_for(TrainConfig(items="id")) == ()
    search = change(file, ('"a"', '["a", "b"]'))
    assert search.caches == search.caches_for(TrainConfig()) == (Path("a"), Path("b"))


def test_ids_that_start_from_texts_read_the_cache(tmp_path: Path) -> None:
    """The others of the search do not; and the best settings say which cache it was."""
    file = workplace(tmp_path)
    cache = ("[search]", f'cache = "{tmp_path}/cache"\n[search]')
    search = change(file, cache, ("width = [8, 16]", 'width = [8]\nid_init = ["random", "text"]'))
    for start, read in (("text", (tmp_path / "cache",)), ("random", ())):
        params = {"id_init": start, "width": 8, "learning_rate": 0.1}
        assert search.caches_for(search.settings(params)) == read
        search.out.mkdir(exist_ok=True)
        metrics = {metric.name: 0.5 for metric in VALIDATION_METRICS}
        write_results(search, [TrialRow(0, "trained", 0.5, metrics, params, None, "")])
        found = inputs_of(search.out / "best.toml")
        assert (found.caches, found.init_from is not None) == ((), bool(read))
    with pytest.raises(ConfigError, match="expected one cache for ids to start from, found .*, b; keep one"):
        change(file, (f'"{tmp_path}/cache"', f'["{tmp_path}/cache", "b"]'))


def test_a_grid_ends_with_its_combinations(tmp_path: Path) -> None:
    file = workplace(tmp_path)
    pairs = (("{low = 1e-4, high = 1e-1, log = true}", "[0.1, 0.2]"), ("trials = 7", 'trials = 7\nsampler = "grid"'))
    assert change(file, *pairs).n_trials == 4
    assert change(file, ("trials = 7", "trials = 3")).n_trials == 3


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("out =", "elsewhere =", r"search.toml: unknown entry elsewhere \(known: out, data, cache, \[search\]"),
        ("data =", "cache =", 'expected data = "FOLDER" above the tables'),
        ("[train]", "[trian]", r"unknown entry trian; did you mean train\?$"),
        ("[search]", "cache = 3\n[search]", "cache: expected a list of strings"),
        ("trials = 7", "trails = 7", r"\[search\]: unknown setting trails; did you mean trials\?"),
        ("trials = 7", "trials = 0", r"\[search\]: trials: expected at least 1, found 0"),
        ("trials = 7", 'pruning = "mean"', "expected one of median, none"),
        ("epochs = 4", "epoch = 4", r"\[train\]: unknown setting epoch; did you mean epochs\?"),
        ("epochs = 4", "epochs = 4.5", r"\[train\]: epochs: expected a whole number"),
        ("epochs = 4", "epochs = 0", ": epochs: expected at least 1, found 0"),
        ("epochs = 4", "width = 8", "width: expected a setting that"),
        (
            "epochs = 4",
            "refit = true",
            r"\[train\] refit: expected no such setting, since .*; remove it, and add --refit",
        ),
        ("width = [8, 16]", "refit = [true, false]", r"\[space\] refit: expected no such setting"),
        ('items = "id"', 'items = "text"', 'expected cache = "FOLDER" for items as text, found none'),
        ("[search]", 'cache = "a"\n[search]', "expected no cache, because ids need none, found a"),
        ("epochs = 4", 'id_init = "text"', 'expected cache = "FOLDER" for ids to start from, found none'),
        ("width = [8, 16]", 'id_init = ["random", "text"]', 'expected cache = "FOLDER" for ids to start from'),
        ("[8, 16]", "[9, 15]", r"a trial: width: expected a multiple of heads 2, found 9"),
        ('"cpu"', '"cpu,cpu"', "expected one device for each trial, found 'cpu,cpu'"),
        ("trials = 7", 'devices = ["cuda:0,cuda:1"]', "expected one device for each trial"),
        ("trials = 7", 'sampler = "grid"', "learning_rate: expected a list of values for a grid, found a range"),
    ],
)
def test_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        change(workplace(tmp_path), (old, new))


def test_a_grid_too_large_is_refused(tmp_path: Path) -> None:
    many = str([number / 1000 for number in range(1, 400)])
    pairs = (("{low = 1e-4, high = 1e-1, log = true}", many), ("[8, 16]", f"[8, 16]\nweight_decay = {many}"))
    with pytest.raises(ConfigError, match="expected at most 100000 combinations"):
        change(workplace(tmp_path), *pairs, ("trials = 7", 'sampler = "grid"'))
    assert change(tmp_path / "search.toml", ('sampler = "grid"', "")).n_trials == SearchConfig.trials


def test_only_some_combinations_need_to_be_trainable(tmp_path: Path) -> None:
    search = change(workplace(tmp_path), ("[8, 16]", "[9, 16]"))
    with pytest.raises(ConfigError, match="multiple of heads"):
        search.settings({"width": 9})
