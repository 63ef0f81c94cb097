import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import tcf
from small.launch.pipelines import change, workplace
from small.launch.study_here import run_pipeline_here as run_pipeline
from tcf.launch.units.records import Records

RANKINGS = ["popularity", "random", "co-occurrence", "text", "id"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the pipeline has run once."""
    folder = tmp_path_factory.mktemp("finished")
    file = workplace(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        (folder / "shown.txt").write_text(tcf.run_pipeline(file).summary())  # in processes of their own
    return folder


@pytest.fixture
def settled(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """This folder, which is the working directory and may be changed: what it was is put back."""
    shutil.copytree(finished, tmp_path / "kept")
    monkeypatch.chdir(finished)
    yield finished
    for path in finished.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.copytree(tmp_path / "kept", finished, dirs_exist_ok=True)


def stamps(folder: Path) -> dict[str, tuple[int, int]]:
    """Time and inode of everything in a folder, but for the note of the last command."""
    found = (path for path in folder.rglob("*") if path.name not in ("state", "study.json"))
    return {str(p): (p.stat().st_mtime_ns, p.stat().st_ino) for p in found if p != folder}


def check_outputs(out: Path, shown: str) -> None:
    assert sorted(p.name for p in out.iterdir() if not p.name.startswith(".")) == [
        "cache", "comparisons", "dataset", "evaluations", "recommendations", "results.csv", "results.parquet", "runs",
        "state",
    ]  # fmt: skip
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
    file = change(workplace(tmp_path, "recbole", "bert"), 'raw = "raw"', 'raw = "raw"\ntext_columns = ["movie_title"]')
    monkeypatch.chdir(tmp_path)
    check_outputs(tmp_path / "out", run_pipeline(file).summary())
    said = [line for line in capsys.readouterr().err.splitlines() if ": done in " in line]
    assert [line.partition(":")[0] for line in said] == [
        "prepare/dataset",
        "extract/cache/dataset",
        *(f"evaluate/{name}" for name in RANKINGS[:3]),
        *(f"{stage}/{name}" for name in ("text", "id") for stage in ("train", "evaluate", "recommend")),
        "compare",
    ]
    # What each says in detail is in its log.
    log = Records(finished / "out/state").log("train/text").read_text()
    assert "epoch 2 of at most 2" in log and "tcf train --data " in log
    for name in ("items.parquet", "history_items.npy"):
        assert (tmp_path / "out/dataset" / name).read_bytes() == (finished / "out/dataset" / name).read_bytes()


def test_again_nothing_is_done(settled: Path) -> None:
    before = stamps(settled / "out")
    assert run_pipeline(settled / "p.toml").summary() == (settled / "shown.txt").read_text()
    assert stamps(settled / "out") == before


def test_results_of_earlier_versions_are_found(settled: Path) -> None:
    """Those had no state: what is there is looked at once more, and stays."""
    shutil.rmtree(settled / "out/state")
    before = stamps(settled / "out/runs") | stamps(settled / "out/cache/shards") | stamps(settled / "out/dataset")
    done = run_pipeline(settled / "p.toml")
    assert done.summary() == (settled / "shown.txt").read_text()
    assert [run.trained for run in done.runs.values()] == [False, False]
    assert done.extraction is not None and (done.extraction.computed, done.extraction.sequences) == (0, 15)
    after = stamps(settled / "out/runs") | stamps(settled / "out/cache/shards") | stamps(settled / "out/dataset")
    assert after == before


def test_what_is_missing_is_done(settled: Path) -> None:
    before = stamps(settled / "out")
    file = change(
        settled / "p.toml",
        "[train.id]",
        '[train."small id"]\nitems = "id"\nwidth = 4\nepochs = 1\n[train.id]',
    )
    shutil.rmtree(settled / "out/evaluations/text")
    (settled / "out/recommendations/id.parquet").unlink()
    shown = run_pipeline(file).summary()
    assert [line.rsplit(maxsplit=2 + 4 * 4)[0] for line in shown.split("\n\n")[0].splitlines()[1:-1]] == [
        *RANKINGS[:4], "small id", "id",
    ]  # fmt: skip
    after = stamps(settled / "out")
    done = {path.removeprefix(f"{settled / 'out'}/") for path in after if after[path] != before.get(path)}
    assert {"/".join(Path(path).parts[:2]) for path in done if not path.startswith("state")} == {
        "runs", "runs/small id", "evaluations", "evaluations/text", "evaluations/small id",
        "recommendations", "recommendations/id.parquet", "recommendations/small id.parquet",
        "results.csv", "results.parquet", "comparisons", "comparisons/raw.csv", "comparisons/raw.json",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "beside"),
    [
        ('format = "tcf"', 'format = "tcf"\nmin_history = 6', ["dataset-", "runs/text-", "evaluations/popularity-"]),
        ("width = 8", "width = 4", ["runs/text-", "evaluations/text-"]),
        ("[evaluate]", '[evaluate]\nseen = "mask"', ["evaluations/popularity-", "evaluations/text-"]),
    ],
)
def test_results_of_changed_settings_are_beside_the_old_ones(
    settled: Path, old: str, new: str, beside: list[str]
) -> None:
    before = stamps(settled / "out")
    results = [path for path in before if Path(path).name == "manifest.json"]
    first = run_pipeline(change(settled / "p.toml", old, new))
    for place in beside:
        folder, _, name = place.rpartition("/")
        assert [path.name for path in (settled / "out" / folder).glob(f"{name}*")], place
    assert {path: stamps(settled / "out")[path] for path in results} == {path: before[path] for path in results}
    # Changed back, the old ones are found again.
    again = run_pipeline(change(settled / "p.toml", new, old))
    assert again.summary() == (settled / "shown.txt").read_text()
    assert first.evaluations["text"].path != again.evaluations["text"].path


def test_raw_files_that_changed_are_prepared_beside_the_old_ones(settled: Path) -> None:
    first = run_pipeline(settled / "p.toml")
    log = settled / "raw" / "behaviors.tsv"
    before = log.read_text()
    log.write_text("\n".join(before.splitlines()[:-9]) + "\n")  # fewer users
    again = run_pipeline(settled / "p.toml")
    assert again.dataset.name.startswith("dataset-") and again.dataset.parent == first.dataset.parent
    for name, found in again.evaluations.items():
        assert found.metrics["users"] < first.evaluations[name].metrics["users"], name
    log.write_text(before)
    assert run_pipeline(settled / "p.toml").dataset == first.dataset


def test_other_numbers_of_recommendations_replace_them(settled: Path) -> None:
    place = settled / "out/recommendations"
    before = pq.read_table(place / "id.parquet").num_rows
    run_pipeline(change(settled / "p.toml", "recommend = 4", "recommend = 2"))
    assert pq.read_table(place / "id.parquet").num_rows == before // 2
    shown = run_pipeline(change(settled / "p.toml", "recommend = 2", "recommend = 0")).summary()
    assert "recommendations" not in shown
    assert pq.read_table(place / "id.parquet").num_rows == before // 2


def test_without_language_model_and_baselines(settled: Path) -> None:
    (settled / "q.toml").write_text(
        'out = "other"\n[data]\nraw = "raw"\nformat = "tcf"\n'
        '[train.ids]\nitems = "id"\nwidth = 4\nepochs = 1\ndevices = "cpu"'
    )
    done = run_pipeline(settled / "q.toml")
    assert [line.split()[0] for line in done.summary().splitlines()] == ["ranking", "ids", "intervals:"]
    assert done.extraction is None and done.examples == ""
    assert not {"cache", "recommendations", "comparisons"} & {path.name for path in (settled / "other").iterdir()}


def test_nothing_to_compare(settled: Path) -> None:
    (settled / "q.toml").write_text('out = "out"\n[data]\nraw = "raw"\nformat = "tcf"')
    assert run_pipeline(settled / "q.toml").summary() == ""


def test_a_catalogue_of_trained_items_is_evaluated_and_recommended_from(settled: Path) -> None:
    def recommended_from() -> list[bytes]:
        files = (settled / "out/recommendations" / f"{name}.parquet" for name in ("text", "id"))
        return [pq.read_schema(file).metadata[b"tcf.catalogue"] for file in files]

    assert recommended_from() == [b"all", b"trained"]  # each run by what it knows of untrained items
    done = run_pipeline(change(settled / "p.toml", "[evaluate]", '[evaluate]\ncatalogue = "trained"'))
    assert {found.metrics["catalogue"] for found in done.evaluations.values()} == {"trained"}
    assert recommended_from() == [b"trained", b"trained"]
