"""Paths that no command can use: each says so in one line, whichever of its paths it is, and computes nothing."""

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from small.command_line import run_program
from small.encoders.models import save_opt
from small.privileges import permissions_apply
from tcf.common.output.folders import walk

EVERY = os.environ.get("TCF_FAULTS") == "all"
# Each takes the path in the place of {}.
Run = Callable[[str], tuple[int, str]]
READERS = (
    "data prepare tcf {} --out new",
    "data prepare table raw --out new --events {} --user-column u --item-column i",
    "data describe {}",
    "data describe data --model {}",
    "data overlap {} data",
    "extract --data {} --model model --out new --devices cpu",
    "extract --data data --model {} --out new --devices cpu",
    "plan --model {} --items 5 --devices cpu",
    "convert {} --out new",
    "train --data {} --items id --out new --devices cpu",
    "train --cache {} --items text --out new --devices cpu",
    "train --config {} --out new",
    "evaluate {} --out new",
    "evaluate --baseline random --data {} --out new",
    "compare {} other={}",
    "recommend {} --out new.csv",
    "recommend id --out new.csv --users {} --device cpu",
    "pipeline {}",
    "search {}",
    "runs {}",
    "cache describe {}",
    "cache verify {}",
    "cache export {} --out new.csv",
    "cache merge {} cache --out new",
    "cache prune cache --data {} --out new",
    "cache compare {} cache",
    "doctor {}",
)
WRITERS = (
    "data prepare tcf raw --out {}",
    "extract --data data --model model --out {} --devices cpu",
    "convert bin --out {}",
    "train --data data --items id --out {} --devices cpu --epochs 1",
    "evaluate id --out {} --device cpu",
    "evaluate --baseline random --data data --out {}",
    "recommend id --out {}.csv --device cpu",
    "cache export cache --out {}.csv",
    "cache merge cache cache --out {}",
    "cache prune cache --data data --out {}",
)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Run]:
    with run_program(monkeypatch) as run:
        yield lambda words: (run(words.split(" ")), capfd.readouterr().err)


@pytest.fixture(scope="module")
def place(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything that commands read, and with paths that none can use."""
    folder = tmp_path_factory.mktemp("place")
    for name in ("data", "cache", "id"):
        (folder / name).symlink_to(made / name)
    (folder / "raw").mkdir()
    (folder / "raw" / "behaviors.tsv").write_text("u\ta b c\n")
    (folder / "raw" / "items.tsv").write_text("a\tA\nb\tB\nc\tC\n")
    save_opt(folder / "model")
    (folder / "bin").mkdir()
    (folder / "file").write_text("precious")
    (folder / "dangling").symlink_to("nowhere/at/all")
    (folder / "dangling.csv").symlink_to("file/below")
    (folder / "file.csv").write_text("precious")
    (folder / "link").symlink_to("file")
    (folder / "link.csv").symlink_to("file")
    for name in ("loop", "loop.csv"):
        (folder / name).symlink_to(name)
    for name, mode in (("locked", 0o500), ("hidden", 0o000)):
        (folder / name).mkdir()
        (folder / name / "inner").mkdir()
        (folder / name).chmod(mode)
    return folder


@pytest.fixture(autouse=True)
def within(place: Path, monkeypatch: pytest.MonkeyPatch, own_home: None) -> None:
    monkeypatch.chdir(place)


def is_one_line(said: str) -> bool:
    last = said.splitlines()[-1]
    return last.startswith("tcf: error: ") and said.count("tcf: error: ") == 1 and "Traceback" not in said


LONG = "a" * 300
NO_UTF_8 = os.fsdecode(b"caf\xe9")
UNREADABLE = [LONG, "loop", "dangling", "file/below", "hidden/inner", NO_UTF_8]
PLACES = [LONG, "loop", "dangling", "link", "file", "file/below", "locked/new", "hidden/new", NO_UTF_8, "/proc/new"]


def shown(path: str) -> str:
    return ascii(path)[1:-1] if len(path) < 80 else ascii(path)[1:15]


def pairs(commands: Sequence[str], paths: Sequence[str], some: int) -> list[tuple[str, str]]:
    """Each command with all paths; or with some of them, so that every path comes up as often."""
    step = 1 if EVERY else len(paths) // some
    turned = [[*paths, *paths][turn % len(paths) :][: len(paths) : step] for turn in range(len(commands))]
    return [(words, path) for words, chosen in zip(commands, turned, strict=True) for path in chosen]


@pytest.mark.parametrize(("words", "path"), pairs(READERS, UNREADABLE, 2), ids=shown)
def test_a_path_that_cannot_be_read(run: Run, words: str, path: str) -> None:
    with permissions_apply():
        status, said = run(words.replace("{}", path))
    assert (status, is_one_line(said)) == (2, True), said


@pytest.mark.parametrize(("words", "path"), pairs(WRITERS, PLACES, 3), ids=shown)
def test_a_path_that_cannot_be_written(run: Run, place: Path, words: str, path: str) -> None:
    before = sorted(place.iterdir())
    with permissions_apply():
        status, said = run(words.replace("{}", path))
    assert (status, is_one_line(said)) == (2, True), said
    assert sorted(place.iterdir()) == before
    assert {(place / name).read_text() for name in ("file", "file.csv", "link", "link.csv")} == {"precious"}
    # Nothing was computed: no progress and no plan were shown.
    assert not [line for line in said.splitlines() if "items/s" in line or "users/s" in line or "epochs" in line], said


@pytest.mark.parametrize("variable", ["TCF_HOME", "HOME"])
@pytest.mark.parametrize("path", [LONG, "loop", "file", "locked/new", "hidden/new", "/proc/new"], ids=shown)
def test_a_home_that_cannot_be_written(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, place: Path, variable: str, path: str
) -> None:
    monkeypatch.delenv("TCF_HOME")
    monkeypatch.setenv(variable, str(place / path))
    for words in ("data download hm", "doctor", "doctor --clean all --yes", f"convert bin --out {tmp_path / 'new'}"):
        with permissions_apply():
            status, said = run(words)
        assert words == "doctor" or status == 0 or is_one_line(said), said
        assert "Traceback" not in said


@pytest.mark.parametrize("words", ["doctor", "data prepare tcf raw --out new", "recommend id --out new.csv"])
def test_a_working_directory_that_was_removed(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, words: str
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    status, said = run(words)
    assert (status, is_one_line(said)) == (2, True), said


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """A folder of any depth. Not `tmp_path`: removing what is deeper than 1,000 is beyond pytest."""
    folder = Path(tempfile.mkdtemp(prefix="tcf-deep-"))
    yield folder
    for place, _, files in reversed([*walk(folder)]):
        for name in files:
            (place / name).unlink()
        place.rmdir()


def test_folders_may_be_nested_to_any_depth(run: Run, elsewhere: Path) -> None:
    deep = elsewhere.joinpath(*["d"] * 1_100)
    status, said = run(f"data prepare tcf raw --out {deep} --min-history 3")
    assert status == 0, said
    assert (deep / "manifest.json").is_file()
    for words in (f"runs {elsewhere}", f"doctor {elsewhere}"):
        status, said = run(words)
        assert "Traceback" not in said
        assert status == 0 or words.startswith("doctor"), said
