import dataclasses
import re
import shutil
from pathlib import Path
from typing import Any, Literal

import pyarrow.parquet as pq
import pytest

import tcf
from small_models import made_up_texts, save_bert, save_opt
from small_runs import walks
from tcf.assets import DATASET_NAMES, MODEL_NAMES
from tcf.config import EvaluateConfig, ExtractConfig, PrepareConfig, TrainConfig
from tcf.errors import CacheError, ConfigError, DataError, RunError, TcfError
from tcf.launch import pipeline
from tcf.launch.pipeline import PipelineConfig, read_pipeline, run_pipeline

TITLES = [made_up_texts(15)[item // 2] for item in range(30)]  # every title twice
RANKINGS = ["popularity", "random", "co-occurrence", "text", "id"]

FILE = """
out = "out"
[data]
raw = "raw"
format = "FORMAT"
[extract]
model = "model"
device = "cpu"
[train.text]
items = "text"
width = 8
epochs = 2
device = "cpu"
[train.id]
items = "id"
width = 8
epochs = 2
device = "cpu"
[evaluate]
baselines = ["popularity", "random", "co-occurrence"]
recommend = 4
device = "cpu"
"""


def write_tcf(folder: Path) -> None:
    folder.mkdir()
    lines = [f"u{user}\t{' '.join(f'i{item}' for item in history)}" for user, history in enumerate(walks())]
    (folder / "behaviors.tsv").write_text("\n".join(lines) + "\n")
    (folder / "items.tsv").write_text("".join(f"i{item}\t{title}\n" for item, title in enumerate(TITLES)))


def write_recbole(folder: Path) -> None:
    """The same users and items, events out of order."""
    folder.mkdir()
    events = [(t, u, i) for u, history in enumerate(walks()) for t, i in enumerate(history)]
    lines = [f"u{user}\ti{item}\t{time}" for time, user, item in sorted(events)]
    header = "user_id:token\titem_id:token\ttimestamp:float"
    (folder / "x.inter").write_text("\n".join([header, *lines]) + "\n")
    items = [f"i{item}\t{title}" for item, title in enumerate(TITLES)]
    (folder / "x.item").write_text("\n".join(["item_id:token\tmovie_title:token_seq", *items]) + "\n")


def workplace(folder: Path, format: Literal["tcf", "recbole"] = "tcf", model: Literal["opt", "bert"] = "opt") -> Path:
    """A raw folder, a model and a pipeline file; returns the file."""
    (write_tcf if format == "tcf" else write_recbole)(folder / "raw")
    (save_opt if model == "opt" else save_bert)(folder / "model")
    (folder / "p.toml").write_text(FILE.replace("FORMAT", format))
    return folder / "p.toml"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the pipeline has run once."""
    folder = tmp_path_factory.mktemp("finished")
    file = workplace(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        (folder / "shown.txt").write_text(run_pipeline(read_pipeline(file)))
    return folder


@pytest.fixture
def copied(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, to be changed; the working directory."""
    shutil.copytree(finished, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def stamps(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(p): (p.stat().st_mtime_ns, p.stat().st_ino) for p in folder.rglob("*")}


def change(file: Path, old: str, new: str) -> PipelineConfig:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))
    return read_pipeline(file)


def check_outputs(out: Path, shown: str) -> None:
    assert sorted(p.name for p in out.iterdir()) == ["cache", "dataset", "evaluations", "recommendations", "runs"]
    assert sorted(p.name for p in (out / "runs").iterdir()) == ["id", "text"]
    assert sorted(p.name for p in (out / "evaluations").iterdir()) == sorted(RANKINGS)
    for place in ("dataset", "cache", "runs/text", "runs/id", *(f"evaluations/{name}" for name in RANKINGS)):
        assert (out / place / "manifest.json").is_file(), place
    users = pq.read_table(out / "dataset" / "users.parquet").num_rows
    for name in ("text", "id"):
        assert pq.read_table(out / "recommendations" / f"{name}.parquet").num_rows == 4 * users
    table, _, some = shown.partition("\n\n")
    lines = table.splitlines()
    assert lines[0].split() == ["ranking", "hr@10", "ndcg@10", "mrr", "users", "items"]
    assert [line.split()[0] for line in lines[1:]] == RANKINGS
    assert all(re.search(rf"( +\d+\.\d\d%){{3}} +{users} +30$", line) for line in lines[1:])
    assert some.startswith("Some recommendations of text:\nuser u")
    assert some.count("  recommended: ") == 3


def test_all_stages_of_a_tcf_folder(finished: Path) -> None:
    check_outputs(finished / "out", (finished / "shown.txt").read_text())


def test_all_stages_of_a_recbole_folder(
    tmp_path: Path, finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = change(
        workplace(tmp_path, "recbole", "bert"), 'raw = "raw"', 'raw = "raw"\ntext_columns = ["movie_title"]'
    )
    monkeypatch.chdir(tmp_path)
    check_outputs(tmp_path / "out", run_pipeline(config))
    said = [
        line for line in capsys.readouterr().err.splitlines() if re.match(r"(prepare|extract|train|evaluate): \D", line)
    ]
    assert said == [
        "prepare: raw -> out/dataset",
        "extract: model -> out/cache",
        *(f"evaluate: {name}" for name in RANKINGS[:3]),
        *(line for name in ("text", "id") for line in (f"train: {name} -> out/runs/{name}", f"evaluate: {name}")),
    ]
    for name in ("items.parquet", "history_items.npy"):
        assert (tmp_path / "out/dataset" / name).read_bytes() == (finished / "out/dataset" / name).read_bytes()


def test_again_nothing_is_done(copied: Path) -> None:
    before = stamps(copied / "out")
    assert run_pipeline(read_pipeline(copied / "p.toml")) == (copied / "shown.txt").read_text()
    assert stamps(copied / "out") == before


def test_what_is_missing_is_done(copied: Path) -> None:
    before = stamps(copied / "out")
    config = change(
        copied / "p.toml",
        "[train.id]",
        '[train."small id"]\nitems = "id"\nwidth = 4\nepochs = 1\n[train.id]',
    )
    shutil.rmtree(copied / "out/evaluations/text")
    (copied / "out/recommendations/id.parquet").unlink()
    shown = run_pipeline(config)
    assert [line.rsplit(maxsplit=5)[0] for line in shown.split("\n\n")[0].splitlines()[1:]] == [
        *RANKINGS[:4], "small id", "id",
    ]  # fmt: skip
    after = stamps(copied / "out")
    done = {path.removeprefix(f"{copied / 'out'}/") for path in after if after[path] != before.get(path)}
    assert {"/".join(Path(path).parts[:2]) for path in done} == {
        "runs", "runs/small id", "evaluations", "evaluations/text", "evaluations/small id",
        "recommendations", "recommendations/id.parquet", "recommendations/small id.parquet",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "kind", "message"),
    [
        (
            'format = "tcf"',
            'format = "tcf"\nmin_history = 6',
            DataError,
            r"out/dataset: .*min_history: 5 there, 6 asked for",
        ),
        (
            "[train.text]",
            "max_tokens = 9\n[train.text]",
            CacheError,
            r"out/cache: .*max_tokens: 30 there, 9 asked for",
        ),
        ("width = 8", "width = 4", RunError, r"out/runs/text: .*width: 8 there, 4 asked for"),
        (
            "[evaluate]",
            '[evaluate]\nseen = "mask"',
            RunError,
            r"evaluations/popularity: .*seen: keep there, mask asked for",
        ),
    ],
)
def test_a_changed_setting_is_refused_by_name(
    copied: Path, old: str, new: str, kind: type[TcfError], message: str
) -> None:
    before = stamps(copied / "out")
    with pytest.raises(kind, match=message):
        run_pipeline(change(copied / "p.toml", old, new))
    assert stamps(copied / "out") == before


def test_raw_files_that_changed_are_noticed(copied: Path) -> None:
    with (copied / "raw" / "items.tsv").open("a") as stream:
        stream.write("new\ta new item\n")
    with pytest.raises(DataError, match=r"out/dataset: .*sha256 of items.tsv"):
        run_pipeline(read_pipeline(copied / "p.toml"))


def test_other_numbers_of_recommendations_replace_them(copied: Path) -> None:
    place = copied / "out/recommendations"
    before = pq.read_table(place / "id.parquet").num_rows
    run_pipeline(change(copied / "p.toml", "recommend = 4", "recommend = 2"))
    assert pq.read_table(place / "id.parquet").num_rows == before // 2
    shown = run_pipeline(change(copied / "p.toml", "recommend = 2", "recommend = 0"))
    assert "recommendations" not in shown
    assert pq.read_table(place / "id.parquet").num_rows == before // 2


def test_a_named_dataset_and_no_language_model(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def fetch(name: str) -> Path:
        asked.append(name)
        return copied / "raw"

    monkeypatch.setattr(pipeline, "fetch_dataset", fetch)
    (copied / "q.toml").write_text(
        'out = "other"\n[data]\ndownload = "a name"\nformat = "tcf"\n'
        '[train.ids]\nitems = "id"\nwidth = 4\nepochs = 1\ndevice = "cpu"'
    )
    shown = run_pipeline(read_pipeline(copied / "q.toml"))
    assert asked == ["a name"]
    assert [line.split()[0] for line in shown.splitlines()] == ["ranking", "ids"]
    assert sorted(p.name for p in (copied / "other").iterdir()) == ["dataset", "evaluations", "runs"]


def test_nothing_to_compare(copied: Path) -> None:
    (copied / "q.toml").write_text('out = "out"\n[data]\nraw = "raw"\nformat = "tcf"')
    assert run_pipeline(read_pipeline(copied / "q.toml")) == ""


def test_recommendations_use_the_evaluations_device(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    devices = []

    def spy(*_: Any, device: str, **__: Any) -> str:
        devices.append(device)
        return ""

    for name in ("recommend", "examples"):
        monkeypatch.setattr(pipeline, name, spy)
    run_pipeline(read_pipeline(copied / "p.toml"))
    assert devices == ["cpu", "cpu", "cpu"]


def test_the_quickstart_says_what_its_comments_say() -> None:
    config = read_pipeline(Path(tcf.__file__).parents[1] / "examples" / "quickstart.toml")
    assert (config.out, config.download, config.raw, config.format) == (Path("quickstart"), "ml-100k", None, "recbole")
    # The numbers that it spells out here are the defaults, so that leaving them out changes nothing.
    assert config.prepare == PrepareConfig(text_columns=("movie_title",))
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
        ("[evaluate]", "[judge]", r"p\.toml: unknown entry judge \(known: out, data, extract, train, evaluate\)"),
        ('out = "out"', 'outs = "out"', r"p\.toml: unknown entry outs"),
        ('out = "out"', "out = 3", r"p\.toml: out: expected some text, found 3"),
        ('out = "out"', 'out = ""', r"p\.toml: out: expected some text, found ''"),
        ('raw = "raw"', "", r"p\.toml: \[data\] expected either download or raw, found neither"),
        ('raw = "raw"', 'raw = "raw"\ndownload = "x"', r"p\.toml: \[data\] expected either .*, found both"),
        ('raw = "raw"', "raw = true", r"p\.toml: \[data\] raw: expected some text, found True"),
        ('raw = "raw"', 'row = "raw"', r"p\.toml: \[data\] unknown setting row; did you mean raw\? \(known: download"),
        ('format = "tcf"', "", r"p\.toml: \[data\] format: expected one of tcf, recbole, found nothing"),
        ('format = "tcf"', 'format = "csv"', r"p\.toml: \[data\] format: expected one of tcf, recbole, found 'csv'"),
        ('format = "tcf"', 'format = ["tcf"]', r"p\.toml: \[data\] format: expected some text"),
        ('format = "tcf"', 'format = "tcf"\nmin_history = "5"', r"p\.toml: \[data\]: min_history: expected int"),
        ('format = "tcf"', 'format = "tcf"\nmin_history = 2', r"p\.toml: \[data\]: --min-history: expected at least 3"),
        ('model = "model"', "", r"p\.toml: \[extract\] expected a model, since a run reads text, found none"),
        ('model = "model"', "model = 3", r"p\.toml: \[extract\] model: expected some text, found 3"),
        ('model = "model"', 'modell = "model"', r"p\.toml: \[extract\] unknown setting modell; did you mean model\?"),
        ("[extract]", "[extract.x]", r"p\.toml: \[extract\] unknown setting x"),
        ("[train.text]", "[train.text]\nwidht = 3", r"p\.toml: \[train\.text\]: unknown setting widht; did you mean"),
        ("width = 8", "width = 7", r"p\.toml: \[train\.text\]: --width: expected a multiple of --heads 2, found 7"),
        ("[train.text]", "[train]\n", r"p\.toml: \[train\] expected one table a run, such as \[train\.text\], found"),
        ("[train.text]", "[train.popularity]", r"p\.toml: \[train\.popularity\] expected a name for a folder"),
        ("[train.text]", '[train."a/b"]', r"p\.toml: \[train\.a/b\] expected a name for a folder"),
        ("[train.text]", '[train.".."]', r"p\.toml: \[train\.\.\.\] expected a name for a folder"),
        ("[train.text]", '[train.""]', r"p\.toml: \[train\.\] expected a name for a folder.*found ''"),
        ("[train.text]", '[train." "]', r"p\.toml: \[train\. \] expected a name for a folder"),
        ("[train.text]", '[train."a\\u0000"]', r"found 'a\\x00'"),
        ("[train.text]", f"[train.{'a' * 101}]", r"expected a name for a folder"),
        ("recommend = 4", "recommend = -1", r"p\.toml: \[evaluate\] recommend: expected 0 or more, found -1"),
        ("recommend = 4", "recommend = true", r"p\.toml: \[evaluate\] recommend: expected a whole number, found True"),
        ("recommend = 4", 'split = "training"', r"p\.toml: \[evaluate\]: split: expected one of test, validation"),
        ("baselines", "baseline", r"p\.toml: \[evaluate\] unknown setting baseline; did you mean baselines\?"),
        ('["popularity", ', '["popular", ', r"p\.toml: \[evaluate\] baselines: expected some of .*'popular'"),
        ('["popularity", ', "[3, ", r"p\.toml: \[evaluate\] baselines: expected some of .*found 3"),
        ('["popularity", "random", "co-occurrence"]', '"random"', r"baselines: expected a list, found 'random'"),
        ("[evaluate]", "x = [", r"p\.toml: not valid TOML"),
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


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"p\.toml: cannot be read"):
        read_pipeline(tmp_path / "p.toml")


def test_the_defaults_of_a_short_file(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text('[data]\nraw = "r"\nformat = "tcf"')
    expected: dict[str, Any] = {"out": Path("out"), "raw": Path("r"), "download": None, "format": "tcf", "model": None}
    assert read_pipeline(tmp_path / "p.toml") == PipelineConfig(
        **expected,
        prepare=PrepareConfig(),
        extract=ExtractConfig(),
        train={},
        baselines=(),
        recommend=0,
        evaluate=EvaluateConfig(),
    )
