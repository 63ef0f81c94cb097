"""Buffers that are used again and again: what is read, cast, attached and taken out of a model."""

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import tcf.encoders.split.read_pool
import tcf.encoders.split.weight_buffers as module
from tcf.common.errors import ModelError
from tcf.encoders.split.read_pool import ReadPool
from tcf.encoders.split.skeleton import Weight
from tcf.encoders.split.stored_tensors import stored_tensors
from tcf.encoders.split.weight_buffers import (
    StoredWeightBuffer,
    TypedWeightBuffer,
    attach,
    buffer_nbytes,
    detach,
    is_as_stored,
    move_buffers,
)

CPU = torch.device("cpu")


@pytest.fixture
def pool() -> Iterator[ReadPool]:
    with ReadPool(3) as pool:
        yield pool


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 1000


def saved(folder: Path, weights: dict[str, Tensor], dtypes: dict[str, torch.dtype] | None = None) -> list[Weight]:
    """Weights in a file of their own, to be computed with as stored or in other types."""
    folder.mkdir(exist_ok=True)
    save_file(weights, folder / "model.safetensors")
    found = sorted(stored_tensors(folder), key=lambda tensor: tensor.name)
    return [Weight(f"in.{one.name}", one, (dtypes or {}).get(one.name, one.dtype)) for one in found]


def test_weights_are_read_as_they_are_stored(tmp_path: Path, pool: ReadPool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcf.encoders.split.read_pool, "_CHUNK", 100)
    content = {"a": numbers(7, 9), "b": numbers(3).half(), "c": torch.tensor(5), "d": torch.zeros(0, 2)}
    weights = saved(tmp_path, content)
    buffer = StoredWeightBuffer(buffer_nbytes(weights, stored=True))
    found = buffer.read(weights, pool=pool)
    for tensor, expected in zip(found, content.values(), strict=True):
        assert tensor.dtype == expected.dtype
        assert torch.equal(tensor, expected)
    assert all(tensor.data_ptr() % 256 == 0 for tensor in found[:3])
    assert pool.bytes_read == 7 * 9 * 4 + 3 * 2 + 8


def test_memory_is_used_again(tmp_path: Path, pool: ReadPool) -> None:
    first = saved(tmp_path / "1", {"a": numbers(8, 8), "b": numbers(5)})
    second = saved(tmp_path / "2", {"a": numbers(6, 8, seed=1), "b": numbers(5, seed=2)})
    buffer = StoredWeightBuffer(max(buffer_nbytes(weights, stored=True) for weights in (first, second)))
    old = buffer.read(first, pool=pool)
    new = buffer.read(second, pool=pool)
    assert old[0].data_ptr() == new[0].data_ptr()
    assert torch.equal(new[0], numbers(6, 8, seed=1))
    assert torch.equal(old[0][:6], new[0])
    assert pool.bytes_read == 4 * (64 + 5 + 48 + 5)


def test_sizes_count_padding_and_what_is_shared_once(tmp_path: Path) -> None:
    weights = saved(tmp_path, {"a": torch.zeros(17), "b": torch.zeros(1)}, {"a": torch.float16})
    assert buffer_nbytes(weights, stored=True) == 256 + 256
    assert buffer_nbytes(weights, stored=False) == 256 + 256
    tied = [*weights, Weight("again", weights[0].stored, torch.float16)]
    assert buffer_nbytes(tied, stored=True) == 256 + 256
    assert buffer_nbytes(tied, stored=False) == 256 + 256
    in_another_type = [*weights, Weight("again", weights[0].stored, torch.float32)]
    assert buffer_nbytes(in_another_type, stored=True) == 256 + 256
    assert buffer_nbytes(in_another_type, stored=False) == 256 + 256 + 256
    assert buffer_nbytes([], stored=True) == 0


def test_tied_weights_are_read_and_kept_once(tmp_path: Path, pool: ReadPool) -> None:
    (one,) = saved(tmp_path, {"a": numbers(4, 4)}, {"a": torch.bfloat16})
    weights = [one, Weight("tied", one.stored, torch.bfloat16), Weight("wide", one.stored, torch.float64)]
    stored = StoredWeightBuffer(buffer_nbytes(weights, stored=True)).read(weights, pool=pool)
    assert pool.bytes_read == 64
    assert stored[0].data_ptr() == stored[1].data_ptr()
    filled = TypedWeightBuffer(buffer_nbytes(weights, stored=False), CPU).fill(weights, stored)
    assert filled["in.a"].data_ptr() == filled["tied"].data_ptr() != filled["wide"].data_ptr()
    assert torch.equal(filled["tied"], numbers(4, 4).bfloat16())
    assert torch.equal(filled["wide"], numbers(4, 4).double())


def test_a_part_that_is_too_large(tmp_path: Path, pool: ReadPool) -> None:
    weights = saved(tmp_path, {"a": torch.zeros(17), "b": torch.zeros(17)})
    with pytest.raises(RuntimeError, match="b ends at byte 324 of a buffer of 323"):
        StoredWeightBuffer(323).read(weights, pool=pool)
    assert len(StoredWeightBuffer(324).read(weights, pool=pool)) == 2


@pytest.mark.parametrize("to", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("stored", [torch.float16, torch.bfloat16, torch.float32])
def test_casts_are_those_of_to(tmp_path: Path, pool: ReadPool, stored: torch.dtype, to: torch.dtype) -> None:
    """With numbers that are too large, too small, half-way between two others, and none at all."""
    odd = torch.tensor([1e30, 70000.0, 65520.0, 1e-8, 1 + 2**-9, 1 + 3 * 2**-9, -0.0, float("nan"), float("-inf")])
    content = {"a": torch.cat([odd, numbers(1000)]).to(stored), "b": numbers(3).to(stored)}
    weights = saved(tmp_path, content, dict.fromkeys(content, to))
    found = StoredWeightBuffer(buffer_nbytes(weights, stored=True)).read(weights, pool=pool)
    filled = TypedWeightBuffer(buffer_nbytes(weights, stored=False), CPU).fill(weights, found)
    for name, expected in content.items():
        assert filled[f"in.{name}"].dtype == to
        torch.testing.assert_close(filled[f"in.{name}"], expected.to(to), rtol=0, atol=0, equal_nan=True)


def test_what_is_cast_does_not_need_the_stored_tensors_any_more(tmp_path: Path, pool: ReadPool) -> None:
    weights = saved(tmp_path, {"a": numbers(4), "b": numbers(4, seed=1)}, {"a": torch.bfloat16})
    assert not is_as_stored(weights)
    stored = StoredWeightBuffer(buffer_nbytes(weights, stored=True)).read(weights, pool=pool)
    filled = TypedWeightBuffer(buffer_nbytes(weights, stored=False), CPU).fill(weights, stored)
    for tensor in stored:
        tensor.zero_()
    assert torch.equal(filled["in.a"], numbers(4).bfloat16())
    assert torch.equal(filled["in.b"], numbers(4, seed=1))


def test_what_is_as_stored_is_not_copied_on_a_cpu(tmp_path: Path, pool: ReadPool) -> None:
    weights = saved(tmp_path, {"a": numbers(4), "b": numbers(4).half()})
    assert is_as_stored(weights)
    stored = StoredWeightBuffer(buffer_nbytes(weights, stored=True)).read(weights, pool=pool)
    filled = TypedWeightBuffer(0, CPU).fill(weights, stored)
    assert [filled["in.a"].data_ptr(), filled["in.b"].data_ptr()] == [tensor.data_ptr() for tensor in stored]


def test_a_file_that_became_shorter(tmp_path: Path, pool: ReadPool) -> None:
    weights = saved(tmp_path, {"a": numbers(1000)})
    file = weights[0].stored.file
    os.truncate(file, file.stat().st_size - 400)
    with pytest.raises(
        ModelError, match=r"model\.safetensors: expected 400 more bytes of a at byte \d+, found the end"
    ):
        StoredWeightBuffer(4096).read(weights, pool=pool)
    assert pool.bytes_read == 0


def test_a_file_that_is_gone(tmp_path: Path, pool: ReadPool) -> None:
    weights = saved(tmp_path, {"a": numbers(10)})
    weights[0].stored.file.unlink()
    with pytest.raises(ModelError, match=r"model\.safetensors: weights cannot be opened \(no such file"):
        StoredWeightBuffer(4096).read(weights, pool=pool)


def test_a_disk_that_fails(tmp_path: Path, pool: ReadPool, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = saved(tmp_path, {"a": numbers(10), "b": numbers(10)})

    def fail(*_: object) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "preadv", fail)
    with pytest.raises(ModelError, match=r"model\.safetensors: [ab] cannot be read at byte \d+ \(input/output error\)"):
        StoredWeightBuffer(4096).read(weights, pool=pool)


def test_after_a_failure_no_thread_writes_any_more(
    tmp_path: Path, pool: ReadPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = saved(tmp_path, {"a": numbers(10), "b": numbers(20)})
    whole, written, begun = os.preadv, [], threading.Event()

    def slow_or_failing(descriptor: int, memory: list[memoryview], place: int) -> int:
        if len(memory[0]) == 80:
            begun.set()
            time.sleep(0.2)
            written.append(place)
            return whole(descriptor, memory, place)
        begun.wait()
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "preadv", slow_or_failing)
    with pytest.raises(ModelError, match="a cannot be read"):
        StoredWeightBuffer(4096).read(weights, pool=pool)
    assert len(written) == 1


def test_a_system_that_gives_less_than_is_asked_for(
    tmp_path: Path, pool: ReadPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = saved(tmp_path, {"a": numbers(50)})
    whole = os.preadv
    monkeypatch.setattr(os, "preadv", lambda fd, memory, place: whole(fd, [memory[0][:33]], place))
    (found,) = StoredWeightBuffer(4096).read(weights, pool=pool)
    assert torch.equal(found, numbers(50))


def test_files_are_opened_once_and_closed(tmp_path: Path) -> None:
    weights = saved(tmp_path, {"a": numbers(10), "b": numbers(10)})

    def links() -> list[Path]:
        return [link.readlink() for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]

    with ReadPool(2) as pool:
        for _ in range(3):
            StoredWeightBuffer(4096).read(weights, pool=pool)
        assert links().count(weights[0].stored.file) == 1
    assert weights[0].stored.file not in links()


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        with torch.device("meta"):
            self.inner = nn.Linear(3, 2)
            self.blocks = nn.ModuleList([nn.Linear(2, 2)])
            self.register_buffer("scale", torch.ones(2))
        self.register_buffer("built", torch.full((2,), 5.0), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        states: Tensor = self.inner(x) * self.scale + self.built
        return states


def test_a_module_runs_on_attached_tensors_and_lets_them_go() -> None:
    model = Small()
    tensors = {"inner.weight": numbers(2, 3), "inner.bias": numbers(2), "scale": torch.tensor([2.0, 3.0])}
    attach(model, tensors, apart=model.blocks)
    x = numbers(4, 3)
    assert torch.equal(model(x), nn.functional.linear(x, tensors["inner.weight"], tensors["inner.bias"])
                       * torch.tensor([2.0, 3.0]) + 5)  # fmt: skip
    assert model.inner.weight.data_ptr() == tensors["inner.weight"].data_ptr()
    assert isinstance(model.inner.weight, nn.Parameter)
    assert not model.inner.weight.requires_grad
    assert set(dict(model.named_buffers())) == {"scale", "built"}
    detach(model, tensors)
    assert [name for name, tensor in model.state_dict().items() if not tensor.is_meta] == []
    assert model.inner.weight.shape == (2, 3)
    assert set(dict(model.named_parameters())) == {"inner.weight", "inner.bias", "blocks.0.weight", "blocks.0.bias"}
    assert torch.equal(model.get_buffer("built"), torch.full((2,), 5.0))


@pytest.mark.parametrize("lost", ["inner.bias", "scale"])
def test_nothing_runs_without_numbers(lost: str) -> None:
    model = Small()
    tensors = {"inner.weight": numbers(2, 3), "inner.bias": numbers(2), "scale": numbers(2)}
    del tensors[lost]
    with pytest.raises(RuntimeError, match=f"Small: 1 weights have no data, such as {lost}"):
        attach(model, tensors, apart=model.blocks)


def test_blocks_count_where_they_are_not_set_apart() -> None:
    model = Small()
    tensors = {"inner.weight": numbers(2, 3), "inner.bias": numbers(2), "scale": numbers(2)}
    with pytest.raises(RuntimeError, match="2 weights have no data"):
        attach(model, tensors)


def test_buffers_that_were_built_are_moved() -> None:
    """Moved to the meta device, since a CPU is the only other one everywhere."""
    model = Small()
    model.blocks.register_buffer("of_blocks", torch.ones(1))
    move_buffers(model, torch.device("meta"), apart=model.blocks)
    assert model.get_buffer("built").is_meta
    assert not model.blocks.get_buffer("of_blocks").is_meta


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("to", [torch.float32, torch.float16, torch.bfloat16])
def test_casts_on_cuda_are_those_of_the_cpu(
    tmp_path: Path, pool: ReadPool, monkeypatch: pytest.MonkeyPatch, to: torch.dtype
) -> None:
    monkeypatch.setattr(module, "STAGING_BYTES", 1 << 10)
    content = {"a": numbers(100, 101), "b": numbers(3).half(), "c": torch.tensor([1e30, 65520.0, 1e-8])}
    weights = saved(tmp_path, content, dict.fromkeys(content, to))
    found = StoredWeightBuffer(buffer_nbytes(weights, stored=True), pinned=True).read(weights, pool=pool)
    filled = TypedWeightBuffer(buffer_nbytes(weights, stored=False), torch.device("cuda")).fill(weights, found)
    for name, expected in content.items():
        assert torch.equal(filled[f"in.{name}"].cpu(), expected.to(to))
