"""Sweeps that are interrupted and go on from what was saved."""

import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch

from small.data.caches import content
from small.encoders.families import save_family, store_weights, stored_weights
from small.extract.sweeps import CPU, encoded, engine, largest_file, own_states, read, sequences_of, silent
from tcf.common.errors import RunError
from tcf.common.files import MANIFEST
from tcf.encoders.pooling import VectorHead
from tcf.extract.schedules.engine import halved
from tcf.extract.schedules.sweep import SweepEngine
from tcf.extract.schedules.sweep_checkpoint import SweepCheckpoint
from tcf.extract.sinks import TokenSink, VectorSink

DISK = ("disk",) * 3


def loaded(path: Path, *, every: int | None = 1, **settings: Any) -> SweepEngine:
    found = engine(path, "sweep", DISK, checkpoint_layers=every, **settings)
    assert isinstance(found, SweepEngine)
    return found


def interrupt(note: str) -> Any:
    """What is told how far a sweep is, and interrupts it as soon as the note says this."""

    def advance(texts: float, tokens: float, said: str = "", *, resumed: bool = False) -> None:
        if said == note:
            raise KeyboardInterrupt

    return advance


def interrupted(path: Path, scratch: Path, note: str, **settings: Any) -> None:
    """Read until the first micro-batch has passed the block that the note names."""
    sweep = loaded(path, **settings)
    with pytest.raises(KeyboardInterrupt):
        read(sweep, sequences_of(path), scratch, interrupt(note))
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

    def advance(texts: float, tokens: float, note: str = "", *, resumed: bool = False) -> None:
        nonlocal told
        notes.extend([note] if note else [])
        told += texts

    found = read(sweep, sequences, tmp_path / "s", advance)
    assert sweep.stream.bytes_read - before == sum(w.stored.nbytes for w in sweep.lanes[0].skeleton.within[2])
    sweep.close()
    expected = own_states(name, path, sequences)
    assert {layer: torch.equal(found[layer], expected[layer]) for layer in found} == dict.fromkeys(found, True)
    assert list(dict.fromkeys(notes)) == ["resuming with block 3/3", "block 3/3"]
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


def test_nothing_is_saved_after_the_last_block(
    family: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks: list[int] = []
    monkeypatch.setattr(SweepCheckpoint, "save", lambda self, block: blocks.append(block))
    for every, expected in ((1, [1, 2]), (2, [2]), (3, [])):
        blocks.clear()
        read(loaded(family("opt"), every=every), sequences_of(family("opt")), tmp_path / "s")
        assert blocks == expected


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
@pytest.mark.usefixtures("shown_log")
def test_damaged_work_is_done_anew_and_that_is_said(
    harm: Callable[[Path], None], says: str, family: Callable[[str], Path], tmp_path: Path, capfd: Any
) -> None:
    interrupted(family("opt"), tmp_path / "s", "block 3/3")
    harm(tmp_path / "s" / "block-2")
    sequences, notes = sequences_of(family("opt")), list[str]()
    found = read(
        loaded(family("opt")), sequences, tmp_path / "s", lambda *words, **_: notes.extend(filter(None, words[2:]))
    )
    assert notes[0] == "block 1/3"
    assert says in capfd.readouterr().err
    expected = own_states("opt", family("opt"), sequences)
    assert all(torch.equal(found[layer], expected[layer]) for layer in found)


@pytest.mark.parametrize(("name", "begins"), [("opt", "block 3/3"), ("t5", "block 1/3")])
@pytest.mark.usefixtures("shown_log")
def test_other_micro_batches_take_it_up_unless_blocks_made_something_for_them(
    name: str, begins: str, family: Callable[[str], Path], tmp_path: Path, capfd: Any
) -> None:
    path = family(name)
    interrupted(path, tmp_path / "s", "block 3/3")
    sequences, notes = sequences_of(path), list[str]()
    found = read(
        halved(loaded(path)), sequences, tmp_path / "s", lambda *words, **_: notes.extend(filter(None, words[2:]))
    )
    assert next(note for note in notes if note.startswith("block")) == begins
    refused = "saved with other settings: tokens_per_batch: 64 found, 32 requested" in capfd.readouterr().err
    assert refused == (name == "t5")
    for layer, states in own_states(name, path, sequences).items():
        torch.testing.assert_close(found[layer], states, rtol=0, atol=1e-5)


@pytest.mark.usefixtures("shown_log")
def test_work_on_other_layers_is_not_taken_up(family: Callable[[str], Path], tmp_path: Path, capfd: Any) -> None:
    interrupted(family("opt"), tmp_path / "s", "block 3/3")
    sequences, notes = sequences_of(family("opt")), list[str]()
    other = loaded(family("opt"), layers=(1, -1))
    read(other, sequences, tmp_path / "s", lambda *words, **_: notes.extend(filter(None, words[2:])))
    assert notes[0] == "block 1/3"
    assert "saved with other settings: layers" in capfd.readouterr().err


@pytest.mark.parametrize("storage", [torch.float16, torch.bfloat16])
def test_numbers_that_did_not_fit_before_the_interruption_are_noticed_after_it(
    storage: torch.dtype, tmp_path: Path
) -> None:
    path = save_family("opt", tmp_path / "m")
    weights = stored_weights(path)
    sequences = sequences_of(path)
    token = int(sequences.tokens[sequences.offsets[7] + 1])
    rows = [row for row in range(len(sequences)) if token in sequences.tokens[slice(*sequences.offsets[row : row + 2])]]
    weights["model.decoder.embed_tokens.weight"][token] = 1e6
    store_weights(path, weights)
    sinks: dict[int, list[Any]] = {}

    def pass_on(advance: Any = silent) -> Any:
        sweep = loaded(path, layers=(0, -1))
        sinks[0] = [
            VectorSink(len(sequences), 32, storage, VectorHead(["mean"]), CPU),
            TokenSink(sequences.lengths, 32, storage, CPU),
        ]
        sinks[-1] = [VectorSink(len(sequences), 32, storage, VectorHead(["mean"]), CPU)]
        with closing(sweep):
            return encoded(sweep, sequences, sinks, scratch=tmp_path / "s", advance=advance)

    with pytest.raises(KeyboardInterrupt):
        pass_on(interrupt("block 3/3"))
    order = pass_on()
    expected = rows if storage == torch.float16 else []
    assert [sink.unstorable(order).tolist() for sink in sinks[0]] == [expected, expected]
    assert sinks[-1][0].unstorable(order).tolist() == []


@pytest.mark.parametrize("devices", [("cpu",), ("cpu", "cpu", "cpu")])
@pytest.mark.parametrize(
    ("name", "dtype", "file", "smaller"),
    [
        ("opt", torch.float32, "states.bin", []),
        ("opt", torch.bfloat16, "layer0-0.bin", ["states.bin"]),
        ("t5", torch.float32, "made.safetensors", ["states.bin", "layer0-0.bin"]),
    ],
)
def test_a_full_disk_is_told_and_the_next_attempt_goes_on_from_what_was_saved_before(
    name: str,
    dtype: torch.dtype,
    file: str,
    smaller: list[str],
    devices: tuple[str, ...],
    family: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    path, scratch = family(name), tmp_path / "s"
    sequences = sequences_of(path)
    expected = read(loaded(path, dtype=dtype), sequences, tmp_path / "undisturbed")
    interrupted(path, scratch, "block 2/3", dtype=dtype)
    kept = content(scratch)
    sizes = {Path(saved).name: len(bytes_) for saved, bytes_ in kept.items()}
    most = sizes[file] - 1
    assert [other for other in ("states.bin", "layer0-0.bin") if sizes[other] <= most] == smaller
    sweep = loaded(path, dtype=dtype, devices=devices)
    with largest_file(most), pytest.raises(RunError, match=r"block-2: cannot be written \(.*file too large"):
        read(sweep, sequences, scratch)
    sweep.close()
    assert content(scratch) == kept
    notes: list[str] = []
    found = read(
        loaded(path, dtype=dtype), sequences, scratch, lambda *words, **_: notes.extend(filter(None, words[2:]))
    )
    assert notes[0] == "resuming with block 2/3"
    assert all(torch.equal(found[layer], expected[layer]) for layer in found)


def test_of_several_that_were_saved_the_newest_is_taken_up(family: Callable[[str], Path], tmp_path: Path) -> None:
    path, scratch = family("opt"), tmp_path / "s"
    interrupted(path, scratch, "block 2/3")
    shutil.copytree(scratch / "block-1", tmp_path / "kept")
    interrupted(path, scratch, "block 3/3")
    # As a kill leaves them that comes before the older one is removed.
    shutil.copytree(tmp_path / "kept", scratch / "block-1")
    notes: list[str] = []
    read(loaded(path), sequences_of(path), scratch, lambda *words, **_: notes.append(words[2]))
    assert notes[0] == "resuming with block 3/3"


@pytest.mark.parametrize("states", ["memory", "disk"])
def test_states_of_a_type_that_blocks_widen_are_taken_up_as_they_were(
    states: str, family: Callable[[str], Path], tmp_path: Path
) -> None:
    path = family("t5")
    sequences = sequences_of(path)
    interrupted(path, tmp_path / "s", "block 3/3", dtype=torch.float16, states=states)
    found = read(loaded(path, dtype=torch.float16, states=states), sequences, tmp_path / "s")
    expected = own_states("t5", path, sequences, torch.float16)
    assert {layer: torch.equal(found[layer], expected[layer]) for layer in found} == dict.fromkeys(found, True)
