"""The sweep beside transformers' own forward: equal numbers, each weight read once, errors that end it at once."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from small.encoders.families import save_family, store_weights, stored_weights
from small.extract.sweeps import CPU, LAYERS, WITH_BLOCKS, encoded, engine, largest_file, own_states, read, sequences_of
from tcf.common.errors import ModelError, RunError
from tcf.encoders.pooling import VectorHead
from tcf.extract.micro_batches import micro_batches
from tcf.extract.schedules.engine import NotFinite
from tcf.extract.schedules.hidden_states import FileStates
from tcf.extract.schedules.sweep import SweepEngine
from tcf.extract.sinks import VectorSink

DISK = ("disk",) * 3
MIXED = ("cpu", "disk", "disk")


@pytest.mark.parametrize("name", WITH_BLOCKS)
def test_equals_transformers_own_forward_to_the_bit(name: str, family: Callable[[str], Path], tmp_path: Path) -> None:
    path = family(name)
    sequences = sequences_of(path)
    assert sequences.lengths.max() > 5  # the window of those families that have one
    expected = own_states(name, path, sequences)
    for places, devices, states in (
        (DISK, ("cpu",), "memory"),
        (("cpu",) * 3, ("cpu", "cpu", "cpu"), "memory"),
        (MIXED, ("cpu", "cpu"), "disk"),
    ):
        loaded = engine(path, "sweep", places, devices=devices, states=states)
        found = read(loaded, sequences, tmp_path / "scratch")
        loaded.close()
        assert {layer: torch.equal(found[layer], expected[layer]) for layer in found} == dict.fromkeys(found, True)
        assert not list((tmp_path / "scratch").glob("*")) if states == "disk" else not (tmp_path / "scratch").exists()


@pytest.mark.parametrize("devices", [("cpu",), ("cpu", "cpu")])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", WITH_BLOCKS)
def test_equals_the_forward_in_half_precision(
    name: str, dtype: torch.dtype, devices: tuple[str, ...], family: Callable[[str], Path], tmp_path: Path
) -> None:
    path = family(name)
    sequences = sequences_of(path)
    expected = own_states(name, path, sequences, dtype)
    loaded = engine(path, "sweep", MIXED, devices=devices, dtype=dtype, packs=len(devices) == 1)
    found = read(loaded, sequences, tmp_path / "scratch")
    loaded.close()
    for layer, states in found.items():
        assert float((states - expected[layer]).abs().max() / expected[layer].abs().max()) < 2**-5


@pytest.mark.parametrize("places", [DISK, MIXED])
@pytest.mark.parametrize("name", ["opt", "gpt2", "bert", "t5"])
def test_packed_it_equals_the_resident_schedule_to_the_bit(
    name: str, places: tuple[str, ...], family: Callable[[str], Path], tmp_path: Path
) -> None:
    path = family(name)
    sequences = sequences_of(path)
    expected = read(engine(path, "resident", ()), sequences, tmp_path)
    loaded = engine(path, "sweep", places, packs=True)
    for _ in range(2):
        found = read(loaded, sequences, tmp_path)
        assert {layer: torch.equal(found[layer], expected[layer]) for layer in found} == dict.fromkeys(found, True)
    loaded.close()
    assert any(not torch.equal(found[layer], states) for layer, states in own_states(name, path, sequences).items())


@pytest.mark.parametrize("name", ["opt", "t5"])
@pytest.mark.parametrize("devices", [("cpu", "cpu"), ("cpu", "cpu", "cpu")])
def test_a_pipeline_equals_it_too(
    name: str, devices: tuple[str, ...], family: Callable[[str], Path], tmp_path: Path
) -> None:
    path = family(name)
    sequences = sequences_of(path)
    expected = own_states(name, path, sequences)
    found = read(engine(path, "pipeline", ("cpu",) * 3, devices=devices), sequences, tmp_path)
    assert all(torch.equal(found[layer], expected[layer]) for layer in found)


def bytes_of(path: Path, inside: str) -> int:
    return sum(w.nbytes for name, w in stored_weights(path).items() if inside in name)


@pytest.mark.parametrize("devices", [("cpu",), ("cpu", "cpu")])
def test_every_weight_is_read_once_a_macro_batch_and_those_that_stay_only_once(
    devices: tuple[str, ...], family: Callable[[str], Path], tmp_path: Path
) -> None:
    path = family("opt")
    sequences = sequences_of(path)
    for places, again in ((DISK, "layers."), (("cpu", "cpu", "disk"), "layers.2."), (("cpu",) * 3, "nothing")):
        loaded = engine(path, "sweep", places, devices=devices)
        assert isinstance(loaded, SweepEngine)
        read(loaded, sequences, tmp_path)
        assert loaded.stream.bytes_read == bytes_of(path, "model.decoder.")
        read(loaded, sequences, tmp_path)
        assert loaded.stream.bytes_read == bytes_of(path, "model.decoder.") + bytes_of(path, again)
        loaded.close()
        # Of blocks that stream nothing is held on to.
        for lane in loaded.lanes:
            there = [not any(weight.is_meta for weight in block.parameters()) for block in lane.blocks]
            assert there == [place == "cpu" for place in places]


@pytest.mark.parametrize(("layers", "blocks"), [((0,), ()), ((2,), ("layers.0.", "layers.1."))])
def test_what_lies_above_the_highest_layer_is_not_read(
    layers: tuple[int, ...], blocks: tuple[str, ...], family: Callable[[str], Path], tmp_path: Path
) -> None:
    path = family("opt")
    sequences = sequences_of(path)
    expected = own_states("opt", path, sequences)
    loaded = engine(path, "sweep", DISK[: max(1, *layers)], layers=layers)
    assert isinstance(loaded, SweepEngine)
    around = loaded.stream.bytes_read
    found = read(loaded, sequences, tmp_path)
    assert torch.equal(found[layers[0]], expected[layers[0]])
    assert loaded.stream.bytes_read - around == sum(bytes_of(path, block) for block in blocks)
    loaded.close()


def test_progress_counts_every_text_and_token_once(family: Callable[[str], Path], tmp_path: Path) -> None:
    sequences = sequences_of(family("opt"))
    told: list[tuple[float, float, str]] = []
    loaded = engine(family("opt"), "sweep", DISK, devices=("cpu", "cpu"))
    read(loaded, sequences, tmp_path, lambda *words, **_: told.append(words))
    loaded.close()
    assert sum(texts for texts, _, _ in told) == pytest.approx(len(sequences))
    assert sum(tokens for _, tokens, _ in told) == pytest.approx(sequences.lengths.sum())
    assert list(dict.fromkeys(note for _, _, note in told)) == ["block 1/3", "block 2/3", "block 3/3"]


@pytest.mark.parametrize(("schedule", "places"), [("sweep", DISK), ("pipeline", ("cpu",) * 3)])
def test_texts_without_tokens_are_passed_over(
    schedule: str, places: tuple[str, ...], family: Callable[[str], Path], tmp_path: Path
) -> None:
    sequences = sequences_of(family("opt"))
    rows = np.arange(3)
    empty = type(sequences)(sequences.tokens[:0], np.zeros(4, np.int64), 0)
    loaded = engine(family("opt"), schedule, places, devices=("cpu", "cpu"))
    assert {layer: len(rows) for layer, rows in read(loaded, empty, tmp_path).items()} == {0: 0, 2: 0, -1: 0}
    both = type(sequences).concatenate([sequences.take(rows), empty])
    told: list[float] = []
    found = read(loaded, both, tmp_path, lambda *words, **_: told.append(words[0]))
    alone = read(loaded, sequences.take(rows), tmp_path)
    assert all(torch.equal(found[layer], alone[layer]) for layer in found)
    assert sum(told) == pytest.approx(6)
    sinks = {layer: [VectorSink(6, 32, torch.float32, VectorHead(["mean"]), CPU)] for layer in LAYERS}
    for [sink] in sinks.values():
        sink.rows.fill_(7.0)
    order = encoded(loaded, both, sinks, scratch=tmp_path)
    for [sink] in sinks.values():
        vectors = sink.vectors(order)
        assert (vectors[:3] != 7).all() and (vectors[3:] == 0).all()
    loaded.close()


@pytest.mark.parametrize("schedule", ["sweep", "pipeline"])
def test_states_that_are_not_finite_name_the_layer_and_the_text(schedule: str, tmp_path: Path) -> None:
    path = save_family("opt", tmp_path / "m")
    sequences = sequences_of(path)
    token = int(sequences.tokens[sequences.offsets[7] + 1])
    rows = [row for row in range(len(sequences)) if token in sequences.tokens[slice(*sequences.offsets[row : row + 2])]]
    weights = stored_weights(path)
    weights["model.decoder.embed_tokens.weight"][token] = torch.inf
    store_weights(path, weights, files=2)
    loaded = engine(path, schedule, DISK if schedule == "sweep" else ("cpu",) * 3)
    with pytest.raises(NotFinite) as raised:
        read(loaded, sequences, tmp_path / "scratch")
    assert raised.value.layer == 0
    assert raised.value.row in rows
    weights["model.decoder.embed_tokens.weight"][token] = 0.0
    weights["model.decoder.layers.1.fc2.bias"][0] = torch.nan
    store_weights(path, weights, files=2)
    loaded = engine(path, schedule, DISK if schedule == "sweep" else ("cpu",) * 3)
    with pytest.raises(NotFinite) as raised:
        read(loaded, sequences, tmp_path / "scratch")
    assert raised.value.layer == 2
    loaded.close()


@pytest.mark.parametrize("devices", [("cpu",), ("cpu", "cpu")])
def test_a_file_of_weights_cut_short_meanwhile_ends_the_sweep(devices: tuple[str, ...], tmp_path: Path) -> None:
    path = save_family("opt", tmp_path / "m")
    loaded = engine(path, "sweep", DISK, devices=devices)
    for file in sorted(path.glob("*.safetensors"))[-6:]:
        with file.open("r+b") as stream:
            stream.truncate(file.stat().st_size // 2)
    with pytest.raises(ModelError, match=r"safetensors"):
        read(loaded, sequences_of(path), tmp_path / "scratch")
    loaded.close()


@pytest.mark.parametrize("schedule", ["sweep", "pipeline"])
def test_an_error_on_one_device_ends_all(schedule: str, family: Callable[[str], Path], tmp_path: Path) -> None:
    loaded = engine(family("opt"), schedule, ("cpu",) * 3, devices=("cpu", "cpu", "cpu"))
    calls = 0

    def advance(texts: float, tokens: float, note: str = "", *, resumed: bool = False) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise RunError("stop")

    with pytest.raises(RunError, match="stop"):
        read(loaded, sequences_of(family("opt")), tmp_path, advance)
    assert 3 <= calls <= 5  # the two other devices may report what they had in hand
    loaded.close()


def test_a_disk_without_room_for_the_states_is_an_error_before_the_work(tmp_path: Path) -> None:
    with largest_file(1000), pytest.raises(RunError, match=r"states.bin: cannot be written \(file too large\)"):
        FileStates(tmp_path / "s" / "states.bin", 300, 1, torch.float32)
    assert not list((tmp_path / "s").iterdir())


def test_states_in_a_file_come_back_as_they_were(tmp_path: Path) -> None:
    lengths = np.array([3, 2, 3, 1, 2])
    batches = micro_batches(lengths, 6)
    with FileStates(tmp_path / "states.bin", 11, 4, torch.bfloat16) as states:
        put = {batch.states_before: torch.randn(*batch.shape, 4).bfloat16() for batch in batches}
        for batch in batches:
            states.put(batch, put[batch.states_before])
        states.expect(batches, CPU)
        for batch in reversed(batches):
            assert torch.equal(states.get(batch, CPU), put[batch.states_before])
        # It has no name: a process that is killed leaves nothing, and no other one writes to it.
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("states", ["memory", "disk"])
def test_two_workers_on_one_macro_batch_do_not_disturb_one_another(
    states: str, family: Callable[[str], Path], tmp_path: Path
) -> None:
    path = family("opt")
    sequences = sequences_of(path)
    expected = own_states("opt", path, sequences)
    others: list[dict[int, torch.Tensor]] = []

    def another(texts: float, tokens: float, note: str = "") -> None:
        if note == "block 2/3" and not others:
            others.append(read(engine(path, "sweep", DISK, states=states, checkpoint_layers=1), sequences, tmp_path))

    ours = read(engine(path, "sweep", DISK, states=states, checkpoint_layers=1), sequences, tmp_path, another)
    for found in (ours, *others):
        assert {layer: torch.equal(found[layer], expected[layer]) for layer in found} == dict.fromkeys(found, True)
    assert others
