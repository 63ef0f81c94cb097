from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from tcf.common.errors import RunError
from tcf.train.run.run_folder import RunFolder


def fingerprint(path: Path, value: float, settings: Mapping[str, Any], inputs: Mapping[str, str]) -> str:
    """The fingerprint of a run whose model is a single number."""
    folder = RunFolder(path, settings, {}, inputs)
    model = nn.Linear(1, 1)
    nn.init.constant_(model.weight, value)
    nn.init.zeros_(model.bias)
    with folder.held():
        assert not folder.start()
        folder.write_model(model, 1)
        return folder.publish({}).fingerprint


def test_the_fingerprint_follows_from_settings_inputs_and_parameters(tmp_path: Path) -> None:
    first = fingerprint(tmp_path / "a", 1.0, {"seed": 0, "devices": "cpu", "save_minutes": 1}, {"dataset": "x"})
    other = {"seed": 0, "devices": "cuda", "save_minutes": 2}
    assert fingerprint(tmp_path / "b", 1.0, other, {"dataset": "x"}) == first
    others = [
        fingerprint(tmp_path / "c", 2.0, {"seed": 0, "devices": "cpu"}, {"dataset": "x"}),
        fingerprint(tmp_path / "d", 1.0, {"seed": 1, "devices": "cpu"}, {"dataset": "x"}),
        fingerprint(tmp_path / "e", 1.0, {"seed": 0, "devices": "cpu"}, {"dataset": "y"}),
    ]
    assert len({first, *others}) == 4
    several = [{"seed": 0, "devices": names, "dropout": 0.1} for names in ("cpu", "cuda:0,cuda:1", "cpu,cpu")]
    one, two, alike = (fingerprint(tmp_path / f"f{n}", 1.0, some, {}) for n, some in enumerate(several))
    assert one != two == alike
    of_ids = [some | {"dropout": 0.0, "id_dropout": 0.1} for some in several[:2]]
    assert len({fingerprint(tmp_path / f"h{n}", 1.0, some, {}) for n, some in enumerate(of_ids)}) == 2
    with_none = [some | {"dropout": 0.0} for some in several[:2]]
    assert len({fingerprint(tmp_path / f"g{n}", 1.0, some, {}) for n, some in enumerate(with_none)}) == 1


def test_a_run_saved_before_there_was_a_monitor_was_stopped_by_hits(tmp_path: Path) -> None:
    before, inputs = {"seed": 0, "devices": "cpu"}, {"dataset": "x"}
    now = RunFolder(tmp_path / "a", {**before, "monitor": "hr@10"}, {}, inputs)
    other = RunFolder(tmp_path / "a", {**before, "monitor": "ndcg@10"}, {}, inputs)
    assert fingerprint(tmp_path / "a", 1.0, before, inputs) == fingerprint(tmp_path / "b", 1.0, now.settings, inputs)
    assert RunFolder(tmp_path / "a", before, {}, inputs).identity == now.identity != other.identity
    assert now.finished() is not None
    with pytest.raises(RunError, match="monitor: hr@10 found, ndcg@10 requested"):
        other.finished()


def names(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.iterdir())


def test_a_folder_is_claimed_by_its_settings_first(tmp_path: Path) -> None:
    path = tmp_path / "run"
    folder = RunFolder(path, {"seed": 0}, {"data": "../data"}, {"dataset": "x"})
    assert folder.finished() is None
    assert not path.exists()
    with folder.held():
        assert names(path) == [".training.claim"]
        assert not folder.start()
        assert names(path) == [".training.claim", "config.toml"]
    assert names(path) == ["config.toml"]
    (path / "events").mkdir()
    (path / "events" / "old").write_text("old")
    (path / ".model.safetensors.partial-abc-1-def").write_text("half")
    (path / ".tmp67yoI9").write_text("half")
    with folder.held():
        assert folder.start()
        assert names(path) == [".training.claim", "config.toml"]


def test_what_is_there_stays_where_a_state_is(tmp_path: Path) -> None:
    path = tmp_path / "run"
    folder = RunFolder(path, {"seed": 0, "save_minutes": 1}, {"data": "../data"}, {"dataset": "x"})
    with folder.held():
        folder.start()
    for name in ("state.safetensors", "model.safetensors", "epochs.jsonl", ".epochs.jsonl.partial-abc-1-def"):
        (path / name).write_text("old")
    again = RunFolder(path, {"seed": 0, "save_minutes": 5}, {"data": "../data"}, {"dataset": "x"})
    with again.held():
        assert not again.start()
    assert names(path) == ["config.toml", "epochs.jsonl", "model.safetensors", "state.safetensors"]
    assert "save_minutes = 5" in (path / "config.toml").read_text()
    assert again.identity == folder.identity
    assert again.identity != RunFolder(path, {"seed": 0}, {}, {"dataset": "y"}).identity
    assert again.identity != RunFolder(path, {"seed": 1}, {}, {"dataset": "x"}).identity


def test_the_claim_is_given_back_after_an_error(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run", {"seed": 0}, {}, {"dataset": "x"})
    with pytest.raises(ZeroDivisionError), folder.held():
        folder.check_held()
        raise ZeroDivisionError
    assert names(tmp_path / "run") == []
    with pytest.raises(RunError, match="no other process"):
        folder.check_held()


def test_a_folder_that_another_holds_is_left_alone(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run", {"seed": 0}, {}, {"dataset": "x"})
    (tmp_path / "run").mkdir()
    claim = tmp_path / "run" / ".training.claim"
    claim.write_text('{"machine": "another", "pid": 1}')
    for attempt in (folder.finished, folder.held().__enter__):
        with pytest.raises(RunError, match="found one that is; wait"):
            attempt()
    assert claim.read_text() == '{"machine": "another", "pid": 1}'
