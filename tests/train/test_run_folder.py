from pathlib import Path

from torch import nn

from tcf.train.folder import RunFolder


def fingerprint(path: Path, value: float, settings: dict[str, object], inputs: dict[str, str]) -> str:
    """The fingerprint of a run whose model is a single number."""
    folder = RunFolder(path, settings, {}, inputs)
    assert not folder.start()
    model = nn.Linear(1, 1)
    nn.init.constant_(model.weight, value)
    nn.init.zeros_(model.bias)
    folder.write_model(model)
    return folder.publish({}).fingerprint


def test_the_fingerprint_follows_from_settings_inputs_and_parameters(tmp_path: Path) -> None:
    first = fingerprint(tmp_path / "a", 1.0, {"seed": 0, "device": "cpu"}, {"dataset": "x"})
    assert fingerprint(tmp_path / "b", 1.0, {"seed": 0, "device": "cuda"}, {"dataset": "x"}) == first
    others = [
        fingerprint(tmp_path / "c", 2.0, {"seed": 0, "device": "cpu"}, {"dataset": "x"}),
        fingerprint(tmp_path / "d", 1.0, {"seed": 1, "device": "cpu"}, {"dataset": "x"}),
        fingerprint(tmp_path / "e", 1.0, {"seed": 0, "device": "cpu"}, {"dataset": "y"}),
    ]
    assert len({first, *others}) == 4


def test_a_folder_is_claimed_by_its_settings_first(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run", {"seed": 0}, {"data": "../data"}, {"dataset": "x"})
    assert folder.finished() is None
    assert not (tmp_path / "run").exists()
    assert not folder.start()
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["config.toml"]
    (tmp_path / "run" / "events").mkdir()
    (tmp_path / "run" / "events" / "old").write_text("old")
    assert folder.start()
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["config.toml"]
