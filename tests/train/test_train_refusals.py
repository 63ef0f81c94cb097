from pathlib import Path

import numpy as np
import pytest

from small.train.runs import make_cache, make_dataset, walks
from small.train.trainings import SMALL, TEXTS, Train
from tcf.common.errors import CacheError, ConfigError, DataError, RunError
from tcf.config.train import TrainConfig
from tcf.train.run.open_run import open_run
from tcf.train.stage import train


@pytest.mark.usefixtures("shown_log")
def test_a_finished_run_is_returned_as_it_is(run_train: Train, capsys: pytest.CaptureFixture[str]) -> None:
    first = run_train()
    stamps = {p.name: p.stat().st_mtime_ns for p in first.path.iterdir()}
    again = run_train()
    assert (first.trained, again.trained) == (True, False)
    assert again.manifest == first.manifest
    assert list(again.metadata.items()) == list(first.metadata.items())
    assert list(first.metadata)[:4] == ["best_epoch", "hr@10", "ndcg@10", "epochs"]
    assert first.metadata == first.manifest.facts
    assert {p.name: p.stat().st_mtime_ns for p in first.path.iterdir()} == stamps
    assert "already trained" in capsys.readouterr().err


def test_a_finished_run_of_other_settings_or_inputs_is_refused(run_train: Train, tmp_path: Path) -> None:
    run_train()
    with pytest.raises(RunError, match=r"a finished run .*seed: 0 found, 4 requested.*name another --out"):
        run_train(seed=4)
    other = make_dataset(tmp_path, walks()[:-1], TEXTS, name="other")
    with pytest.raises(RunError, match="dataset: .* found, .* requested"):
        run_train(data=other.path)
    encoder = make_cache(tmp_path, other, np.ones((30, 4), np.float32), name="encoder", pooling="first")
    with pytest.raises(RunError, match="cache: .* found, .* requested"):
        run_train(cache=encoder.path)


@pytest.mark.usefixtures("shown_log")
def test_a_killed_run_is_no_run_and_starts_again(run_train: Train, capsys: pytest.CaptureFixture[str]) -> None:
    undisturbed = run_train("undisturbed")
    killed = run_train("killed").path
    (killed / "manifest.json").unlink()
    (killed / "optimizer.safetensors").unlink()
    (killed / "model.safetensors").write_bytes(b"half")
    (killed / ".model.safetensors.partial-abc-1-def").write_bytes(b"half")
    with pytest.raises(RunError, match="unfinished"):
        open_run(killed)
    capsys.readouterr()
    result = run_train("killed")
    assert result.trained
    assert "removed an unfinished attempt" in capsys.readouterr().err
    assert not list(killed.glob(".*"))
    assert len(list((killed / "events").iterdir())) == 1
    assert result.manifest.fingerprint == undisturbed.manifest.fingerprint


def test_a_killed_run_of_other_settings_is_refused(run_train: Train) -> None:
    path = run_train().path
    (path / "manifest.json").unlink()
    before = sorted(p.name for p in path.iterdir())
    with pytest.raises(RunError, match=r"an unfinished run .*width: 16 found, 32 requested.*remove it"):
        run_train(width=32)
    assert sorted(p.name for p in path.iterdir()) == before


def test_an_unfinished_run_says_that_its_dataset_was_moved(run_train: Train, tmp_path: Path) -> None:
    path = run_train().path
    (path / "manifest.json").unlink()
    settings = (path / "config.toml").read_text()
    assert 'data = "../' in settings
    (path / "config.toml").write_text(settings.replace('data = "../', 'data = "../old/'))
    gone = rf"its dataset at {tmp_path}/old/\S+ is gone: move it back to resume it, name another --out, or remove it"
    with pytest.raises(RunError, match=rf"data: ../old/\S+ found, ../\S+ requested; {gone}$"):
        run_train()


@pytest.mark.parametrize("names", [["thesis.doc"], ["config.toml", "thesis.doc"], ["model.safetensors"]])
def test_foreign_files_are_refused_and_stay(run_train: Train, tmp_path: Path, names: list[str]) -> None:
    (tmp_path / "run").mkdir()
    for name in names:
        (tmp_path / "run" / name).write_text("mine")
    with pytest.raises(RunError, match="found other files .*name another --out"):
        run_train()
    assert all((tmp_path / "run" / name).read_text() == "mine" for name in names)


def test_a_foreign_config_or_file_is_refused(run_train: Train, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.toml").write_text("not = [toml")
    with pytest.raises(RunError, match="name another --out"):
        run_train()
    (tmp_path / "run" / "config.toml").write_text('colour = "red"')
    with pytest.raises(RunError, match="colour: red found, nothing requested"):
        run_train()
    (tmp_path / "file").write_text("mine")
    with pytest.raises(RunError, match="found a file"):
        run_train("file")


def test_inputs_that_do_not_fit_the_items(run_train: Train, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="add --cache"):
        run_train(cache=None)
    config = TrainConfig(items="id", **SMALL)
    with pytest.raises(ConfigError, match="leave out --cache"):
        train(data=tmp_path / "data", caches=[tmp_path / "cache"], out=tmp_path / "run", config=config)
    assert not (tmp_path / "run").exists()


def test_a_failure_before_training_leaves_no_folder(run_train: Train, tmp_path: Path) -> None:
    other = make_dataset(tmp_path, [[0, 1, 2, 3]], [f"new {i}" for i in range(4)], name="other")
    with pytest.raises(CacheError, match="4 missing"):
        run_train(data=other.path)
    bad = make_cache(tmp_path, other, np.full((4, 3), np.inf, np.float32), name="bad", pooling="first")
    with pytest.raises(CacheError, match="finite"):
        run_train(data=other.path, cache=bad.path)
    short = make_dataset(tmp_path, [[0, 1, 2], [0, 1]], [f"new {i}" for i in range(4)], name="short")
    with pytest.raises(DataError, match="two training items"):
        run_train(data=short.path, items="id")
    assert not (tmp_path / "run").exists()
