"""Pipeline files, which are read into the same form as study files."""

import dataclasses
import re
from pathlib import Path

import pytest

import tcf
from small.launch.pipelines import FILE
from tcf.assets.models import MODEL_NAMES
from tcf.assets.resolve import DATASET_NAMES
from tcf.common.errors import ConfigError
from tcf.config.combine import CombineConfig
from tcf.config.evaluate import EvaluateConfig
from tcf.config.extract import ExtractConfig
from tcf.config.launch import LaunchConfig
from tcf.config.prepare import PrepareConfig
from tcf.config.train import TrainConfig
from tcf.launch.study.study_file import StudyFile, read_study


def change(file: Path, old: str, new: str) -> StudyFile:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))
    return read_study(file)


def test_the_quickstart_says_what_its_comments_say() -> None:
    file = read_study(Path(tcf.__file__).parents[1] / "examples" / "quickstart.toml")
    [dataset], [encoder], [extraction] = file.datasets, file.encoders, file.extractions
    assert (file.out, file.is_pipeline) == (Path("quickstart"), True)
    assert (dataset.download, dataset.raw, dataset.format) == ("ml-100k", None, "recbole")
    # The numbers that it spells out here are the defaults, so that leaving them out changes nothing.
    assert dataset.prepare == PrepareConfig(text_columns=("movie_title",), min_rating=1)
    assert (encoder.model, encoder.config, extraction.config) == ("minilm", ExtractConfig(), ExtractConfig())
    assert encoder.model in MODEL_NAMES and dataset.download in DATASET_NAMES
    text, ids = file.settings
    assert (text.name, ids.name, text.seeds) == ("text", "id", (0, 1, 2))
    assert (text.config.items, dataclasses.replace(text.config, items="id")) == ("text", ids.config)  # a fair match
    assert text.config.width < TrainConfig().width
    assert (text.encoder, ids.encoder) == ("minilm", "")
    assert (file.baselines, file.recommend) == (("popularity", "random", "co-occurrence"), 10)
    assert file.evaluate == EvaluateConfig()
    [combined] = file.combinations
    assert (combined.name, combined.members, combined.baselines) == ("combined", ("text", "id"), ("co-occurrence",))
    assert (combined.seeds, combined.config) == ("each", CombineConfig())


def test_the_best_example_says_what_its_comments_say() -> None:
    file = read_study(Path(tcf.__file__).parents[1] / "examples" / "best.toml")
    text, ids = file.settings
    assert text.config == TrainConfig(whiten="full", whiten_epsilon=0.1) and ids.config == TrainConfig(items="id")
    assert (text.seeds, ids.seeds) == ((), ())
    [combined] = file.combinations
    assert (combined.members, combined.baselines) == (("text", "id"), ("co-occurrence",))
    assert (combined.seeds, combined.config) == ("each", CombineConfig())
    assert (file.recommend, file.extractions[0].config, file.is_pipeline) == (10, ExtractConfig(), True)
    assert file.evaluate == EvaluateConfig() and file.datasets[0].prepare == PrepareConfig()


def test_ids_that_start_from_texts_read_the_files_cache(tmp_path: Path) -> None:
    file = tmp_path / "p.toml"
    file.write_text(FILE.replace("FORMAT", "tcf"))
    _, ids = change(file, 'items = "id"', 'items = "id"\nid_init = "text"').settings
    assert (ids.encoder, ids.axes["encoder"], ids.axes["layer"]) == ("model", "model", -1)
    file.write_text(file.read_text().replace('items = "text"', 'items = "id"'))
    with pytest.raises(ConfigError, match=r"\[extract\] expected a model, since a run reads text, found none"):
        change(file, 'model = "model"', "")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[evaluate]", "[judge]", r"p\.toml: unknown entry judge \(known: out, seeds, data, extract, train, comb"),
        ("[evaluate]", "[evalute]", r"p\.toml: unknown entry evalute; did you mean evaluate\?$"),
        ('out = "out"', 'outs = "out"', r"p\.toml: unknown entry outs"),
        ('out = "out"', "out = 3", r"p\.toml: out: expected a string, found 3"),
        ('out = "out"', 'out = ""', r"p\.toml: out: expected a string, found ''"),
        ('raw = "raw"', "", r"p\.toml: \[data\] expected either download or raw, found neither"),
        ('raw = "raw"', 'raw = "raw"\ndownload = "x"', r"p\.toml: \[data\] expected either .*, found both"),
        ('raw = "raw"', "raw = true", r"p\.toml: \[data\] raw: expected a string, found true"),
        ('raw = "raw"', 'row = "raw"', r"p\.toml: \[data\] unknown setting row; did you mean raw\?$"),
        ('format = "tcf"', "", r"p\.toml: \[data\] format: expected one of tcf, .*, found nothing"),
        ('format = "tcf"', 'format = "csv"', r"p\.toml: \[data\] format: expected one of tcf, .*, found 'csv'"),
        ('format = "tcf"', 'format = ["tcf"]', r"p\.toml: \[data\] format: expected a string"),
        ('format = "tcf"', 'format = "tcf"\nmin_history = "5"', r"p\.toml: \[data\]: min_history: expected a whole"),
        ('format = "tcf"', 'format = "tcf"\nmin_history = 0', r"p\.toml: \[data\]: min_history: expected at least 1"),
        ('model = "model"', "", r"p\.toml: \[extract\] expected a model, since a run reads text, found none"),
        ('model = "model"', 'model = "model"\nlayers = [0, -1]', r"found layers 0, -1 and token_states nothing; keep"),
        ('model = "model"', 'model = "model"\ntoken_states = 0', r"\[extract\] expected .* found .*states 0; keep"),
        ('model = "model"', 'model = "model"\nlayers = 1', r"p\.toml: \[extract\]: layers: expected a list of whole"),
        ('model = "model"', "model = 3", r"p\.toml: \[extract\] model: expected a string, found 3"),
        ('model = "model"', 'modell = "model"', r"p\.toml: \[extract\] unknown setting modell; did you mean model\?"),
        ("[extract]", "[extract.x]", r"p\.toml: \[extract\] unknown setting x"),
        ("[train.text]", "[train.text]\nwidht = 3", r"p\.toml: \[train\.text\]: unknown setting widht; did you mean"),
        ("width = 8", "width = 7", r"p\.toml: \[train\.text\]: width: expected a multiple of heads 2, found 7"),
        ("[train.text]", "[train]\n", r"\[train\] expected one table for each run, such as \[train\.text\], found"),
        ("[train.text]", "[train.popularity]", r"p\.toml: \[train\.popularity\] expected a run name"),
        ("[train.text]", '[train."a/b"]', r"p\.toml: \[train\.a/b\] expected a run name"),
        ("[train.text]", '[train.".."]', r"p\.toml: \[train\.\.\.\] expected a run name"),
        ("[train.text]", '[train.""]', r"p\.toml: \[train\.\] expected a run name.*found ''"),
        ("[train.text]", '[train." "]', r"p\.toml: \[train\. \] expected a run name"),
        ("[train.text]", '[train."a\\u0000"]', r"found 'a\\x00'"),
        ("[train.text]", f"[train.{'a' * 101}]", r"expected a run name"),
        ('model = "model"', 'model = "model"\nshards = "0/2"', r"\[extract\] expected no shards, .*found '0/2'"),
        ("recommend = 4", "recommend = -1", r"p\.toml: \[evaluate\] recommend: expected 0 or more, found -1"),
        ("recommend = 4", "recommend = true", r"p\.toml: \[evaluate\] recommend: expected a whole number, found true"),
        ("[evaluate]", 'refit = true\n[evaluate]\nsplit = "validation"', r'refit: expected \[evaluate\] split = "tes'),
        ("[data]", "seeds = [0, -1]\n[data]", r"p\.toml: seeds: expected different whole numbers of 0 or more, .* -1"),
        ("[data]", "seeds = [0, 1, 0]\n[data]", r"p\.toml: seeds: expected different whole numbers of 0 or .* found 0"),
        ("[data]", "seeds = [0, true]\n[data]", r"p\.toml: seeds: expected different .*, found true"),
        ("[data]", "seeds = []\n[data]", r"p\.toml: seeds: expected a number or more, found none"),
        ("[data]", "seeds = 3\n[data]", r"p\.toml: seeds: expected a list, found 3"),
        ("recommend = 4", 'split = "training"', r"p\.toml: \[evaluate\]: split: expected one of test, validation"),
        ("baselines", "baseline", r"p\.toml: \[evaluate\] unknown setting baseline; did you mean baselines\?"),
        ('["popularity", ', '["popular", ', r"p\.toml: \[evaluate\] baselines: expected any of .*'popular'"),
        ('"random"', '"rndom"', r"baselines: expected any of .*, found 'rndom'; did you mean random\?$"),
        ('["popularity", ', "[3, ", r"p\.toml: \[evaluate\] baselines: expected any of .*found 3"),
        ('["popularity", "random", "co-occurrence"]', '"random"', r"baselines: expected a list, found 'random'"),
        ("[evaluate]", "x = [", r"p\.toml: expected valid TOML"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_by_name(tmp_path: Path, old: str, new: str, message: str) -> None:
    (tmp_path / "p.toml").write_text(FILE.replace("FORMAT", "tcf"))
    with pytest.raises(ConfigError, match=message):
        change(tmp_path / "p.toml", old, new)


@pytest.mark.parametrize("name", ["data", "extract", "train", "evaluate"])
def test_a_table_must_be_one(tmp_path: Path, name: str) -> None:
    (tmp_path / "p.toml").write_text(
        re.sub(rf"(?s)\[{name}.*?\n(?=\[|$)", "", f"{name} = 3\n" + FILE.replace("FORMAT", "tcf"))
    )
    with pytest.raises(ConfigError, match=rf"p\.toml: \[{name}\] expected .*table.*, found 3"):
        read_study(tmp_path / "p.toml")


def test_a_seed_and_seeds_contradict_one_another(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text(FILE.replace("FORMAT", "tcf"))
    text, _ = change(tmp_path / "p.toml", "width = 8", "width = 8\nseed = 3").settings
    assert (text.config.seed, text.seeds, [*text.trainings()]) == (3, (), [3])
    with pytest.raises(
        ConfigError, match=r"p\.toml: \[train\.text\] seed: expected none, .* seeds 4, 1, found 3; remove"
    ):
        change(tmp_path / "p.toml", 'out = "out"', 'out = "out"\nseeds = [4, 1]')


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"p\.toml: cannot be read"):
        read_study(tmp_path / "p.toml")


def test_one_layer_or_several_where_no_run_reads_them(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text(FILE.replace("FORMAT", "tcf"))

    def extracted(old: str, new: str) -> ExtractConfig:
        [extraction] = change(tmp_path / "p.toml", old, new).extractions
        return extraction.config

    assert extracted("[extract]", "[extract]\nlayers = [2]").layers == (2,)
    assert extracted('items = "text"', 'items = "id"').layers == (2,)
    assert extracted("layers = [2]", "layers = [0, 2]\ntoken_states = 1").token_states == 1


def test_the_defaults_of_a_short_file(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text('[data]\nraw = "r"\nformat = "tcf"')
    file = read_study(tmp_path / "p.toml")
    [dataset] = file.datasets
    assert (file.path, file.out, file.overrides) == (tmp_path / "p.toml", Path("out"), ())
    assert (dataset.name, dataset.raw, dataset.download, dataset.path) == ("r", Path("r"), None, None)
    assert (dataset.format, dataset.prepare, file.evaluate) == ("tcf", PrepareConfig(), EvaluateConfig())
    assert (file.encoders, file.extractions, file.settings, file.baselines) == ((), (), (), ())
    assert (file.recommend, file.by, file.metrics) == (0, (), ())
    assert set(file.launch.values()) == {LaunchConfig()}


def test_a_pipeline_has_launch_as_a_study_has(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text(FILE.replace("FORMAT", "tcf") + "[launch]\nworkers = 2\n")
    assert {config.workers for config in read_study(tmp_path / "p.toml").launch.values()} == {2}
