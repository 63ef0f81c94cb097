import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from small.evaluate.combinations import combined
from small.train.trainings import Killed, Train, interrupted_at
from tcf.commands.app import app
from tcf.common.units import as_percent
from tcf.train.run.list_runs import differing_settings, find_runs


def listed(folder: Path, *words: str) -> str:
    done = CliRunner().invoke(app, ["runs", str(folder), *words])
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture
def runs(run_train: Train, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Two finished runs, one deeper than the other, and an interrupted one."""
    run_train("runs/b/second", width=32, seed=3)
    run_train("runs/first")
    with monkeypatch.context() as patch:
        interrupted_at(patch, 6)
        with pytest.raises(Killed):
            run_train("runs/third", items="id", epochs=7)
    return tmp_path / "runs"


def test_a_table_by_hand(runs: Path) -> None:
    lines = [line.split("  ") for line in listed(runs).splitlines()]
    head, *rows = ([cell.strip() for cell in line if cell.strip()] for line in lines)
    metrics = ["validation hr@10", "validation ndcg@10"]
    assert head == ["run", "state", "best", *metrics, "cache", "epochs", "items", "patience", "seed", "width"]
    facts = [json.loads((runs / name / "manifest.json").read_text())["facts"] for name in ("b/second", "first")]
    told = [[f"epoch {f['best_epoch']}", as_percent(f["hr@10"]), as_percent(f["ndcg@10"])] for f in facts]
    epoch = json.loads((runs / "third" / "epochs.jsonl").read_text())
    numbers = [as_percent(epoch["hr@10"]), as_percent(epoch["ndcg@10"])]
    assert rows == [
        ["b/second", "finished, 2 epochs", *told[0], "../cache", "2", "text", "5", "3", "32"],
        ["first", "finished, 2 epochs", *told[1], "../cache", "2", "text", "5", "0", "16"],
        ["third", "resumable, 1 of at most 7 epochs", "epoch 1", *numbers, "-", "7", "id", "10", "0", "16"],
    ]
    # Columns are aligned: each begins at the same place in every line.
    words = ("state", "finished", "finished", "resumable")
    assert len({line.index(word) for line, word in zip(listed(runs).splitlines(), words, strict=True)}) == 1


def test_a_refit_and_what_chose_its_epochs(run_train: Train, tmp_path: Path) -> None:
    run_train("runs/again", refit=True)
    head, *rows = (re.split(r"  +", line) for line in listed(tmp_path / "runs").splitlines())
    assert head == ["run", "state", "best", "validation hr@10", "validation ndcg@10", "refit"]
    assert rows[0] == ["again", "finished, 2 epochs", "-", "-", "-", "yes"]
    assert (rows[1][:2], rows[1][5]) == (["again/selection", "finished, 2 epochs"], "no")
    assert rows[1][2].startswith("epoch ") and rows[1][3].endswith("%")


def test_as_json(runs: Path) -> None:
    told = json.loads(listed(runs, "--json"))
    assert [Path(entry["run"]).relative_to(runs) for entry in told] == [Path("b/second"), Path("first"), Path("third")]
    assert [entry["state"] for entry in told] == ["finished", "finished", "resumable"]
    assert [entry["epochs"] for entry in told] == [2, 2, 1]
    assert told[0]["settings"]["width"] == 32
    assert told[0]["settings"]["data"] == str(runs.parent / "data")
    manifest = json.loads((runs / "first" / "manifest.json").read_text())
    facts = manifest["facts"]
    assert (told[1]["validation_hr@10"], told[1]["best_epoch"]) == (facts["hr@10"], facts["best_epoch"])


def test_a_run_in_training(runs: Path, run_train: Train) -> None:
    seen: list[Any] = []
    run_train("runs/fourth", epochs=3, watch=lambda epoch, goes_on: seen.append(find_runs(runs / "fourth")[0]))
    assert [(run.state, run.epochs) for run in seen] == [("training", 1), ("training", 2), ("training", 3)]
    assert find_runs(runs / "fourth")[0].state == "finished"


def test_a_run_without_a_state_starts_again(runs: Path) -> None:
    (runs / "third" / "state.safetensors").unlink()
    assert find_runs(runs / "third")[0].state == "starts again"


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("manifest.json", b"{", "found invalid JSON"),
        ("manifest.json", b'{"format": "tcf-run"}', "other keys"),
        ("model.safetensors", b"cut", "expected .* bytes, found 3"),
        ("model.safetensors", None, "no such file"),
        ("config.toml", b"a = ", "expected .* bytes, found 4"),
    ],
)
def test_damaged_ones_are_listed(runs: Path, file: str, content: bytes | None, said: str) -> None:
    if content is None:
        (runs / "first" / file).unlink()
    else:
        (runs / "first" / file).write_bytes(content)
    found = {run.path.name: run for run in find_runs(runs)}
    assert [run.state for run in found.values()] == ["finished", "damaged", "resumable"]
    lines = listed(runs).splitlines()
    assert lines[2].split() == ["first", "damaged", *["-"] * 9]
    assert lines[4].startswith("damaged: ")
    assert str(runs / "first") in lines[4]
    assert re.search(said, lines[4])


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("state.safetensors", b"x"),
        ("epochs.jsonl", b"half\n"),
        ("epochs.jsonl", b"{}\n"),
        ("epochs.jsonl", b'{"epoch": 1, "loss": 1.0, "hr@10": 0.9, "ndcg@10": 0.9}\n'),
        ("config.toml", b"\xff"),
    ],
)
def test_damaged_unfinished_ones_are_listed(runs: Path, file: str, content: bytes) -> None:
    (runs / "third" / file).write_bytes(content)
    assert [run.state for run in find_runs(runs)] == ["finished", "finished", "damaged"]
    assert str(runs / "third") in listed(runs).splitlines()[-1]


def test_an_input_that_a_finished_run_never_had_is_not_shown(runs: Path) -> None:
    file = runs / "first" / "config.toml"
    file.write_bytes(file.read_bytes().replace(b"../cache", b"../cachd"))  # a bit has flipped
    found = {run.path.name: run for run in find_runs(runs)}["first"]
    assert (found.state, found.settings) == ("damaged", {})
    assert f"{file}: its sha256 differs" in found.problem


def test_a_line_that_is_being_written_does_not_count(runs: Path) -> None:
    with (runs / "third" / "epochs.jsonl").open("a") as log:
        log.write('{"epoch": 2, "lo')
    assert find_runs(runs / "third")[0].epochs == 1


@pytest.mark.parametrize(("line", "best"), [("", 1), ('monitor = "hr@10"', 1), ('monitor = "ndcg@10"', 2)])
def test_the_best_epoch_so_far_is_that_of_the_monitor(runs: Path, line: str, best: int) -> None:
    """A run saved before the setting existed says nothing of it."""
    third = runs / "third"
    settings = (third / "config.toml").read_text()
    assert 'monitor = "hr@10"\n' in settings
    (third / "config.toml").write_text(settings.replace('monitor = "hr@10"', line))
    epochs = ({"epoch": 1, "hr@10": 0.5, "ndcg@10": 0.1}, {"epoch": 2, "hr@10": 0.4, "ndcg@10": 0.2})
    (third / "epochs.jsonl").write_text("".join(json.dumps(epoch) + "\n" for epoch in epochs))
    (third / "state.safetensors").unlink()  # which has other epochs
    found = find_runs(runs)
    assert found[2].best_epoch == best
    assert ("monitor" in differing_settings(found)) == (best == 2)


def test_other_things_are_no_runs(runs: Path, tmp_path: Path) -> None:
    """A dataset, a cache, a folder with somebody's config.toml, a hidden folder, a link to a run."""
    (runs / "mine").mkdir()
    (runs / "mine" / "config.toml").write_text("mine = 1")
    (runs / ".hidden").mkdir()
    (runs / "first").rename(runs / ".hidden" / "first")
    (runs / "link").symlink_to(runs / "b" / "second")
    names = [run.path.name for run in find_runs(tmp_path)]
    assert names == ["second", "third"]


def test_settings_that_differ(runs: Path) -> None:
    found = find_runs(runs)
    assert differing_settings(found[:2]) == ["seed", "width"]
    assert differing_settings(found[:1]) == differing_settings([]) == []


def test_no_runs_and_no_folder(tmp_path: Path) -> None:
    assert listed(tmp_path) == f"{tmp_path}: no runs found\n"
    assert json.loads(listed(tmp_path, "--json")) == []
    done = CliRunner().invoke(app, ["runs", str(tmp_path / "nowhere")])
    assert done.exit_code != 0
    assert "expected a folder with runs, found nothing" in str(done.exception)


def test_combinations_are_listed_with_their_members_and_weights(runs: Path) -> None:
    both = combined(runs / "both", runs / "first", runs / "b" / "second", weights=(3, 1))
    head, *rows = (re.split(r"  +", line) for line in listed(runs).splitlines())
    assert [row[0] for row in rows] == ["b/second", "both", "first", "third"]
    facts = json.loads((both / "manifest.json").read_text())["facts"]
    numbers = [as_percent(facts[name]) for name in ("hr@10", "ndcg@10")]
    assert rows[1] == ["both", "combination of 0.75 first, 0.25 second", "-", *numbers, *["-"] * (len(head) - 5)]
    found = {Path(run["run"]).name: run for run in json.loads(listed(runs, "--json"))}
    assert [(member["name"], member["weight"]) for member in found["both"]["members"]] == [
        ("first", 0.75),
        ("second", 0.25),
    ]
    assert found["both"]["validation_hr@10"] == facts["hr@10"] and "members" not in found["first"]
    (both / "config.toml").write_text("")
    lines = listed(runs).splitlines()
    assert re.split(r"  +", lines[2])[:2] == ["both", "damaged"]
    assert lines[-1].startswith(f"damaged: {both / 'config.toml'}: ")
