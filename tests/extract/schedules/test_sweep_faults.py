"""What goes wrong in a sweep: a clear error, nothing published that is not whole, and all is well once it is mended."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from small.data.caches import content
from small.encoders.families import save_family, store_weights, stored_weights
from small.encoders.models import save_dataset, token_ids
from small.extract.extractions import extracted, vectors
from small.extract.plans import CPU_RATES
from small.extract.sweeps import largest_file
from tcf.common.errors import ModelError, RunError
from tcf.data import Dataset, VectorCache
from tcf.extract.plan import planner
from tcf.extract.schedules import load_engine
from tcf.extract.schedules.sweep import SweepEngine
from tcf.extract.schedules.sweep_pass import ForwardPass
from tcf.extract.worker import ShardWorker

# One text is of a letter that no other has.
TEXTS = ["mario", "zelda 64", "mario 2", "final 64", "日", "star war", "the legend of zelda", "quest"]
ITEM = r"d: item i4 \('日'\): "
SWEEP: dict[str, Any] = {"schedule": "sweep", "shard_rows": 3}


@pytest.fixture(autouse=True)
def rates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plans without trials."""
    monkeypatch.setattr(planner, "measure_rates", lambda *given: CPU_RATES)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return save_dataset(tmp_path / "d", TEXTS)


@pytest.fixture
def model(tmp_path: Path, family: Callable[[str], Path]) -> Path:
    return Path(shutil.copytree(family("opt"), tmp_path / "m"))


@pytest.fixture
def expected(dataset: Dataset, family: Callable[[str], Path], tmp_path: Path) -> Any:
    extracted(dataset, family("opt"), tmp_path / "expected", schedule="resident")
    return vectors(tmp_path / "expected", dataset)


def last_file(model: Path) -> Path:
    """The file that has most of the last block."""
    inside = {file: file.read_bytes().count(b"layers.2.") for file in sorted(model.glob("*.safetensors"))}
    return max(inside, key=lambda file: inside[file])


def cut_in_half(file: Path) -> None:
    with file.open("r+b") as stream:
        stream.truncate(file.stat().st_size // 2)


def spoil_header(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[8:24] = b"?" * 16
    file.write_bytes(content)


def lengthen_header(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[:8] = (1 << 60).to_bytes(8, "little")
    file.write_bytes(content)


def remove(file: Path) -> None:
    file.unlink()


def nothing_published(out: Path) -> None:
    assert not out.exists()
    assert not list(out.parent.glob(".c.*"))


@pytest.mark.parametrize("harm", [cut_in_half, spoil_header, lengthen_header, remove])
def test_a_damaged_file_of_weights_is_named_before_the_work(
    harm: Callable[[Path], None], model: Path, tmp_path: Path, dataset: Dataset, expected: Any
) -> None:
    file = last_file(model)
    whole = file.read_bytes()
    harm(file)
    with pytest.raises(ModelError, match=rf"{file.name}.*download"):
        extracted(dataset, model, tmp_path / "c", **SWEEP)
    nothing_published(tmp_path / "c")
    file.write_bytes(whole)
    extracted(dataset, model, tmp_path / "c", **SWEEP)
    np.testing.assert_allclose(vectors(tmp_path / "c", dataset), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("harm", [cut_in_half, spoil_header, remove])
def test_a_file_that_is_damaged_after_the_plan_is_named(
    harm: Callable[[Path], None],
    model: Path,
    tmp_path: Path,
    dataset: Dataset,
    expected: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = last_file(model)
    whole = file.read_bytes()
    load = load_engine.load_sweep

    def load_sweep(*given: Any) -> SweepEngine:
        harm(file)
        return load(*given)

    with monkeypatch.context() as patch:
        patch.setattr(load_engine, "load_sweep", load_sweep)
        with pytest.raises(ModelError, match=file.name):
            extracted(dataset, model, tmp_path / "c", **SWEEP)
    nothing_published(tmp_path / "c")
    file.write_bytes(whole)
    extracted(dataset, model, tmp_path / "c", **SWEEP)
    np.testing.assert_allclose(vectors(tmp_path / "c", dataset), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("devices", ["cpu", "cpu,cpu"])
def test_a_file_cut_short_within_the_sweep_leaves_the_shards_before_it(
    devices: str, model: Path, tmp_path: Path, dataset: Dataset, expected: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = last_file(model)
    whole = file.read_bytes()
    compute, calls = ShardWorker.compute, list[int]()

    def compute_once(self: ShardWorker, *given: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            cut_in_half(file)
        return compute(self, *given)

    settings: dict[str, Any] = {**SWEEP, "devices": devices}
    with monkeypatch.context() as patch:
        patch.setattr(ShardWorker, "compute", compute_once)
        # So that no block stays in memory.
        patch.setattr(load_engine, "load_sweep", planned(load_engine.load_sweep, blocks=("disk",) * 3))
        with pytest.raises(ModelError, match=rf"{file.name}: expected \d+ more bytes .*download it again"):
            extracted(dataset, model, tmp_path / "c", **settings)
    before = content(tmp_path / "c" / "shards")
    assert VectorCache.open(tmp_path / "c").n_rows == 3
    assert not [name for name in before if "claim" in name or "partial" in name]
    file.write_bytes(whole)
    done = extracted(dataset, model, tmp_path / "c", **settings)
    assert (done.sequences, done.computed) == (8, 5)
    after = content(tmp_path / "c" / "shards")
    assert {name: after[name] for name in before} == before
    np.testing.assert_allclose(vectors(tmp_path / "c", dataset), expected, rtol=0, atol=1e-5)


def planned(load: Callable[..., SweepEngine], **changes: Any) -> Callable[..., SweepEngine]:
    """A way to load a sweep whose plan was another one."""

    def load_sweep(*given: Any) -> SweepEngine:
        *others, plan = given
        return load(*others, replace(plan, **changes))

    return load_sweep


def with_letter(model: Path, value: float) -> None:
    """Give the tokens of the one letter an embedding of this value."""
    weights = stored_weights(model)
    weights["model.decoder.embed_tokens.weight"][token_ids(model, "日", 30)[1:]] = value
    store_weights(model, weights, files=3)


@pytest.mark.parametrize(("schedule", "devices"), [("sweep", "cpu"), ("sweep", "cpu,cpu"), ("pipeline", "cpu,cpu")])
def test_what_overflows_on_the_way_names_item_text_and_layer(
    schedule: str, devices: str, tmp_path: Path, dataset: Dataset
) -> None:
    model = save_family("opt", tmp_path / "m")
    weights = stored_weights(model)
    weights["model.decoder.layers.1.fc2.weight"].fill_(60_000.0)
    store_weights(model, weights, files=3)
    settings: dict[str, Any] = {"schedule": schedule, "devices": devices}
    said = r"d: item i\d \('.*'\): the states of layer 2 are not finite; pass --dtype float32 or bfloat16 and a new"
    with pytest.raises(ModelError, match=said):
        extracted(dataset, model, tmp_path / "c", dtype="float16", **settings)
    nothing_published(tmp_path / "c")
    extracted(dataset, model, tmp_path / "c", dtype="bfloat16", **settings)


@pytest.mark.parametrize("devices", ["cpu", "cpu,cpu"])
@pytest.mark.parametrize(
    ("settings", "remedy"),
    [
        ({"layers": (-1, 0), "storage": "float16"}, "--storage float32"),
        ({"token_states": 0, "token_storage": "float16"}, "--token-storage bfloat16"),
    ],
)
def test_what_does_not_fit_the_storage_names_the_item_and_the_way_out(
    settings: dict[str, Any], remedy: str, devices: str, model: Path, tmp_path: Path, dataset: Dataset
) -> None:
    with_letter(model, 1e6)
    said = rf"{ITEM}layer 0 gives \S+e\+0[56], too large for float16 \(at most .*\); pass {remedy} and a new"
    with pytest.raises(ModelError, match=said):
        extracted(dataset, model, tmp_path / "c", schedule="sweep", devices=devices, **settings)
    assert not list(tmp_path.glob("c/*"))
    wider = {**settings, "storage": "float32", "token_storage": "bfloat16"}
    extracted(dataset, model, tmp_path / "wider", schedule="sweep", devices=devices, **wider)


@pytest.mark.usefixtures("own_home")
def test_what_did_not_fit_before_an_interruption_is_not_published_after_it(
    model: Path, tmp_path: Path, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_letter(model, 1e6)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    settings: dict[str, Any] = {"schedule": "sweep", "checkpoint_layers": 1, "layers": (0, -1), "storage": "float16"}
    leave, numbers = SweepEngine._in_place, list[int]()

    def interrupt(self: SweepEngine, lane: Any, number: int, loaded: Any) -> Any:
        numbers.append(number)
        if numbers.count(2) == 3:  # the first two passes try whether the model shares prefixes
            raise KeyboardInterrupt
        return leave(self, lane, number, loaded)

    with monkeypatch.context() as patch:
        patch.setattr(SweepEngine, "_in_place", interrupt)
        with pytest.raises(KeyboardInterrupt):
            extracted(dataset, model, tmp_path / "c", **settings)
    [saved] = tmp_path.rglob("block-*")
    assert saved.name == "block-2"
    with pytest.raises(ModelError, match=rf"{ITEM}layer 0 gives .* too large for float16 .*pass --storage float32"):
        extracted(dataset, model, tmp_path / "c", **settings)
    assert not list(tmp_path.glob("c/[!.]*"))
    assert not list((tmp_path / "here").iterdir())  # the text is looked at alone, which nothing is saved of


@pytest.mark.parametrize("how", ["spilled", "saved"])
def test_a_disk_that_is_full_within_a_sweep(
    how: str, model: Path, tmp_path: Path, dataset: Dataset, expected: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, Any] = {"schedule": "sweep"}
    if how == "saved":
        settings["checkpoint_layers"] = 1
    else:
        monkeypatch.setattr(load_engine, "load_sweep", planned(load_engine.load_sweep, hidden_states="disk"))
    place = "states.bin" if how == "spilled" else "block-1"
    extracted(save_dataset(tmp_path / "first", TEXTS[:1]), model, tmp_path / "c", **settings)
    before = content(tmp_path / "c" / "shards")
    with largest_file(2500), pytest.raises(RunError, match=rf"{place}: cannot be written \(file too large\).*free"):
        extracted(dataset, model, tmp_path / "c", **settings)
    assert content(tmp_path / "c" / "shards") == before
    extracted(dataset, model, tmp_path / "c", **settings)
    assert not list(tmp_path.glob(".c.*"))
    np.testing.assert_allclose(vectors(tmp_path / "c", dataset), expected, rtol=0, atol=1e-5)


def test_a_device_with_too_little_memory_takes_half_as_much_at_once(
    model: Path,
    tmp_path: Path,
    dataset: Dataset,
    expected: Any,
    monkeypatch: pytest.MonkeyPatch,
    capfd: Any,
    shown_log: None,
) -> None:
    entering = ForwardPass._entering

    def full(self: ForwardPass, batch: Any) -> Any:
        if batch.n_states > 8 and batch.n_texts > 1:
            raise torch.OutOfMemoryError
        return entering(self, batch)

    monkeypatch.setattr(ForwardPass, "_entering", full)
    for devices in ("cpu", "cpu,cpu"):
        out = tmp_path / devices
        extracted(dataset, model, out, schedule="sweep", tokens_per_batch=32, devices=devices)
        told = [line for line in capfd.readouterr().err.splitlines() if "out of memory" in line]
        assert [line.rsplit(" ", 1)[1] for line in told] == ["16", "8"]
        # The comparison of prefixes, which comes first, has not given up.
        assert [manifest.facts["shares_prefixes"] for manifest in VectorCache.open(out).manifests] == [True]
        np.testing.assert_allclose(vectors(out, dataset), expected, rtol=0, atol=1e-5)
