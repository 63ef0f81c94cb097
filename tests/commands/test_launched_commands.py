"""Commands whose work is handed to a launcher: they print and write what they do in their own process."""

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from small.command_line import run_program
from small.extract.devices import Work, made_work
from small.launch.in_this_process import InThisProcess, launched_here
from small.launch.searches import workplace
from tcf.config.launch import LaunchConfig
from tcf.launch.search import search
from tcf.launch.search.search_file import SearchFile
from tcf.launch.units.tasks import SearchTask, decode_task

SLURM = ["--launcher", "slurm", "--partition", "gpu", "--tries", "1"]
EXTRACT = "--shard-rows 4 --tokens-per-batch 512 --devices cpu".split()
TRAIN = "--items id --width 8 --epochs 2 --devices cpu --batch-size 32".split()


@pytest.fixture
def launchers(monkeypatch: pytest.MonkeyPatch) -> list[InThisProcess]:
    return launched_here(monkeypatch)


@pytest.fixture
def tcf(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Iterator[Any]:
    """Runs a command line in `tmp_path`; returns its status, output and standard error."""
    monkeypatch.chdir(tmp_path)
    with run_program(monkeypatch) as run:

        def ran(words: Sequence[object]) -> tuple[int, str, str]:
            capfd.readouterr()
            status = run([*map(str, words)])
            return status, *capfd.readouterr()

        yield ran


def content(folder: Path, *, but: Sequence[str] = ()) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and not {*but} & {path.name, path.parent.name})
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def errors(said: str) -> list[str]:
    return [line for line in said.splitlines() if line.startswith("tcf: error: ")]


def test_a_training_in_a_job(tcf: Any, launchers: list[InThisProcess], made: Path, tmp_path: Path) -> None:
    """With a relative path of the dataset, which the job knows as an absolute one."""
    shutil.copytree(made / "data", tmp_path / "data")
    here = tcf(["train", "--data", "data", "--out", "a/run", *TRAIN, "--json"])
    there = tcf(["train", "--data", "data", "--out", "b/run", *TRAIN, *SLURM, "--nodes-per-worker", "2", "--json"])
    assert (here[0], there[0]) == (0, 0), there[2]
    assert json.loads(there[1]) == {**json.loads(here[1]), "run": "b/run"}
    # The manifest and the log of the epochs have times.
    one, other = (content(tmp_path / folder / "run", but=["events"]) for folder in "ab")
    assert one.keys() == other.keys() >= {"config.toml", "model.safetensors"}
    assert {name for name in one if one[name] != other[name]} <= {"manifest.json", "epochs.jsonl"}
    [launcher] = launchers
    expected = LaunchConfig("slurm", partition="gpu", tries=1, nodes_per_worker=2)
    assert {*launcher.launch.values()} == {expected} and "search" in launcher.launch
    assert (tmp_path / "b" / "run.jobs" / "logs" / "train.log").exists()
    again = tcf(["train", "--data", "data", "--out", "b/run", *TRAIN, *SLURM, "--json"])
    assert json.loads(again[1]) == {**json.loads(there[1]), "trained": False}


def test_an_error_of_a_job_is_that_of_the_command(
    tcf: Any, launchers: list[InThisProcess], made: Path, tmp_path: Path
) -> None:
    """In the same words, with the end of the log and where it is; other options go on where it was."""
    words = ["train", "--data", made / "nothing", "--out", "run", *TRAIN]
    here, there = tcf(words), tcf([*words, *SLURM])
    assert (here[0], there[:2]) == (2, (2, ""))
    assert errors(here[2]) == errors(there[2]) != []
    assert f"the end of {tmp_path / 'run.jobs' / 'logs' / 'train.log'}:" in there[2]
    assert tcf(["train", "--data", made / "data", "--out", "run", *TRAIN, *SLURM])[0] == 0


def test_evaluations_in_jobs(tcf: Any, launchers: list[InThisProcess], runs: Path, tmp_path: Path) -> None:
    """One for each that is not there yet; one that fails does not stop the others."""
    (runs / "bad").mkdir()
    (runs / "spoilt").symlink_to(runs / "id")
    words = ["evaluate", runs / "id", runs / "bad", runs / "text", "--baseline", "popularity", "--resamples", "20"]
    here, there = (tcf([*words, "--out", out, *more]) for out, more in (("here", []), ("there", SLURM)))
    assert (here[0], there[0]) == (2, 2)
    assert here[1] == there[1] and "popularity" in here[1]
    assert errors(here[2])[0].replace("here", "there") == errors(there[2])[0]
    for name in ("id", "text", "popularity"):
        assert content(tmp_path / "here" / name) == content(tmp_path / "there" / name)
    assert [unit.name for unit in launchers[0].ran] == ["evaluate/popularity", "evaluate/id", "evaluate/text"]
    (runs / "bad").rmdir()
    shutil.copytree(runs / "id", runs / "bad")
    assert tcf([*words, "--out", "there", *SLURM])[0] == 0
    assert [unit.name for unit in launchers[1].ran] == ["evaluate/bad"]


def test_an_evaluation_that_fails_in_its_job(
    tcf: Any, launchers: list[InThisProcess], runs: Path, tmp_path: Path
) -> None:
    (runs / "id" / "model.safetensors").write_bytes(b"")
    words = ["evaluate", runs / "id", "--baseline", "popularity", "--resamples", "20", "--out"]
    here, there = tcf([*words, "here"]), tcf([*words, "there", *SLURM])
    assert (here[0], there[0]) == (2, 2)
    [own], [others] = errors(here[2]), errors(there[2])
    reason = own.partition("(id: ")[2].partition("); fix this")[0]
    assert reason and f"(id: {reason} (its log: {tmp_path / 'there.jobs' / 'logs' / 'evaluate' / 'id.log'})" in others
    assert here[1] == there[1]


def test_one_evaluation_in_a_job(tcf: Any, launchers: list[InThisProcess], made: Path, tmp_path: Path) -> None:
    words = ["evaluate", made / "text", "--lists", "--vectors", made / "cache", "--resamples", "20", "--by", "cold"]
    here, there = tcf([*words, "--out", "here"]), tcf([*words, "--out", "there", *SLURM])
    assert (here[0], there[0]) == (0, 0), there[2]
    assert there[1] == here[1].replace("here", "there")
    assert content(tmp_path / "here") == content(tmp_path / "there")
    # It is there: no job is needed to find it.
    assert tcf([*words, "--out", "there", *SLURM])[1] == there[1]
    assert len(launchers) == 1


def test_recommendations_of_a_job(tcf: Any, launchers: list[InThisProcess], made: Path, tmp_path: Path) -> None:
    """Another time they are made again, because the file may be one of other settings."""
    (tmp_path / "users.txt").write_text("u1\nu2\n")
    words = ["recommend", made / "text", "--k", "3", "--users", "users.txt", "--json", "--out"]
    here, there = tcf([*words, "here.parquet"]), tcf([*words, "there.parquet", *SLURM])
    assert (here[0], there[0]) == (0, 0), there[2]
    assert there[1] == here[1].replace("here", "there")
    assert (tmp_path / "here.parquet").read_bytes() == (tmp_path / "there.parquet").read_bytes()
    (tmp_path / "there.parquet").unlink()
    assert (
        tcf([*words[:-2], "--out", "there.parquet", *SLURM])[1] == "there.parquet: up to 3 items for each of 2 users\n"
    )
    assert (tmp_path / "there.parquet").exists()
    assert errors(tcf(["recommend", made / "text", "--out", "-", *SLURM])[2]) == [
        "tcf: error: --out: expected a file with --launcher slurm, found -; name a file"
    ]


def test_a_search_in_a_job(
    tcf: Any, launchers: list[InThisProcess], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job gets the file, with its paths as they are in the folder of the command."""
    file = workplace(tmp_path)
    file.write_text(file.read_text().replace(f"{tmp_path}/", ""))
    asked: list[SearchFile] = []

    class Found:
        def as_json(self) -> dict[str, Any]:
            return {"best": 1}

        def summary(self) -> str:
            return "the best"

    def found(file: SearchFile) -> Found:
        asked.append(file)
        return Found()

    monkeypatch.setattr(search, "run_search", found)
    assert tcf(["search", file.name, *SLURM])[:2] == (0, "the best\n")
    assert json.loads(tcf(["search", file.name, *SLURM, "--json"])[1]) == {"best": 1}
    assert len(asked) == 2
    assert (asked[-1].out, asked[-1].data) == (tmp_path / "search", tmp_path / "data")
    assert (tmp_path / "search.jobs" / "logs" / "search.log").exists()


def test_a_search_file_that_changes_is_another_task(tmp_path: Path) -> None:
    file = workplace(tmp_path)
    task = SearchTask.of(file)
    assert decode_task(json.loads(json.dumps(task.as_message()))) == task
    assert task.command == f"tcf search {file}"
    file.write_text(file.read_text().replace("trials = 7", "trials = 8"))
    assert SearchTask.of(file).identity != task.identity
    with pytest.raises(Exception, match=f"^{file}: expected the search file as it was when the command began"):
        task.run()


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Work:
    return made_work(tmp_path_factory.mktemp("work"))


def test_an_extraction_in_parts(tcf: Any, launchers: list[InThisProcess], work: Work, tmp_path: Path) -> None:
    """A cache of the bytes of one process, and the same words; parts that are done are not made again."""
    shutil.copytree(work.folder / "d", tmp_path / "d")
    words = ["extract", "--data", "d", "--model", work.folder / "m", *EXTRACT]
    here = tcf([*words, "--out", "here", "--parquet"])
    there = tcf([*words, "--out", "there", "--parquet", "--workers", 3, *SLURM])
    assert (here[0], there[0]) == (0, 0), there[2]
    assert there[1] == here[1].replace("here", "there") and "120 computed now" in there[1]
    assert content(tmp_path / "there", but=["work.json"]) == content(tmp_path / "here", but=["work.json"])
    assert (tmp_path / "there.parquet").read_bytes() == (tmp_path / "here.parquet").read_bytes()
    names = [unit.name.split("/")[-1] for unit in launchers[0].ran]
    assert names == ["0-of-3", "1-of-3", "2-of-3", "whole"]
    again = tcf([*words, "--out", "there", "--parquet", "--workers", 3, *SLURM, "--json"])
    assert json.loads(again[1])["computed"] == 0
    assert [unit.name for unit in launchers[1].ran] == ["extract/whole"]
    # A repair is no work for several: each would drop the shards of the others.
    assert tcf([*words, "--out", "there", "--repair", "--workers", 3, *SLURM])[0] == 0
    assert [unit.name for unit in launchers[2].ran] == ["extract/whole"]


def test_what_parts_have_missed_is_computed_at_the_end(
    tcf: Any, launchers: list[InThisProcess], work: Work, tmp_path: Path
) -> None:
    words = ["extract", "--data", work.folder / "d", "--model", work.folder / "m", *EXTRACT, "--out", "c"]
    assert tcf([*words, "--workers", 2, *SLURM])[0] == 0
    shutil.rmtree(tmp_path / "c" / "shards")
    (tmp_path / "c" / "shards").mkdir()
    again = tcf([*words, "--workers", 2, *SLURM])
    assert (again[0], len(launchers[1].ran)) == (0, 1) and "120 computed now" in again[1]


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (
            ["train", "--out", "r", "--memory", "3G"],
            "--memory: expected --launcher slurm as well, because it has no eff",
        ),
        (["train", "--out", "r", "--memory", "3"], "--memory: expected a size such as 64GB or 512M, found '3'"),
        (["evaluate", "r", "--out", "e", "--tries", "2"], "--tries: expected --launcher slurm as well, because it has"),
        (
            ["recommend", "r", "--out", "x.csv", "--qos", "q"],
            "--qos: expected --launcher slurm as well, because it has",
        ),
        (
            ["search", "f.toml", "--gpus-per-worker", "1"],
            "--gpus-per-worker: expected --launcher slurm as well, becaus",
        ),
        (["search", "f.toml", "--workers", "2"], "tcf search: --workers: unknown option"),
        (
            ["evaluate", "r", "--out", "e", "--nodes-per-worker", "2"],
            "tcf evaluate: --nodes-per-worker: unknown option",
        ),
        (["evaluate", "r", "--out", "e", "--devices", "cpu", *SLURM], "--devices: expected none with --launcher slurm"),
        (["evaluate", "r", "--out", "e", "--workers", "0"], "--workers: expected at least 1, found 0"),
    ],
)
def test_options_without_effect_are_refused(tcf: Any, words: list[str], error: str) -> None:
    status, printed, said = tcf(words)
    assert (status, printed) == (2, "")
    assert errors(said)[0].lower().startswith(f"tcf: error: {error}".lower())


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--workers", "2", "--shards", "0/2"], "--shards: expected to be left out with --launcher or --workers"),
        (["--workers", "2", "--devices", "cuda:0"], "--devices: expected auto or cpu with --workers, found cuda:0"),
        (["--gpus-per-worker", "9000"], "--gpus-per-worker, for extract: expected at most the "),
    ],
)
def test_parts_that_cannot_be(tcf: Any, work: Work, words: list[str], error: str) -> None:
    given = ["extract", "--data", work.folder / "d", "--model", work.folder / "m", "--out", "c", *words]
    status, printed, said = tcf(given)
    assert (status, printed) == (2, "")
    assert errors(said)[0].startswith(f"tcf: error: {error}")
