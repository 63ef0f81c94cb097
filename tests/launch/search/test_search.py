"""A search with real trainings in processes of their own."""

import csv
import json
import os
import random
import shutil
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest
from optuna import load_study
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from typer.testing import CliRunner

from small.launch.kills import run_command
from small.launch.searches import change, workplace
from tcf.commands.app import app
from tcf.common.errors import RunError, TcfError
from tcf.common.files import is_published, this_machine
from tcf.common.units import as_percent
from tcf.config.fields import read_toml
from tcf.launch.search.search import SearchResult, run_search
from tcf.launch.search.search_file import SearchFile, read_search
from tcf.launch.search.study import JOURNAL
from tcf.train.run.open_run import open_run


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("search")


@pytest.fixture(scope="module")
def done(place: Path) -> SearchResult:
    return run_search(read_search(workplace(place, "undisturbed")))


def table(search: SearchFile) -> list[dict[str, str]]:
    with (search.out / "trials.csv").open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_all_trials_are_kept_and_listed(done: SearchResult) -> None:
    out = done.search.out
    rows = table(done.search)
    assert sorted(row["run"] for row in rows) == [f"trials/{number:04d}" for number in range(7)]
    for row in rows:
        settings = read_toml(out / row["run"] / "config.toml")
        assert (str(settings["width"]), repr(settings["learning_rate"])) == (row["width"], row["learning_rate"])
        assert is_published(out / row["run"]) == (row["state"] == "trained")
        if row["state"] == "trained":
            assert open_run(out / row["run"]).manifest.facts["hr@10"] == float(row["hr@10"])
    values = [float(row["hr@10"]) for row in rows if row["state"] == "trained"]
    assert values == sorted(values, reverse=True)
    assert values[0] == done.best.value
    assert f"7 trials ({len(values)} trained, {7 - len(values)} pruned) in {out}" in done.summary()


def test_a_pruned_trial_stops_early(done: SearchResult) -> None:
    pruned = [row for row in done.rows if row.state == "pruned"]
    assert pruned
    for row in pruned:
        epochs = (done.search.out / "trials" / f"{row.number:04d}" / "epochs.jsonl").read_text().splitlines()
        assert len(epochs) == row.metadata["epochs"] < 4


def test_the_best_settings_give_the_best_value_again(done: SearchResult, tmp_path: Path) -> None:
    ended = run_command("train", "--config", done.configuration, "--out", tmp_path / "again", folder=tmp_path / "again")
    assert ended.status == 0, ended.said
    run = open_run(tmp_path / "again")
    assert run.manifest.facts["hr@10"] == done.best.value
    original = open_run(done.search.out / "trials" / f"{done.best.number:04d}")
    assert run.manifest.fingerprint == original.manifest.fingerprint


def test_options_override_a_configuration_file(done: SearchResult, tmp_path: Path) -> None:
    words = ("train", "--config", done.configuration, "--epochs", "1", "--width", "4", "--out", tmp_path / "other")
    ended = run_command(*words, folder=tmp_path / "other")
    assert ended.status == 0, ended.said
    config = open_run(tmp_path / "other").config
    best = read_toml(done.configuration)
    assert (config.epochs, config.width) == (1, 4)
    assert (config.learning_rate, config.items) == (best["learning_rate"], "id")


def test_a_search_that_has_ended_is_left_as_it_is(done: SearchResult, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in done.search.out.glob("trials/*/*")}
    again = run_search(done.search)
    assert again.rows == done.rows
    assert {path: path.stat().st_mtime_ns for path in done.search.out.glob("trials/*/*")} == before
    assert "search: 7/7 trials" in capsys.readouterr().err


def test_the_command_prints_the_trials(done: SearchResult) -> None:
    printed = json.loads(CliRunner().invoke(app, ["search", str(done.search.path), "--json"]).stdout)
    assert (printed["out"], printed["configuration"]) == (str(done.search.out), str(done.configuration))
    assert printed["trials"][0] == printed["best"]
    assert printed["monitor"] == "hr@10"
    assert printed["best"]["validation_hr@10"] == done.best.value
    assert [trial["state"] for trial in printed["trials"]] == [row.state for row in done.rows]
    head, first = done.summary().splitlines()[:2]
    assert head.split("  ")[0] == "trial" and head.index("validation hr@10") < head.index("validation ndcg@10")
    assert as_percent(done.best.value or 0) in first


def test_killed_and_started_again_it_ends_as_undisturbed(done: SearchResult, place: Path) -> None:
    seed = int(os.environ.get("TCF_TEST_SEED", time.time_ns() % 2**32))
    print(f"TCF_TEST_SEED={seed}")
    chance = random.Random(seed)
    file = workplace(place, "killed")
    out = read_search(file).out
    # The journal's lock is given back with a rename, the results are published with one: each is a step of the search.
    for _ in range(2):
        ended = run_command("search", file, folder=out, hit=chance.randint(2, 30), by=signal.SIGKILL)
        assert ended.status == -signal.SIGKILL, ended.said
    ended = run_command("search", file, folder=out)
    assert ended.status == 0, ended.said
    assert str(out / "best.toml") in ended.printed
    for name in ("trials.csv", "best.toml", *(f"trials/{row.number:04d}/model.safetensors" for row in done.rows)):
        assert (out / name).read_bytes() == (done.search.out / name).read_bytes(), name


def test_the_best_run_is_checked_before_a_search_says_that_it_is_done(done: SearchResult, place: Path) -> None:
    out = Path(shutil.copytree(done.search.out, place / "copied"))
    search = replace(done.search, out=out)
    run = out / f"trials/{done.best.number:04d}"
    whole = (run / "model.safetensors").read_bytes()
    (run / "model.safetensors").write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(RunError, match=rf"model\.safetensors: .*; remove {run} and run `tcf train --config {out}/best"):
        run_search(search)
    shutil.rmtree(run)
    with pytest.raises(RunError, match=rf"{run}: expected a directory of format tcf-run .*found nothing"):
        run_search(search)
    ended = run_command("train", "--config", out / "best.toml", "--out", run, folder=out)
    assert ended.status == 0, ended.said
    assert run_search(search).best == done.best


def test_two_workers_with_text_and_trials_that_fail(place: Path) -> None:
    file = workplace(place, "grid")
    search = change(
        file,
        ("trials = 7", 'sampler = "grid"\nworkers = 2'),
        ("[search]", f'cache = "{place}/cache"\n[search]'),
        ('items = "id"\nepochs = 4', 'epochs = 1\nmonitor = "ndcg@10"'),
        ("{low = 1e-4, high = 1e-1, log = true}", "[0.01, 1e36]"),
        ("[8, 16]", '[8]\nitems = ["text", "id"]'),
    )
    result = run_search(search)
    assert {row.params["items"] for row in result.rows if row.state == "trained"} == {"text", "id"}
    failed = [row for row in result.rows if row.params["learning_rate"] == 1e36]
    assert [row.state for row in failed] == ["failed", "failed"]
    assert all("learning" in row.reason for row in failed)
    logs = [(search.out / "logs" / f"worker-{number}.log").read_text() for number in (1, 2)]
    trained = [{line for line in log.splitlines() if line.startswith(f"{search.out}/trials/")} for log in logs]
    assert all(trained)
    assert len(trained[0] | trained[1]) == len(trained[0]) + len(trained[1]) == 4
    journal = JournalStorage(JournalFileBackend(str(search.out / JOURNAL)))
    for trial in load_study(study_name=None, storage=journal).trials:
        # The only epoch was the best one, and all users were asked: what the worker sent is what its run found.
        found = trial.user_attrs.get("facts", {})
        assert trial.intermediate_values == ({1: found["ndcg@10"]} if found else {})
    best = read_toml(result.configuration)
    assert (best["learning_rate"], best["monitor"]) == (0.01, "ndcg@10")
    assert best["inputs"]["data"] == "../data"
    assert best["inputs"].get("cache") == ("../cache" if best["items"] == "text" else None)


def test_a_search_in_which_everything_fails_is_an_error(tmp_path: Path) -> None:
    odd = (("trials = 7", "trials = 1"), ("[8, 16]", "{low = 4, high = 99999}"), ("epochs = 4", "heads = 4"))
    with pytest.raises(
        RunError, match=r"expected a trial that can be trained, found 1 that failed, the last because of: .*of heads 4"
    ):
        run_search(change(workplace(tmp_path), *odd))


def test_a_folder_that_is_no_search_is_refused(tmp_path: Path) -> None:
    search = read_search(workplace(tmp_path))
    search.out.mkdir()
    (search.out / "notes.txt").write_text("")
    with pytest.raises(RunError, match="expected a search or an unused path, found other files"):
        run_search(search)


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    search = read_search(workplace(tmp_path))
    search.out.mkdir()
    with subprocess.Popen(["sleep", "30"]) as other:
        (search.out / ".search.claim").write_text(f'{{"machine": "{this_machine()}", "pid": {other.pid}}}')
        with pytest.raises(RunError, match="expected a search that no other process runs"):
            run_search(search)
        other.kill()


def test_missing_inputs_are_named_before_anything_is_made(tmp_path: Path) -> None:
    search = change(workplace(tmp_path), (f'data = "{tmp_path}/data"', 'data = "nowhere"'))
    with pytest.raises(TcfError, match="nowhere"):
        run_search(search)
    assert not search.out.exists()
