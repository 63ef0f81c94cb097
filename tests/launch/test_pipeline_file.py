import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

import tcf
from small.launch.pipelines import FILE, change
from tcf.assets.models import MODEL_NAMES
from tcf.assets.resolve import DATASET_NAMES
from tcf.common.errors import ConfigError
from tcf.config.evaluate import EvaluateConfig
from tcf.config.extract import ExtractConfig
from tcf.config.prepare import PrepareConfig
from tcf.config.train import TrainConfig
from tcf.launch.pipeline_file import PipelineConfig, read_pipeline


def test_the_quickstart_says_what_its_comments_say() -> None:
    config = read_pipeline(Path(tcf.__file__).parents[1] / "examples" / "quickstart.toml")
    assert (config.out, config.download, config.raw, config.format) == (Path("quickstart"), "ml-100k", None, "recbole")
    # The numbers that it spells out here are the defaults, so that leaving them out changes nothing.
    assert config.prepare == PrepareConfig(text_columns=("movie_title",), min_rating=1)
    assert (config.model, config.extract) == ("minilm", ExtractConfig())
    assert config.model in MODEL_NAMES and config.download in DATASET_NAMES
    assert list(config.train) == ["text", "id"]
    text, ids = config.train["text"], config.train["id"]
    assert (text.items, dataclasses.replace(text, items="id")) == ("text", ids)  # a fair match
    assert text.width < TrainConfig().width
    assert (config.baselines, config.recommend) == (("popularity", "random", "co-occurrence"), 10)
    assert config.evaluate == EvaluateConfig()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[evaluate]", "[judge]", r"p\.toml: unknown entry judge \(known: out, seeds, data, extract, train, ev"),
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
        ("[data]", "seeds = [0, -1]\n[data]", r"p\.toml: seeds: expected different whole numbers of 0 .* found -1"),
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
        read_pipeline(tmp_path / "p.toml")


def test_a_seed_and_seeds_contradict_one_another(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text(FILE.replace("FORMAT", "tcf"))
    assert change(tmp_path / "p.toml", "width = 8", "width = 8\nseed = 3").train["text"].seed == 3
    with pytest.raises(
        ConfigError, match=r"p\.toml: \[train\.text\] seed: expected none, .* seeds 4, 1, found 3; remove"
    ):
        change(tmp_path / "p.toml", 'out = "out"', 'out = "out"\nseeds = [4, 1]')


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"p\.toml: cannot be read"):
        read_pipeline(tmp_path / "p.toml")


def test_one_layer_or_several_where_no_run_reads_them(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text(FILE.replace("FORMAT", "tcf"))
    assert change(tmp_path / "p.toml", "[extract]", "[extract]\nlayers = [2]").extract.layers == (2,)
    only_ids = change(tmp_path / "p.toml", 'items = "text"', 'items = "id"')
    assert only_ids.extract.layers == (2,)
    assert change(tmp_path / "p.toml", "layers = [2]", "layers = [0, 2]\ntoken_states = 1").extract.token_states == 1


def test_the_defaults_of_a_short_file(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text('[data]\nraw = "r"\nformat = "tcf"')
    expected: dict[str, Any] = {"out": Path("out"), "raw": Path("r"), "download": None, "format": "tcf", "model": None}
    assert read_pipeline(tmp_path / "p.toml") == PipelineConfig(
        path=tmp_path / "p.toml",
        **expected,
        prepare=PrepareConfig(),
        extract=ExtractConfig(),
        train={},
        baselines=(),
        recommend=0,
        evaluate=EvaluateConfig(),
    )
