import re
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from small.launch.pipelines import change, workplace
from tcf.common.errors import CacheError, DataError, RunError, TcfError
from tcf.launch import pipeline
from tcf.launch.pipeline import run_pipeline
from tcf.launch.pipeline_file import read_pipeline

RANKINGS = ["popularity", "random", "co-occurrence", "text", "id"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the pipeline has run once."""
    folder = tmp_path_factory.mktemp("finished")
    file = workplace(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        (folder / "shown.txt").write_text(run_pipeline(read_pipeline(file)).summary())
    return folder


@pytest.fixture
def copied(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, to be changed; the working directory."""
    shutil.copytree(finished, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


@pytest.fixture
def settled(copied: Path) -> Path:
    """The copy, whose cache knows by now where its dataset is."""
    run_pipeline(read_pipeline(copied / "p.toml"))
    return copied


def stamps(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(p): (p.stat().st_mtime_ns, p.stat().st_ino) for p in folder.rglob("*")}


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
    assert lines[0].split() == ["ranking", "hr@10", "ndcg@10", "mrr@10", "mrr", "users", "items"]
    assert [line.split()[0] for line in lines[1:-1]] == RANKINGS
    mean = r" +\d+\.\d\d% \d+\.\d\d to \d+\.\d\d"
    assert all(re.search(rf"({mean}){{4}} +{users} +30$", line) for line in lines[1:-1])
    assert some.startswith("Some recommendations of text:\nuser u")
    assert some.count("  recommended: ") == 3


def test_all_stages_of_a_tcf_folder(finished: Path) -> None:
    check_outputs(finished / "out", (finished / "shown.txt").read_text())


@pytest.mark.usefixtures("shown_log")
def test_all_stages_of_a_recbole_folder(
    tmp_path: Path, finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = change(
        workplace(tmp_path, "recbole", "bert"), 'raw = "raw"', 'raw = "raw"\ntext_columns = ["movie_title"]'
    )
    monkeypatch.chdir(tmp_path)
    check_outputs(tmp_path / "out", run_pipeline(config).summary())
    said = [
        line
        for line in capsys.readouterr().err.splitlines()
        if re.match(r"(prepare|extract|train|evaluate): \D", line) and not re.search(r": (\d|at most|epoch)", line)
    ]
    assert said == [
        "prepare: raw -> out/dataset",
        "extract: model -> out/cache",
        *(f"evaluate: {name}" for name in RANKINGS[:3]),
        *(line for name in ("text", "id") for line in (f"train: {name} -> out/runs/{name}", f"evaluate: {name}")),
    ]
    for name in ("items.parquet", "history_items.npy"):
        assert (tmp_path / "out/dataset" / name).read_bytes() == (finished / "out/dataset" / name).read_bytes()


def test_again_nothing_is_done(settled: Path) -> None:
    before = stamps(settled / "out")
    assert run_pipeline(read_pipeline(settled / "p.toml")).summary() == (settled / "shown.txt").read_text()
    assert stamps(settled / "out") == before


def test_of_a_copy_only_the_place_of_its_dataset_is_new(copied: Path) -> None:
    before = {path for path in (copied / "out").rglob("*") if path.is_file()}
    assert run_pipeline(read_pipeline(copied / "p.toml")).summary() == (copied / "shown.txt").read_text()
    new = {path for path in (copied / "out").rglob("*") if path.is_file()} - before
    assert {path.parents[1] for path in new} == {copied / "out" / "cache" / "datasets"}
    assert sorted(path.name for path in new) == ["manifest.json", "texts.npy"]


def test_what_is_missing_is_done(settled: Path) -> None:
    before = stamps(settled / "out")
    config = change(
        settled / "p.toml",
        "[train.id]",
        '[train."small id"]\nitems = "id"\nwidth = 4\nepochs = 1\n[train.id]',
    )
    shutil.rmtree(settled / "out/evaluations/text")
    (settled / "out/recommendations/id.parquet").unlink()
    shown = run_pipeline(config).summary()
    assert [line.rsplit(maxsplit=2 + 4 * 4)[0] for line in shown.split("\n\n")[0].splitlines()[1:-1]] == [
        *RANKINGS[:4], "small id", "id",
    ]  # fmt: skip
    after = stamps(settled / "out")
    done = {path.removeprefix(f"{settled / 'out'}/") for path in after if after[path] != before.get(path)}
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
            r"out/dataset: .*min_history: 5 found, 6 requested; .* another folder with `out` in p\.toml$",
        ),
        (
            "[train.text]",
            "max_tokens = 9\n[train.text]",
            CacheError,
            r"out/cache: .*max_tokens: 30 found, 9 requested; name another `out` in p\.toml, or",
        ),
        (
            "width = 8",
            "width = 4",
            RunError,
            r"out/runs/text: .*width: 8 found, 4 requested; name another `out` in p\.toml",
        ),
        (
            "[evaluate]",
            '[evaluate]\nseen = "mask"',
            RunError,
            r"evaluations/popularity: .*seen: keep found, mask requested.*; .* another `out` in p\.toml",
        ),
    ],
)
def test_a_changed_setting_is_refused_by_name(
    settled: Path, old: str, new: str, kind: type[TcfError], message: str
) -> None:
    before = stamps(settled / "out")
    change(settled / "p.toml", old, new)
    with pytest.raises(kind, match=message) as refused:
        run_pipeline(read_pipeline(Path("p.toml")))
    assert "--" not in str(refused.value)
    assert stamps(settled / "out") == before


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
    shown = run_pipeline(change(copied / "p.toml", "recommend = 2", "recommend = 0")).summary()
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
        '[train.ids]\nitems = "id"\nwidth = 4\nepochs = 1\ndevices = "cpu"'
    )
    shown = run_pipeline(read_pipeline(copied / "q.toml")).summary()
    assert asked == ["a name"]
    assert [line.split()[0] for line in shown.splitlines()] == ["ranking", "ids", "intervals:"]
    assert sorted(p.name for p in (copied / "other").iterdir()) == ["dataset", "evaluations", "runs"]


def test_nothing_to_compare(copied: Path) -> None:
    (copied / "q.toml").write_text('out = "out"\n[data]\nraw = "raw"\nformat = "tcf"')
    assert run_pipeline(read_pipeline(copied / "q.toml")).summary() == ""


def test_recommendations_use_the_evaluations_device(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    devices = []

    def spy(*_: Any, device: str, **__: Any) -> str:
        devices.append(device)
        return ""

    for name in ("recommend", "examples"):
        monkeypatch.setattr(pipeline, name, spy)
    run_pipeline(read_pipeline(copied / "p.toml"))
    assert devices == ["cpu", "cpu", "cpu"]


def test_a_catalogue_of_trained_items_is_evaluated_and_recommended_from(copied: Path) -> None:
    def recommended_from() -> list[bytes]:
        files = (copied / "out/recommendations" / f"{name}.parquet" for name in ("text", "id"))
        return [pq.read_schema(file).metadata[b"tcf.catalogue"] for file in files]

    assert recommended_from() == [b"all", b"trained"]  # each run by what it knows of untrained items
    shutil.rmtree(copied / "out/evaluations")
    done = run_pipeline(change(copied / "p.toml", "[evaluate]", '[evaluate]\ncatalogue = "trained"'))
    assert {found.metrics["catalogue"] for found in done.evaluations.values()} == {"trained"}
    assert recommended_from() == [b"trained", b"trained"]
