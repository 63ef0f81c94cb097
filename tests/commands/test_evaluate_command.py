import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from small.command_line import run_program
from tcf.cli import main
from tcf.commands.app import app
from tcf.evaluate.evaluation import open_evaluation


def test_the_command_prints_the_metrics(runs: Path, tmp_path: Path) -> None:
    words = ["evaluate", str(runs / "id"), "--out", str(tmp_path / "e"), "--device", "cpu", "--split", "validation"]
    printed = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)
    assert printed.pop("evaluation") == str(tmp_path / "e")
    assert printed == json.loads((tmp_path / "e" / "metrics.json").read_text())
    # What early stopping has measured is the same number.
    facts = json.loads((runs / "id" / "manifest.json").read_text())["facts"]
    assert printed["hr@10"] == pytest.approx(facts["hr@10"], abs=1e-9)
    assert printed["ndcg@10"] == pytest.approx(facts["ndcg@10"], abs=1e-9)
    lines = CliRunner().invoke(app, words).stdout.splitlines()
    assert lines[0] == f"evaluation: {tmp_path / 'e'}"
    ends = {name: [f"{100 * end:.2f}" for end in ends] for name, ends in printed["intervals"].items()}
    assert lines[1:] == [
        *(f"validation {name}: {100 * printed[name]:.2f}% ({low} to {high})" for name, (low, high) in ends.items()),
        "users: 60",
        "targets: 60",
        "users without training: 0",
        "candidates: 30",
        "targets outside catalogue: 0",
        "several targets: all",
        "catalogue: all",
        "exclude: kept",
        "seen: keep",
        "untrained users: keep",
        "split: validation",
        "intervals: 95 % (10,000 resamples) over users",
    ]
    assert [*ends] == ["hr@10", "ndcg@10", "mrr@10", "mrr"]


def test_the_command_evaluates_a_baseline(runs: Path, tmp_path: Path) -> None:
    words = ["evaluate", "--baseline", "random", "--data", str(runs / "data"), "--seed", "7"]
    done = CliRunner().invoke(app, [*words, "--out", str(tmp_path / "e"), "--json"])
    printed = json.loads(done.stdout)
    assert printed["users"] == 60
    again = CliRunner().invoke(app, [*words, "--out", str(tmp_path / "e")])
    assert f"\ntest hr@10: {100 * printed['hr@10']:.2f}% (" in again.stdout
    assert json.loads((tmp_path / "e" / "manifest.json").read_text())["config"]["ranking"] == "random, seed 7"


def test_several_are_a_table_or_a_list(made: Path, tmp_path: Path) -> None:
    words = ["evaluate", *map(str, (made / "id", made / "text")), "--baseline", "random", "--baseline", "popularity"]
    words += ["--out", str(tmp_path / "e"), "--device", "cpu"]
    first = CliRunner().invoke(app, words)
    names = ["random", "popularity", "id", "text"]
    assert [line.split()[0] for line in first.stdout.splitlines()][:5] == ["ranking", *names]
    printed = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)
    assert [entry.pop("name") for entry in printed] == names
    for name, entry in zip(names, printed, strict=True):
        assert entry.pop("evaluation") == str(tmp_path / "e" / name)
        assert entry == json.loads((tmp_path / "e" / name / "metrics.json").read_text())
    # One that fails: the others are printed, and the command has failed.
    more = CliRunner().invoke(app, [*words, str(made / "none"), "--json"])
    assert [entry["name"] for entry in json.loads(more.stdout)] == names
    assert "found 1 of them failed (none: " in str(more.exception)


def test_groups_follow_from_an_evaluation_that_is_there(made: Path, tmp_path: Path) -> None:
    words = ["evaluate", "--baseline", "popularity", "--data", str(made / "data"), "--out", str(tmp_path / "e")]
    alone = CliRunner().invoke(app, words).stdout
    before = (tmp_path / "e" / "ranks.parquet").stat().st_mtime_ns
    grouped = CliRunner().invoke(app, [*words, "--by", "cold", "--by", "history:3"])
    groups = open_evaluation(tmp_path / "e").groups(["cold", "history:3"])
    assert grouped.stdout == f"{alone}\n{groups}\n"
    assert (tmp_path / "e" / "ranks.parquet").stat().st_mtime_ns == before
    printed = json.loads(CliRunner().invoke(app, [*words, "--by", "cold", "--json"]).stdout)
    assert [entry["group"] for entry in printed["groups"]] == ["cold", "warm"]
    assert sum(entry["users"] for entry in printed["groups"]) == printed["users"]
    many = [*words, "--baseline", "random", "--out", str(tmp_path / "many"), "--by", "cold"]
    *_, last = CliRunner().invoke(app, many).stdout.split("\n\n")
    assert last == f"random\n{open_evaluation(tmp_path / 'many' / 'random').groups('cold')}\n"
    assert [len(entry["groups"]) for entry in json.loads(CliRunner().invoke(app, [*many, "--json"]).stdout)] == [2, 2]
    wrong = CliRunner().invoke(app, [*words, "--out", str(tmp_path / "none"), "--by", "warmer"])
    assert str(wrong.exception).startswith("--by: expected cold, warm:20,50,200")
    assert not (tmp_path / "none").exists()


@pytest.fixture
def signals() -> Iterator[None]:
    """`main` takes over the signals of its process."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            "evaluate data --out e",
            "data: expected a directory of format tcf-run made by `tcf train`, found format tcf-d",
        ),
        (
            "evaluate nowhere --out e",
            "nowhere: expected a directory of format tcf-run made by `tcf train`, found nothing",
        ),
        ("evaluate --baseline popularity --out e", "--baseline: expected --data as well, or runs, found neither"),
        ("evaluate --baseline popularity --data data --cache cache --out e", "expected run directories, or --baseline"),
        ("evaluate --out e", "expected run directories, or --baseline with --data"),
        ("evaluate --baseline popular --data data --out e", "--baseline: expected one of popularity, random, co-occ"),
        ("evaluate id text --devices abacus --out e", "--devices: expected auto, cpu, cuda or cuda:N, found 'abacus'"),
        ("evaluate id --device cpu --devices cpu --out e", "--devices: expected no --device besides, found cpu"),
        ("evaluate --baseline popularity --data cache --out e", "cache: expected a directory of format tcf-dataset"),
        ("evaluate id --out e --by nowhere.csv:category", "nowhere.csv: expected a readable file"),
        ("evaluate id --out data", "data: expected a directory of format tcf-evaluation"),
        ("evaluate id --out e --device abacus", "--device: expected auto, cpu, cuda or cuda:N, found 'abacus'"),
    ],
)
@pytest.mark.usefixtures("signals")
def test_errors_are_one_line_and_status_2(
    made: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: str,
    message: str,
) -> None:
    monkeypatch.chdir(made)
    monkeypatch.setattr(sys, "argv", ["tcf", *words.split()])
    with pytest.raises(SystemExit) as ended:
        main()
    printed, said = capsys.readouterr()
    assert (ended.value.code, printed) == (2, "")
    assert said.startswith(f"tcf: error: {message}")
    assert said.count("\n") == 1
    assert not (made / "e").exists()


def test_recommendations_go_to_standard_output_and_the_rest_aside(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    words = ["recommend", str(runs / "id"), "--k", "2", "--device", "cpu"]
    with run_program(monkeypatch) as run:
        assert run([*words, "--out", str(tmp_path / "r.csv")]) == 0
        capfdbinary.readouterr()
        assert run([*words, "--out", "-", "--json"]) == 0
        found = capfdbinary.readouterr()
        assert found.out == (tmp_path / "r.csv").read_bytes()
        assert json.loads(found.err[found.err.index(b"{") :]).items() >= {"out": "-", "k": 2, "users": 60}.items()
        # Of another number of items, so that the file is written again.
        assert run([*words[:3], "3", *words[4:], "--out", str(tmp_path / "r.csv")]) == 0
        assert found.out != (tmp_path / "r.csv").read_bytes()
        (tmp_path / "r.csv").write_text("precious")
        assert run([*words, "--out", str(tmp_path / "r.csv")]) == 2
        assert (tmp_path / "r.csv").read_text() == "precious"
