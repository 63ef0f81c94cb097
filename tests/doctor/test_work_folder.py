"""What `tcf doctor FOLDER` lists: results with their sizes, and unfinished work."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from small.data.caches import new_token_states
from small.evaluate.combinations import combined
from small.train.trainings import Killed, Train, interrupted_at
from tcf.assets.models import MODELS
from tcf.commands.app import app
from tcf.common.errors import ConfigError
from tcf.common.files import this_machine
from tcf.common.lease_file import acquire
from tcf.data.cache.cache_files import KINDS as CACHE_KINDS
from tcf.data.dataset import DATASET
from tcf.doctor.work_folder import KINDS, inspect_folder
from tcf.encoders.convert.convert import CONVERTED
from tcf.evaluate.combination.recorded_combination import COMBINATION
from tcf.evaluate.evaluation import EVALUATION
from tcf.launch.search.study import JOURNAL
from tcf.train.run.file_names import RUN


def test_every_format_has_a_name() -> None:
    caches = [kind.cache for kind in CACHE_KINDS]
    formats = [DATASET, *caches, RUN, COMBINATION, EVALUATION, CONVERTED, MODELS[0].format]
    assert list(KINDS) == [format.name for format in formats]


@pytest.fixture
def folder(run_train: Train, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A dataset, caches, a run, and all kinds of unfinished work."""
    run_train("runs/whole")
    combined(tmp_path / "both", tmp_path / "runs" / "whole", weights=(1, 1), baselines=("popularity",))
    with monkeypatch.context() as patch:
        interrupted_at(patch, 6)
        with pytest.raises(Killed):
            run_train("runs/broken-off")
    new_token_states(tmp_path / "states")
    for name in (f".cache.{'0a' * 16}.sweep", f".model.{'0a' * 8}.convert", "search/trials/0000", ".git/objects"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "x").write_bytes(bytes(10))
    (tmp_path / "search" / JOURNAL).touch()
    half = tmp_path / "cache" / "shards" / f".0001.partial-{this_machine()}-999999999-0123abcd"
    half.mkdir()
    (half / "vectors.npy").write_bytes(bytes(50))
    (tmp_path / "link").symlink_to(tmp_path / "runs")
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "manifest.json").write_text('{"name": "not of tcf"}')
    return tmp_path


def test_what_is_found(folder: Path) -> None:
    found = {str(entry.path.relative_to(folder)).split(".partial")[0]: entry for entry in inspect_folder(folder)}
    assert {name: (entry.kind, entry.state) for name, entry in found.items()} == {
        f".cache.{'0a' * 16}.sweep": ("unfinished sweep", "resumes with the same `tcf extract`, or remove it"),
        f".model.{'0a' * 8}.convert": (
            "unfinished conversion",
            "resumes with the same `tcf convert`, or remove it",
        ),
        "both": ("combination", ""),
        "cache": ("vector cache", ""),
        "cache/shards/.0001": ("half written", "stale"),
        "data": ("dataset", ""),
        "runs/broken-off": ("unfinished run", "resumes with the same `tcf train`"),
        "runs/whole": ("run", ""),
        "search": ("search", "1 trial"),
        "states": ("cache of token states", ""),
    }
    assert found["data"].bytes == sum(file.stat().st_size for file in (folder / "data").rglob("*") if file.is_file())
    assert found["cache/shards/.0001"].bytes == 50
    acquire(folder / "cache" / "shards" / ".0002.claim")
    acquire(folder / "runs" / "broken-off" / ".training.claim")
    states = {entry.path.name: entry.state for entry in inspect_folder(folder)}
    assert states["cache"] == "being filled"
    assert states[f".cache.{'0a' * 16}.sweep"] == "in use"
    assert states["broken-off"] == "being trained"


def test_the_command_lists_folders_and_removes_what_is_half_written(
    folder: Path, own_home: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    done = CliRunner().invoke(app, ["doctor", str(folder)])
    assert done.exit_code == 0, done.output
    assert f"found in {folder}: " in done.stdout and done.stdout.endswith("no problems found\n")
    words = ["doctor", *(str(folder / name) for name in ("runs", "", "runs/../runs", "cache")), "--json"]
    found = json.loads(CliRunner().invoke(app, words).stdout)["found"]
    assert list(found) == [str(folder / "runs"), str(folder)]
    paths = [entry["path"] for entries in found.values() for entry in entries]
    assert len(paths) == len(set(paths)) == len(inspect_folder(folder))
    words = ["doctor", str(folder / "cache"), "--clean", "all", "--yes", "--json"]
    told = json.loads(CliRunner().invoke(app, words).stdout)
    assert (len(told["removed"]), told["freed_bytes"]) == (1, 50)
    assert [path.name for path in (folder / "cache" / "shards").glob(".*")] == []
    refused = CliRunner().invoke(app, ["doctor", str(folder / "nowhere")])
    assert isinstance(refused.exception, ConfigError)
