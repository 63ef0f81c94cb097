"""The command that combines runs, and the function that does the same."""

import json
from pathlib import Path

import pytest

import tcf
from small.command_line import run_program
from small.train.trainings import trainings


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("runs")
    train = trainings(place)
    for items in ("text", "id"):
        train(items, items=items, epochs=1)
    return place


def test_the_command_prints_members_weights_and_metrics(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["combine", str(folder / "text"), f"ids={folder / 'id'}", "--baseline", "co-occurrence", "--device", "cpu"]
    with run_program(monkeypatch) as run:
        assert run([*words, "--out", str(tmp_path / "c"), "--weights", "2,1,1"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert run([*words, "--out", str(tmp_path / "c"), "--weights", "2,1,1", "--json"]) == 0
        printed = json.loads(capsys.readouterr().out)
        assert run([*words, "--out", str(tmp_path / "d"), "--weights", "2,x"]) == 2
        assert "--weights: expected numbers with commas between them, found '2,x'" in capsys.readouterr().err
        assert run([*words, "--out", str(tmp_path / "d"), "--baseline", "random"]) == 2
        assert "--baseline: expected one of co-occurrence, popularity, found 'random'" in capsys.readouterr().err
    assert lines[0].split() == ["member", "weight", "validation", "hr@10", "validation", "ndcg@10"]
    assert [line.split()[:2] for line in lines[1:4]] == [
        ["text", "0.500"],
        ["ids", "0.250"],
        ["co-occurrence", "0.250"],
    ]
    assert lines[4].split()[0] == "combination" and lines[4].count("%") == 2
    assert lines[5] == "weights: given; metrics: 60 validation users"
    assert [member["weight"] for member in printed["members"]] == [0.5, 0.25, 0.25]
    assert {"combination", "validation_hr@10", "validation_ndcg@10", "users", "fitted_targets"} <= printed.keys()


def test_the_function_takes_paths_runs_and_names(folder: Path, tmp_path: Path) -> None:
    text = tcf.open_run(folder / "text", device="cpu")
    config = tcf.CombineConfig(device="cpu")
    by_name = tcf.combine_runs({"a": text, "b": str(folder / "id")}, tmp_path / "c", config, baselines="popularity")
    assert [member.name for member in by_name.members] == ["a", "b", "popularity"]
    assert repr(by_name).startswith("CombinedRun(") and " b + " in repr(by_name)
    listed = tcf.combine_runs([text, folder / "id"], tmp_path / "d", config)
    opened = tcf.open_combination(listed.path, device="cpu")
    assert [member.as_json() for member in opened.members] == [member.as_json() for member in listed.members]
    assert opened.fit_words.startswith("weights: fitted to ")
    with pytest.raises(tcf.ConfigError, match=r"baselines\[0\]: expected one of co-occurrence, popularity"):
        tcf.combine_runs([text], tmp_path / "e", config, baselines=["random"])  # type: ignore[list-item]
