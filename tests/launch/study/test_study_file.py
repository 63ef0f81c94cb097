"""Study files: what they say, and what is refused by name."""

from pathlib import Path

import pytest

from small.launch.studies import STUDY, changed, study_of
from tcf.common.errors import ConfigError
from tcf.config.extract import ExtractConfig
from tcf.config.launch import LaunchConfig
from tcf.config.prepare import PrepareConfig
from tcf.launch.study.study_file import read_study
from tcf.launch.study.tables.overrides import with_overrides


def test_what_a_file_says(tmp_path: Path) -> None:
    file = study_of(tmp_path, STUDY)
    [dataset], [encoder], [extraction] = file.datasets, file.encoders, file.extractions
    assert (file.out, file.is_pipeline, file.recommend) == (Path("out"), False, 0)
    assert (dataset.name, dataset.raw, dataset.format) == ("walks", Path("raw"), "tcf")
    assert dataset.prepare == PrepareConfig()
    assert (encoder.name, encoder.model, encoder.raw) == ("tiny", "model", None)
    assert extraction.config == ExtractConfig(layers=(-1,), devices="cpu", tokens_per_batch=512)
    assert [setting.name for setting in file.settings] == ["walks/tiny-sasrec-text", "walks/sasrec-id"]
    text, ids = file.settings
    assert text.axes == {
        "dataset": "walks",
        "backbone": "sasrec",
        "items": "text",
        "encoder": "tiny",
        "layer": -1,
        "pooling": "auto",
        "tuning": "frozen",
    }
    assert ids.axes == {"dataset": "walks", "backbone": "sasrec", "items": "id"}
    assert (ids.config.items, ids.config.width, ids.config.epochs) == ("id", 8, 1)
    assert file.baselines == ("popularity",)


def test_a_prepared_dataset_plain_names_of_models_and_settings_of_one_encoder(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(
        '[datasets.d]\npath = "~/d"\n[encoders.short]\nmodel = "minilm"\nmax_tokens = 8\n[extract]\nmax_tokens = 20\n'
        '[grid]\nencoders = ["short", "opt-125m", "some/model"]\n'
    )
    file = read_study(tmp_path / "s.toml")
    assert file.datasets[0].path == Path("~/d").expanduser()
    assert [(one.name, one.model, one.config.max_tokens) for one in file.encoders] == [
        ("short", "minilm", 8),
        ("opt-125m", "opt-125m", 20),
        ("some/model", "some/model", 20),
    ]
    assert [setting.name for setting in file.settings] == [
        "d/short-sasrec-text",
        "d/opt-125m-sasrec-text",
        "d/model-sasrec-text",
    ]


def test_without_encoders_ids_are_trained(tmp_path: Path) -> None:
    file = study_of(tmp_path, '[datasets.d]\npath = "d"\n[grid]\nseeds = [3]\n')
    assert [(one.name, one.seeds) for one in file.settings] == [("d/sasrec-id", (3,))]
    assert (file.encoders, file.extractions) == ((), ())


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[evaluate]", "[evalute]", r"s\.toml: unknown entry evalute; did you mean evaluate\?$"),
        ("[evaluate]", "[data]", r"unknown entry data \(known: out, datasets, encoders, extract, grid, train"),
        ("[datasets.walks]", "[datasets]", r"\[datasets\] expected tables such as \[datasets\.games\], found"),
        ("[datasets.walks]", '[datasets."a b"]', r"\[datasets\.a b\] expected a name of letters, .*'a b'; rename"),
        ('raw = "raw"', "", r"\[datasets\.walks\] expected one of download, raw .*, found none$"),
        ('raw = "raw"', 'raw = "raw"\npath = "p"', r"\[datasets\.walks\] expected one of .*, found raw and path$"),
        ('raw = "raw"', 'path = "p"', r"\[datasets\.walks\] format: expected no such setting here; a prepared dataset"),
        ('format = "tcf"', 'format = "csv"', r"\[datasets\.walks\] format: expected one of tcf, .*, found 'csv'"),
        ('format = "tcf"', 'format = "tcf"\nmin_history = 0', r"\[datasets\.walks\]: min_history: expected at least 1"),
        ('model = "model"', "", r"\[encoders\.tiny\] expected either model or raw .*, found neither$"),
        ('model = "model"', 'model = "m"\nraw = "r"', r"\[encoders\.tiny\] expected either .*, found both$"),
        ('model = "model"', 'model = "m"\ntokenizer = "t"', r"\[encoders\.tiny\] tokenizer: expected raw as well"),
        ('model = "model"', 'model = "m"\nmax_token = 3', r"\[encoders\.tiny\] unknown setting max_token; did you"),
        ('model = "model"', 'model = "m"\nlayers = [0]', r"\[encoders\.tiny\] layers: .*; set layers in \[grid\]$"),
        ("[extract]", '[extract]\nshards = "0/2"', r"\[extract\] shards: expected no .*set workers in \[launch\.ext"),
        ("[extract]", "[extract]\nmax_tokens = 1", r"\[extract\]: max_tokens: expected at least 2, found 1"),
        ("[grid]", '[grid]\ndatasets = ["walk"]', r"\[grid\] datasets: unknown value 'walk'; did you mean walks\?"),
        ("[grid]", '[grid]\nencoders = ["tine"]', r"\[grid\] encoders: unknown encoder tine; did you mean tiny\?"),
        ("[grid]", '[grid]\nbackbones = ["gru"]', r"\[grid\] backbones: unknown value 'gru' \(known: sasrec, dssm\)"),
        ("[grid]", '[grid]\nbackbones = "dssm"', r"\[grid\] backbones: expected a list, found 'dssm'"),
        ("[grid]", '[grid]\npooling = ["meen"]', r"\[grid\] pooling: unknown value 'meen'; did you mean mean\?"),
        ("[grid]", '[grid]\ntuning = ["top-2"]', r"\[grid\] tuning: expected \[\"frozen\"\], since .*found 'top-2'"),
        ("layers = [-1]", 'layers = ["last"]', r"\[grid\] layers: expected whole numbers, .*found 'last'"),
        ("layers = [-1]", "layers = []", r"\[grid\] layers: expected a value or more, found none; leave layers out"),
        ("layers = [-1]", "layers = [0, 0]", r"\[grid\] layers: expected different values, found 0"),
        ("layers = [-1]", "layer = [0]", r"\[grid\] layer: expected no such setting here; set layers instead"),
        ("seeds = [0]", "seeds = [0, -1]", r"\[grid\] seeds: expected different whole numbers of 0 or more, found -1"),
        ("seeds = [0]", "widths = [8]", r"\[grid\] unknown setting widths; did you mean width\?"),
        ("seeds = [0]", 'dropout = ["a"]', r"\[grid\]: dropout: expected a number, found 'a'"),
        ("seeds = [0]", "exclude = [3]", r"\[grid\] exclude: expected tables such as \{ items = \"id\" \}, found 3"),
        ("seeds = [0]", "exclude = [{ item = 3 }]", r"\[grid\] exclude: unknown axis item; did you mean items\?"),
        ("seeds = [0]", "exclude = [{ layer = 3 }]", r"exclude: .*found \{ layer = 3 \}, which matches none; correct"),
        ("seeds = [0]", 'exclude = [{ items = ["id", "text"] }]', r"exclude: expected a setting to be left"),
        ("[train]", "[train]\nseed = 3", r"\[train\] seed: expected no such setting here; set seeds in \[grid\]$"),
        ("[train]", "[train.text]", r"\[train\] unknown setting text"),
        ("[train]", "[train]\nmlp_layers = 1", r"\[train\] mlp_layers: expected a setting that .* reads, found one"),
        ("seeds = [0]", "width = [8, 16]", r"\[train\] width: .*; it is an axis of \[grid\]; remove one of them$"),
        ("width = 8", "width = 7", r"s\.toml: walks/tiny-sasrec-text: width: expected a multiple of heads 2, found 7"),
        ("[evaluate]", "[[train.overrides]]\nblocks = 1\n[evaluate]", r"\[train\.overrides 1\] when: expected tables"),
        (
            "[evaluate]",
            '[[train.overrides]]\nwhen = { backbone = "dssm" }\nblocks = 1\n[evaluate]',
            r"\[train\.overrides 1\] when: expected one that matches a setting .*, found one that matches none; corr",
        ),
        ('baselines = ["popularity"]', 'by = ["warm:x"]', r"\[evaluate\] by: .*warm:x"),
        ('baselines = ["popularity"]', 'metrics = ["hit@10"]', r"\[evaluate\] metrics: .*hit@10"),
        ("[evaluate]", 'refit = true\n[evaluate]\nsplit = "validation"', r"-text refit: expected \[evaluate\] split"),
        ("[evaluate]", "[launch]\nworker = 2\n[evaluate]", r"\[launch\] unknown setting worker; did you mean workers"),
        ("[evaluate]", "[launch.trian]\n[evaluate]", r"\[launch\.trian\] unknown stage trian; did you mean train\?"),
        ("[evaluate]", "[launch.train]\nworkers = 0\n[evaluate]", r"\[launch\.train\]: workers: expected at least 1"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_by_name(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as refused:
        study_of(tmp_path, changed(old, new))
    assert str(refused.value).startswith(f"{tmp_path / 's.toml'}: ")


def test_stages_override_what_launch_says_of_all(tmp_path: Path) -> None:
    text = STUDY + '[launch]\nlauncher = "slurm"\nmemory = "2GB"\n[launch.train]\ngpus_per_worker = 1\nmemory = "9GB"\n'
    launch = study_of(tmp_path, text, "launch.evaluate.launcher=local").launch
    assert launch["prepare"] == LaunchConfig(launcher="slurm", memory="2GB")
    assert launch["train"] == LaunchConfig(launcher="slurm", memory="9GB", gpus_per_worker=1)
    assert launch["evaluate"].launcher == "local"
    assert len(launch) == 10


def test_entries_are_replaced_from_outside(tmp_path: Path) -> None:
    given = (
        "grid.seeds=[4, 5]",
        "train.epochs=3",
        "out=elsewhere",
        "encoders.tiny.model=some model",
        'train.items="x"',
    )
    assert study_of(tmp_path, STUDY, *given[:4]).overrides == given[:4]
    file = study_of(tmp_path, STUDY, *given[:4])
    assert {setting.seeds for setting in file.settings} == {(4, 5)}
    assert {setting.config.epochs for setting in file.settings} == {3}
    assert (file.out, file.encoders[0].model) == (Path("elsewhere"), "some model")
    with pytest.raises(ConfigError, match=r"\[train\] items: expected no such setting here; set items in \[grid\]"):
        study_of(tmp_path, STUDY, given[4])


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("seeds", r"^--set seeds: expected KEY=VALUE, such as"),
        ("=3", r"^--set =3: expected KEY=VALUE"),
        ("a b=3", r"^--set a b=3: expected a key such as grid\.seeds, found 'a b'; put names"),
        ("out.x=3", r"^--set out\.x=3: expected out to be a table, found 'o'"),
    ],
)
def test_what_cannot_be_set(entry: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        with_overrides({"out": "o"}, [entry])


def test_later_entries_win_and_quoted_names_may_have_points() -> None:
    values = with_overrides({"a": {"b": 1}}, ['a."x.y".z=2', "a.b=3", 'a.b="4"', "c=é [", "d=[1, 'e']"])
    assert values == {"a": {"b": "4", "x.y": {"z": 2}}, "c": "é [", "d": [1, "e"]}
