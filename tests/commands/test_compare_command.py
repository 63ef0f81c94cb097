"""`tcf compare` from the command line."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import tcf
from small.evaluate.judged import judged
from tcf.commands.app import app


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compare")
    judged(folder, "a", skill=1.5, seed=1)
    judged(folder, "b=c", skill=0, seed=2)
    for seed in range(2):
        judged(folder, f"s/seed-{seed}", skill=1, seed=seed)
    return folder


@pytest.fixture(autouse=True)
def in_the_folder(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(here)


def compare(*words: str) -> Result:
    return CliRunner().invoke(app, ["-q", "compare", "--resamples", "200", "--flips", "199", *words])


def test_it_prints_what_the_library_says() -> None:
    done = compare("a", "plain=s", "b=c", "--metrics", "hr@5,ndcg@20", "--by", "cold", "--by", "history:5")
    assert done.exit_code == 0, done.output
    evaluations = {"a": "a", "plain": "s", "b=c": "b=c"}
    found = tcf.compare_evaluations(evaluations, ["hr@5", "ndcg@20"], ["cold", "history:5"], resamples=200, flips=199)
    assert done.stdout == f"{found}\n"


def test_json_and_files(here: Path) -> None:
    done = compare("a", "s", "--metrics", "hr@5", "--json", "--out", "c.json", "--seed", "3", "--confidence", "0.9")
    assert done.exit_code == 0, done.output
    printed = json.loads(done.stdout)
    assert printed == json.loads((here / "c.json").read_text())
    assert (printed["seed"], printed["confidence"], printed["evaluations"]) == (3, 0.9, {"a": "a", "s": "s"})
    aside = compare("a", "s", "--metrics", "hr@5", "--out", "-")
    assert aside.stdout.startswith('"by","group","metric","first","second","difference",')


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a"], "evaluations: expected two or more, found 1"),
        (["a", "nowhere"], "nowhere: expected a directory of format tcf-evaluation"),
        (["a", "a"], "evaluations: expected different names, found a twice; give each one as NAME=PATH"),
        (["a", "s", "--metrics", "hr@x"], "metrics: expected metrics of ranks"),
        (["a", "s", "--by", "age"], "by: expected cold, warm:20,50,200"),
        (
            ["a", "s", "--confidence", "95"],
            "confidence: expected a probability between 0 and 1, such as 0.95, found 95",
        ),
        (["a", "s", "--out", "c.xlsx"], "--out: expected a file name that ends in .json, .parquet or .csv"),
        (["a", "data"], "data: expected a directory of format tcf-evaluation"),
    ],
)
def test_errors_say_what_to_do(words: list[str], message: str) -> None:
    done = compare(*words)
    assert isinstance(done.exception, tcf.TcfError)
    assert str(done.exception).startswith(message)
    assert "\n" not in str(done.exception)
