"""Sweeps that are interrupted and go on from what was saved."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from small_sweeps import engine, own_states, read, sequences_of
from tcf.extract.sweep import SweepEngine
from tcf.files import MANIFEST

DISK = ("disk",) * 3


def loaded(path: Path, *, every: int | None = 1, **settings: Any) -> SweepEngine:
    found = engine(path, "sweep", DISK, checkpoint_layers=every, **settings)
    assert isinstance(found, SweepEngine)
    return found


def interrupted(path: Path, scratch: Path, note: str, **settings: Any) -> None:
    """Read until the first micro-batch has passed the block that the note names."""

    def advance(texts: float, tokens: float, said: str = "") -> None:
        if said == note:
            raise KeyboardInterrupt

    sweep = loaded(path, **settings)
    with pytest.raises(KeyboardInterrupt):
        read(sweep, sequences_of(path), scratch, advance)
    sweep.close()


def saved(scratch: Path) -> list[str]:
    return sorted(place.name for place in scratch.iterdir() if (place / MANIFEST).is_file())


@pytest.mark.parametrize("name", ["opt", "t5"])
@pytest.mark.parametrize(("devices", "states"), [(("cpu",), "memory"), (("cpu", "cpu"), "disk")])
def test_it_goes_on_with_the_block_in_hand(
    name: str, devices: tuple[str, ...], states: str, family: Callable[[str], Path], tmp_path: Path
) -> None:
    path = family(name)
    sequences = sequences_of(path)
    interrupted(path, tmp_path / "s", "block 3/3", devices=devices, states=states)
    assert saved(tmp_path / "s") == ["block-2"]
    sweep = loaded(path, devices=devices, states=states)
    before = sweep.stream.bytes_read
    notes: list[str] = []
    told = 0.0

    def advance(texts: float, tokens: float, note: str = "") -> None:
        nonlocal told
        notes.append(note)
        told += texts

    found = read(sweep, sequences, tmp_path / "s", advance)
    assert sweep.stream.bytes_read - before == sum(w.stored.nbytes for w in sweep.lanes[0].skeleton.within[2])
    sweep.close()
    expected = own_states(name, path, sequences)
    assert {layer: torch.equal(found[layer], expected[layer]) for layer in found} == dict.fromkeys(found, True)
    assert list(dict.fromkeys(notes)) == ["going on with block 3/3", "block 3/3"]
    assert told == pytest.approx(len(sequences))


def test_another_number_of_devices_takes_it_up(family: Callable[[str], Path], tmp_path: Path) -> None:
    interrupted(family("t5"), tmp_path / "s", "block 3/3", devices=("cpu",))
    sweep = loaded(family("t5"), devices=("cpu", "cpu", "cpu"), states="disk")
    before = sweep.stream.bytes_read
    sequences = sequences_of(family("t5"))
    found = read(sweep, sequences, tmp_path / "s")
    assert sweep.stream.bytes_read - before == sum(w.stored.nbytes for w in sweep.lanes[0].skeleton.within[2])
    sweep.close()
    expected = own_states("t5", family("t5"), sequences)
    assert all(torch.equal(found[layer], expected[layer]) for layer in found)


def test_what_is_saved_every_two_blocks(family: Callable[[str], Path], tmp_path: Path) -> None:
    interrupted(family("opt"), tmp_path / "s", "block 2/3", every=2)
    assert not (tmp_path / "s").exists()
    interrupted(family("opt"), tmp_path / "s", "block 3/3", every=2)
    assert saved(tmp_path / "s") == ["block-2"]


def damage(place: Path) -> None:
    content = bytearray((place / "states.bin").read_bytes())
    content[5] ^= 1
    (place / "states.bin").write_bytes(content)


def cut(place: Path) -> None:
    (place / "layer2-0.bin").write_bytes(b"")


def unseal(place: Path) -> None:
    (place / MANIFEST).unlink()


@pytest.mark.parametrize(
    ("harm", "says"),
    [(damage, "states.bin: its sha256 differs"), (cut, "layer2-0.bin: expected"), (unseal, "block-2: expected")],
)
def test_damaged_work_is_done_anew_and_that_is_said(
    harm: Callable[[Path], None], says: str, family: Callable[[str], Path], tmp_path: Path, capfd: Any
) -> None:
    interrupted(family("opt"), tmp_path / "s", "block 3/3")
    harm(tmp_path / "s" / "block-2")
    sequences, notes = sequences_of(family("opt")), list[str]()
    found = read(loaded(family("opt")), sequences, tmp_path / "s", lambda *words: notes.append(words[2]))
    assert notes[0] == "block 1/3"
    assert says in capfd.readouterr().err
    expected = own_states("opt", family("opt"), sequences)
    assert all(torch.equal(found[layer], expected[layer]) for layer in found)


def test_work_of_other_settings_is_not_taken_up(family: Callable[[str], Path], tmp_path: Path, capfd: Any) -> None:
    interrupted(family("opt"), tmp_path / "s", "block 3/3")
    sequences, notes = sequences_of(family("opt")), list[str]()
    smaller = loaded(family("opt")).halved()
    read(smaller, sequences, tmp_path / "s", lambda *words: notes.append(words[2]))
    assert notes[0] == "block 1/3"
    assert "saved with other settings: tokens_per_batch: 64 there, 32 asked for" in capfd.readouterr().err
