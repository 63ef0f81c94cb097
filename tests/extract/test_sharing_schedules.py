"""Shared prefixes under every schedule, after interruptions, and in caches that earlier versions began.

Shapes: P tokens of all texts, D width.
"""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pytest
import torch

from small.data.caches import content
from small.encoders.models import save_dataset
from small.extract.extractions import extracted, vectors
from small.extract.sweeps import LAYERS, engine, silent
from tcf.common.manifest import read_manifest
from tcf.data import Dataset
from tcf.data.cache.cache_files import VECTORS
from tcf.encoders.folder.load_tokenizer import load_tokenizer
from tcf.encoders.folder.open_model_folder import open_model_folder
from tcf.encoders.prefix_sharing.tree_attention import use_tree_attention
from tcf.encoders.tokenize import TokenSequences, tokenize
from tcf.extract import inputs, shards
from tcf.extract.micro_batches import in_order, micro_batches, shared_micro_batches
from tcf.extract.outputs import Output
from tcf.extract.schedules.engine import Engine
from tcf.extract.sinks import TokenSink

DISK, MEMORY = ("disk",) * 3, ("cpu",) * 3
TEXTS = [f"super mario {word} {number}" for word in ("gold", "star", "zelda") for number in range(8)]
TEXTS = [*TEXTS, "", "super", "super mario star", "the legend of zelda", "x"]
States = dict[int, npt.NDArray[np.float32]]
Folders = Callable[[str], Path]


def sequences_of(model: Path) -> TokenSequences:
    return tokenize(load_tokenizer(open_model_folder(model)), TEXTS, max_tokens=30)


def read(
    loaded: Engine, sequences: TokenSequences, scratch: Path, advance: Any = silent, *, tokens: int | None = 40
) -> States:
    """The states of all tokens, (P, D) a layer, in trees of so many nodes, or of every text by itself."""
    batches = micro_batches(sequences.lengths, 1) if tokens is None else shared_micro_batches(sequences, tokens)
    loaded = replace(cast(Any, loaded), tokens_per_batch=tokens or 1)
    for model in loaded.models:
        use_tree_attention(model)
    sinks = {layer: TokenSink(sequences.lengths, 32, torch.float32, torch.device("cpu")) for layer in LAYERS}
    loaded.encode(
        batches, sequences, {layer: [sink] for layer, sink in sinks.items()}, scratch=scratch, advance=advance
    )
    return {layer: sink.states(in_order(batches))[0] for layer, sink in sinks.items()}


def check_equal(found: States, expected: States) -> None:
    assert {layer: np.array_equal(found[layer], expected[layer]) for layer in LAYERS} == dict.fromkeys(LAYERS, True)


WAYS: dict[str, tuple[str, tuple[str, ...], dict[str, Any]]] = {
    "memory": ("sweep", MEMORY, {}),
    "disk": ("sweep", DISK, {"states": "disk"}),
    "two": ("sweep", DISK, {"devices": ("cpu", "cpu"), "states": "disk"}),
    "pipeline": ("pipeline", ("cpu", "cpu", "cpu"), {"devices": ("cpu", "cpu")}),
}


@pytest.mark.parametrize("name", ["opt", "mistral"])
def test_every_schedule_gives_the_same_states(name: str, family: Folders, tmp_path: Path) -> None:
    """Those of texts alone within 1e-5, and to the bit those of one another."""
    model, sequences = family(name), sequences_of(family(name))
    alone = read(engine(model, "sweep", MEMORY), sequences, tmp_path / "s", tokens=None)
    found = {
        way: read(engine(model, schedule, places, **settings), sequences, tmp_path / way)
        for way, (schedule, places, settings) in WAYS.items()
    }
    for layer in LAYERS:
        np.testing.assert_allclose(found["memory"][layer], alone[layer], rtol=0, atol=1e-5)
    for way in WAYS:
        check_equal(found[way], found["memory"])


def interrupted(model: Path, scratch: Path, *, tokens: int | None) -> None:
    """A sweep that ends after its second block of three, which has been saved."""

    def advance(texts: float, tokens: float, said: str = "", *, resumed: bool = False) -> None:
        if said == "block 3/3":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        read(engine(model, "sweep", DISK, checkpoint_layers=1), sequences_of(model), scratch, advance, tokens=tokens)
    assert [place.name for place in scratch.glob("block-*")] == ["block-2"]


def resumed(model: Path, scratch: Path, tokens: int | None, **settings: Any) -> tuple[States, str]:
    """The states, and the first block that was computed."""
    notes: list[str] = []

    def advance(texts: float, tokens: float, said: str = "", *, resumed: bool = False) -> None:
        notes.extend([said] if said.startswith("block") else [])

    loaded = engine(model, "sweep", DISK, checkpoint_layers=1, **settings)
    return read(loaded, sequences_of(model), scratch, advance, tokens=tokens), notes[0]


@pytest.mark.parametrize("settings", [{}, {"devices": ("cpu", "cpu"), "states": "disk"}])
def test_a_sweep_of_trees_goes_on_with_the_block_in_hand(
    settings: dict[str, Any], family: Folders, tmp_path: Path
) -> None:
    expected = read(engine(family("opt"), "sweep", MEMORY), sequences_of(family("opt")), tmp_path / "whole")
    interrupted(family("opt"), tmp_path / "s", tokens=40)
    found, first = resumed(family("opt"), tmp_path / "s", 40, **settings)
    assert first == "block 3/3"
    check_equal(found, expected)


@pytest.mark.usefixtures("shown_log")
@pytest.mark.parametrize(("before", "after"), [(40, 25), (40, None), (None, 40)])
def test_work_on_other_trees_is_not_taken_up(
    before: int | None, after: int | None, family: Folders, tmp_path: Path, capfd: Any
) -> None:
    """Its states are in another order, or not there at all."""
    expected = read(engine(family("opt"), "sweep", MEMORY), sequences_of(family("opt")), tmp_path / "w", tokens=after)
    interrupted(family("opt"), tmp_path / "s", tokens=before)
    found, first = resumed(family("opt"), tmp_path / "s", after)
    assert first == "block 1/3"
    assert "saved with other settings: nodes_per_tree" in capfd.readouterr().err
    check_equal(found, expected)


@pytest.fixture
def alike(tmp_path: Path) -> Dataset:
    return save_dataset(tmp_path / "alike", TEXTS)


def facts(cache: Path) -> dict[str, Mapping[str, Any]]:
    return {shard.name: read_manifest(shard, VECTORS.shard).facts for shard in (cache / "shards").glob("[!.]*")}


@pytest.mark.parametrize("schedule", ["dispatch", "sweep"])
def test_shards_say_how_they_were_cut_and_computed(
    schedule: str, family: Folders, tmp_path: Path, alike: Dataset
) -> None:
    extracted(alike, family("opt"), tmp_path / "c", schedule=schedule, shard_rows=10)
    told = facts(tmp_path / "c").values()
    assert {(shard["cut"], shard["shares_prefixes"], shard["schedule"]) for shard in told} == {(2, True, schedule)}
    extracted(alike, family("opt"), tmp_path / "plain", share_prefixes=False)
    np.testing.assert_allclose(vectors(tmp_path / "c", alike), vectors(tmp_path / "plain", alike), rtol=0, atol=1e-5)


def lose(cache: Path, n: int) -> None:
    """As a kill leaves it that comes before some shards are saved."""
    for shard in sorted((cache / "shards").iterdir())[:n]:
        shutil.rmtree(shard)
    shutil.rmtree(next((cache / "datasets").iterdir()))


@pytest.mark.parametrize("lost", [1, 2])
def test_an_unfinished_cache_gets_the_bytes_of_a_finished_one(
    lost: int, tmp_path: Path, alike: Dataset, opt: Path
) -> None:
    extracted(alike, opt, tmp_path / "c", shard_rows=8)
    before = content(tmp_path / "c")
    lose(tmp_path / "c", lost)
    extracted(alike, opt, tmp_path / "c", shard_rows=8)
    assert content(tmp_path / "c") == before


def test_a_cache_of_an_earlier_version_goes_on_in_the_order_of_its_items(
    tmp_path: Path, alike: Dataset, opt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its shards do not say how they are cut. It lacks two whole ones, and exactly these are computed."""
    write: Any = Output.write

    def write_as_before(self: Output, *given: Any) -> None:
        *others, metadata = given
        write(self, *others, {name: metadata[name] for name in metadata if name not in ("cut", "shares_prefixes")})

    with monkeypatch.context() as earlier:
        earlier.setattr(inputs, "CUT", 1)
        earlier.setattr(Output, "write", write_as_before)
        extracted(alike, opt, tmp_path / "c", shard_rows=8, share_prefixes=False)
    names = set(facts(tmp_path / "c"))
    expected = vectors(tmp_path / "c", alike)
    assert not any("cut" in shard for shard in facts(tmp_path / "c").values())
    lose(tmp_path / "c", 2)
    kept = content(tmp_path / "c")
    done = extracted(alike, opt, tmp_path / "c", shard_rows=8)
    told = facts(tmp_path / "c")
    assert set(told) == names
    assert [(shard["cut"], shard["shares_prefixes"]) for shard in told.values() if "cut" in shard] == [(1, True)] * 2
    assert 8 < done.computed <= 16
    assert {file: bytes_ for file, bytes_ in content(tmp_path / "c").items() if file in kept} == kept
    np.testing.assert_allclose(vectors(tmp_path / "c", alike), expected, rtol=0, atol=1e-5)


def test_windows_end_where_the_items_say_whatever_is_stored(
    tmp_path: Path, alike: Dataset, opt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows of eight items, shards of three sequences: what is lost is cut as it was."""
    monkeypatch.setattr(shards, "_CHUNK", 4)
    monkeypatch.setattr(shards, "_WINDOW_ITEMS", 8)
    extracted(alike, opt, tmp_path / "c", shard_rows=3)
    before = content(tmp_path / "c")
    assert len(facts(tmp_path / "c")) == 3 * 3 + 2
    lose(tmp_path / "c", 5)
    extracted(alike, opt, tmp_path / "c", shard_rows=3)
    assert content(tmp_path / "c") == before
