from pathlib import Path

import pytest

from tcf.config.extract import ExtractConfig
from tcf.extract.schedules.sweep_folder import SweepFolder

IDENTITY = {"weights": "abc", "layer": -1}


def test_another_encoder_has_another_place(tmp_path: Path) -> None:
    ours = SweepFolder.beside(tmp_path / "c", [IDENTITY])
    assert ours == SweepFolder.beside(tmp_path / "c", [dict(reversed(IDENTITY.items()))])
    assert ours != SweepFolder.beside(tmp_path / "c", [{**IDENTITY, "weights": "abd"}])
    assert ours != SweepFolder.beside(tmp_path / "c", [IDENTITY, IDENTITY])
    assert (ours.folder.parent, ours.folder.name[:3], ours.folder.suffix) == (tmp_path, ".c.", ".sweep")
    assert ours.of_shard("a") != ours.of_shard("b")


def test_cuts_are_those_of_before_unless_the_settings_say_how(tmp_path: Path) -> None:
    unfinished = SweepFolder.beside(tmp_path / "c", [IDENTITY])
    assert unfinished.with_remembered_cuts(ExtractConfig()) == ExtractConfig()
    unfinished.remember(4096, 512)
    assert unfinished.with_remembered_cuts(ExtractConfig()) == ExtractConfig(shard_rows=4096, tokens_per_batch=512)
    assert unfinished.with_remembered_cuts(ExtractConfig(shard_rows=7)) == ExtractConfig(
        shard_rows=7, tokens_per_batch=512
    )
    unfinished.remember(4096, None)
    assert unfinished.with_remembered_cuts(ExtractConfig(tokens_per_batch=3)).tokens_per_batch == 3


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"shard_rows": "a", "tokens_per_batch": 1}'])
def test_damaged_cuts_are_passed_over(content: str, tmp_path: Path) -> None:
    unfinished = SweepFolder(tmp_path)
    (tmp_path / "cuts.json").write_text(content)
    assert unfinished.with_remembered_cuts(ExtractConfig()) == ExtractConfig()


def test_what_others_keep_stays(tmp_path: Path) -> None:
    unfinished = SweepFolder(tmp_path / ".c.x.sweep")
    unfinished.remember(1, 1)
    unfinished.of_shard("theirs").mkdir()
    unfinished.clear(others=True)
    assert unfinished.of_shard("theirs").exists()
    unfinished.of_shard("theirs").rmdir()
    unfinished.clear(others=True)
    assert not unfinished.folder.exists()
    unfinished.remember(1, 1)
    unfinished.of_shard("theirs").mkdir()
    unfinished.clear(others=False)
    assert not unfinished.folder.exists()
