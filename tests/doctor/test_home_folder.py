"""What `tcf doctor` finds below TCF_HOME, and what `--clean` removes of it."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from tcf.commands.app import app
from tcf.common.errors import ConfigError, DataError
from tcf.common.files import publishing, staging_place, this_machine
from tcf.common.manifest import Format, seal
from tcf.doctor.entries import Entry, remove
from tcf.doctor.home_folder import inspect_home
from tcf.doctor.leftovers import leftover_state, open_files

ASSET = Format(name="tcf-asset", version=1, error=DataError, made_by="tcf data download")


def download(folder: Path) -> Path:
    """A whole asset."""
    with publishing(folder) as staging:
        (staging / "weights").write_bytes(bytes(1000))
        seal(staging, ASSET, inputs={}, config={}, facts={})
    return folder


def dead_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def filled(path: Path, n: int = 100) -> Path:
    path.mkdir(parents=True)
    (path / "body").write_bytes(bytes(n))
    return path


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One of each."""
    folder = tmp_path / "home"
    monkeypatch.setenv("TCF_HOME", str(folder))
    download(folder / "models" / "whole")
    (download(folder / "models" / "changed") / "notes.txt").write_text("mine")
    filled(folder / "models" / "by-hand")
    (folder / "models" / "link").symlink_to(folder / "models" / "whole")
    download(folder / "datasets" / "ml-100k")
    filled(folder / "downloads" / "0123-a.zip", 300)
    filled(folder / "downloads" / f".0123-b.zip.partial-{this_machine()}-{dead_process()}-0123abcd", 200)
    filled(staging_place(folder / "downloads" / "0123-c.zip"))
    filled(folder / "downloads" / ".0123-d.zip.partial-ffffffffffff-1-0123abcd")
    filled(folder / "trials")
    filled(folder / "mine")
    return folder


def names(entries: list[Entry]) -> dict[str, Any]:
    return {entry.path.name.split(".partial")[0]: (entry.state, entry.group) for entry in entries}


def doctor(*words: object, typed: str | None = None) -> Result:
    return CliRunner().invoke(app, ["doctor", *map(str, words)], input=typed)


def test_everything_is_listed_with_its_size_and_what_can_be_removed(home: Path) -> None:
    entries = inspect_home(home)
    assert names(entries) == {
        "whole": ("", "models"),
        "changed": ("holds other files (notes.txt), kept", None),
        "by-hand": ("not downloaded by tcf, kept", None),
        "link": ("a link, kept", None),
        "ml-100k": ("", "datasets"),
        "0123-a.zip": ("resumes when it is requested again", "partial"),
        ".0123-b.zip": ("stale", "partial"),
        ".0123-c.zip": ("in use", None),
        ".0123-d.zip": ("of another machine", None),
        "trials": ("1 file", "remembered"),
        "mine": ("not written by tcf, kept", None),
    }
    sizes = {entry.path.name: entry.bytes for entry in entries}
    assert (sizes["0123-a.zip"], sizes["by-hand"]) == (300, 100)
    assert sizes["whole"] == 1000 + (home / "models" / "whole" / "manifest.json").stat().st_size
    assert inspect_home(home / "nowhere") == []


def test_what_another_machine_left_is_stale_a_day_after_its_last_change(home: Path) -> None:
    [place] = (home / "downloads").glob(".*-ffffffffffff-*")
    assert leftover_state(place) == "of another machine"
    for path in (place / "body", place):
        os.utime(path, (time.time() - 90_000,) * 2)
    assert leftover_state(place) == "stale"
    (place / "more").touch()
    assert leftover_state(place) == "of another machine"


def kept_after(home: Path, *words: object, typed: str | None = None) -> set[str]:
    done = doctor("--clean", *words, typed=typed)
    assert done.exit_code == 0, done.output
    return {path.name.split(".partial")[0] for folder in home.iterdir() for path in (folder, *folder.iterdir())}


def test_unfinished_downloads_are_removed_and_nothing_else(home: Path) -> None:
    before = kept_after(home, "partial", typed="n\n")
    assert ".0123-b.zip" in before
    done = doctor("--clean", "partial", typed="y\n")
    assert "2 removed, 500 B freed" in done.stdout
    assert "Remove them?" in done.stderr
    assert kept_after(home, "partial", "--yes") == before - {"0123-a.zip", ".0123-b.zip"}
    assert doctor("--clean", "partial", "--yes").stdout.endswith("to be removed: nothing\nnothing removed\n")


def test_all_that_can_be_fetched_or_made_again(home: Path) -> None:
    assert kept_after(home, "all", "--yes") == {
        *("models", "changed", "by-hand", "link", "datasets", "downloads", ".0123-c.zip", ".0123-d.zip"),
        *("mine", "body"),
    }
    assert (home / "models" / "changed" / "notes.txt").read_text() == "mine"


def test_as_json_nothing_is_removed_without_yes(home: Path) -> None:
    told = json.loads(doctor("--clean", "models", "--json").stdout)
    assert [entry["path"] for entry in told["to_be_removed"]] == [str(home / "models" / "whole")]
    assert (told["removed"], told["freed_bytes"]) == ([], 0)
    assert (home / "models" / "whole").is_dir()
    told = json.loads(doctor("--clean", "models", "--json", "--yes").stdout)
    assert told["removed"] == [str(home / "models" / "whole")]
    assert told["freed_bytes"] == told["to_be_removed"][0]["bytes"]
    assert not (home / "models" / "whole").exists()


def test_a_damaged_download_is_a_problem(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    assert doctor().exit_code == 0
    (home / "datasets" / "ml-100k" / "weights").write_bytes(b"half")
    done = doctor()
    assert done.exit_code == 1
    problem = f"problem: {home / 'datasets' / 'ml-100k'}: damaged (weights); run `tcf doctor --clean datasets`; it is d"
    assert done.stdout.splitlines()[-1].startswith(problem)
    assert "ml-100k" not in kept_after(home, "datasets", "--yes")


def test_nobody_to_ask(home: Path) -> None:
    done = doctor("--clean", "models", typed="")
    assert isinstance(done.exception, ConfigError)
    assert "pass --yes" in str(done.exception)
    assert (home / "models" / "whole").is_dir()
    assert isinstance(doctor("--yes").exception, ConfigError)


@pytest.fixture
def reader(home: Path) -> Iterator[None]:
    """Another process that has a file of a model open."""
    program = "import sys; file = open(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", program, str(home / "models" / "whole" / "weights")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout and process.stdout.readline() == b"open\n"
        yield
        process.kill()


@pytest.mark.usefixtures("reader")
def test_what_is_open_is_kept(home: Path) -> None:
    done = doctor("--clean", "models", "--yes")
    assert f"kept, because it is in use or cannot be removed: {home / 'models' / 'whole'}\n0 removed" in done.stdout
    assert (home / "models" / "whole" / "weights").is_file()


def test_what_another_process_took_meanwhile_is_not_counted(home: Path) -> None:
    entry = next(entry for entry in inspect_home(home) if entry.path.name == "0123-a.zip")
    assert remove(entry, open_files())
    assert not remove(entry, frozenset())
