"""The private parts of torch that `tcf.common.torch_internals` leans on are there and behave as tcf uses them."""

import datetime
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed
from torch import nn

from tcf.common import torch_internals as internals

TORCH = f"torch {torch.__version__}"
HERE = "tcf/common/torch_internals.py"
dist: Any = torch.distributed  # much of what it has, it does not export by name
needs_onednn = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(),  # type: ignore[no-untyped-call]
    reason="this build of torch has no oneDNN",
)


def test_trees() -> None:
    what = (
        f"{TORCH}: torch.utils._pytree no longer maps nested containers; {HERE} uses it for what blocks are called with"
    )
    tree = ((1, [2, None]), {"a": (3,), "b": 4})
    assert internals.tree_map(lambda leaf: leaf and leaf * 10, tree) == ((10, [20, None]), {"a": (30,), "b": 40}), what
    assert internals.tree_leaves(tree) == [1, 2, None, 3, 4], what
    pairs = internals.tree_leaves(tree, is_leaf=lambda node: isinstance(node, list))
    assert pairs == [1, [2, None], 3, 4], f"{what} (is_leaf)"


def test_containers_of_transformers_are_looked_into() -> None:
    from transformers.modeling_outputs import BaseModelOutput

    output = BaseModelOutput(last_hidden_state=torch.zeros(2))
    mapped: Any = internals.tree_map(lambda leaf: leaf + 1, output)
    what = f"{TORCH}: transformers' outputs are no longer registered in torch.utils._pytree, which {HERE} counts on"
    assert type(mapped) is BaseModelOutput, what
    assert mapped["last_hidden_state"].tolist() == [1, 1], what


def test_storages_on_the_meta_device_are_told_apart() -> None:
    first, second = torch.empty(3, device="meta"), torch.empty(3, device="meta")
    what = (
        f"{TORCH}: UntypedStorage._cdata no longer tells storages apart; {HERE} uses it to see which weights are tied"
    )
    assert internals.storage_id(first) == internals.storage_id(first[1:].view(2, 1)), what
    assert internals.storage_id(first) != internals.storage_id(second), what
    assert nn.Parameter(first).untyped_storage()._cdata == internals.storage_id(first), what


@pytest.mark.parametrize("way", ["meta", "fake"])
def test_where_tensors_lie_in_a_file(tmp_path: Path, way: str) -> None:
    file = tmp_path / "weights.bin"
    numbers = torch.arange(12, dtype=torch.float32)
    torch.save({"a": torch.zeros(5), "b": numbers}, file)
    if way == "meta":
        content = torch.load(file, map_location="meta", weights_only=True)
    else:
        with internals.tensors_without_data():
            content = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    offset = internals.file_offset(content["b"])
    what = (
        f"{TORCH}: torch.load ({way}) no longer sets UntypedStorage._checkpoint_offset; {HERE} uses it to read weights "
        "in place from files of torch.save"
    )
    assert offset is not None, what
    assert file.read_bytes()[offset : offset + 48] == numbers.numpy().tobytes(), what
    assert internals.file_offset(numbers) is None, what


def test_no_number_is_read_for_tensors_without_data(tmp_path: Path) -> None:
    file = tmp_path / "weights.bin"
    torch.save({"a": torch.arange(3)}, file)
    with internals.tensors_without_data():
        tensor = torch.load(file, map_location="cpu", weights_only=True, mmap=True)["a"]
    what = f"{TORCH}: torch._subclasses.fake_tensor.FakeTensorMode gives numbers to tensors of torch.load; see {HERE}"
    assert type(tensor).__name__ == "FakeTensor" and tensor.untyped_storage().device.type == "meta", what
    assert (tensor.shape, tensor.dtype, tensor.device.type) == ((3,), torch.int64, "cpu"), what


@needs_onednn
def test_products_of_onednn() -> None:
    torch.manual_seed(0)
    layer, x = nn.Linear(5, 7), torch.randn(2, 3, 5)
    what = (
        f"{TORCH}: torch.ops.mkldnn._reorder_linear_weight or _linear_pointwise changed; {HERE} uses them to lay "
        "weights out once on a CPU"
    )
    with torch.inference_mode():
        weight = internals.reorder_linear_weight(layer.weight.detach().contiguous(), 2048)
        for name, algorithm, function in (
            ("none", "", nn.Identity()),
            ("relu", "", nn.ReLU()),
            ("gelu", "none", nn.GELU()),
            ("gelu", "tanh", nn.GELU(approximate="tanh")),
        ):
            found = internals.linear_with_activation(x, weight, layer.bias, name, algorithm)
            torch.testing.assert_close(
                found, function(layer(x)), rtol=1e-5, atol=1e-5, msg=lambda text: f"{what}\n{text}"
            )


@needs_onednn
def test_types_of_onednn() -> None:
    what = f"{TORCH}: torch.ops.mkldnn._is_mkldnn_bf16_supported or _is_mkldnn_fp16_supported is gone; {HERE} asks them"
    assert internals.has_onednn_type(torch.float32) and not internals.has_onednn_type(torch.float64), what
    assert {internals.has_onednn_type(torch.bfloat16), internals.has_onednn_type(torch.float16)} <= {True, False}, what


def test_a_full_processor_is_known_by_its_words() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert internals.is_out_of_memory(caught.value), (
        f"{TORCH}: the CPU's allocator no longer says that it can't allocate memory, but {str(caught.value)[:200]!r}; "
        f"{HERE} knows it by these words"
    )
    assert internals.is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert not internals.is_out_of_memory(RuntimeError("shape mismatch"))


def test_a_lost_partner_is_known_by_its_words() -> None:
    """Two members in one process, of which the second does not take part."""
    store, patience = dist.HashStore(), datetime.timedelta(seconds=2)
    with ThreadPoolExecutor(2) as pool:
        first, _second = pool.map(lambda rank: dist.ProcessGroupGloo(store, rank, 2, patience), (0, 1))
    with pytest.raises(RuntimeError) as caught:
        first.allreduce(torch.zeros(1)).wait()
    assert internals.is_lost_partner(caught.value), (
        f"{TORCH}: gloo no longer names itself when a process is gone, but says {str(caught.value)[:200]!r}; "
        f"{HERE} knows it by that word"
    )


def test_nccl_has_a_class_of_errors() -> None:
    assert internals.is_lost_partner(dist.DistError("x")), f"{TORCH}: see is_lost_partner in {HERE}"
    assert not internals.is_lost_partner(RuntimeError("shape mismatch"))


def test_a_store_that_is_there_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the variable rank 0 would open a store at the same port, and fail, or keep one of its own."""
    seconds = datetime.timedelta(seconds=20)
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=seconds)
    told = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port), "RANK": "0", "WORLD_SIZE": "1"}
    for name, value in (*told.items(), *internals.USE_EXISTING_STORE.items()):
        monkeypatch.setenv(name, value)
    found, rank, size = next(dist.rendezvous("env://", timeout=seconds))
    found.set("who", "a member")
    assert (rank, size) == (0, 1)
    assert store.get("who") == b"a member", (
        f"{TORCH}: rank 0 no longer joins the store that {dict(internals.USE_EXISTING_STORE)} tells it of; {HERE} uses "
        "it for trainings on several devices"
    )


_MORE_SHAPES_THAN_ENTRIES = """
import torch
from tcf.common.torch_internals import limit_onednn_caches, linear_with_activation, reorder_linear_weight
limit_onednn_caches()
weight = reorder_linear_weight(torch.zeros(16, 16), 64)
with torch.inference_mode():
    for rows in (*range(1, 81), 1):
        print("rows", rows, flush=True)
        linear_with_activation(torch.zeros(rows, 16), weight, None, "none", "")
"""


@needs_onednn
def test_caches_of_onednn_are_held_small() -> None:
    """What was made for the first shape has been let go after 80, and is made again."""
    variables = {key: value for key, value in os.environ.items() if not key.endswith("CACHE_CAPACITY")}
    said = subprocess.run(
        [sys.executable, "-c", _MORE_SHAPES_THAN_ENTRIES],
        capture_output=True,
        text=True,
        check=True,
        env={**variables, "ONEDNN_VERBOSE": "2"},
    ).stdout
    last = said.rpartition("rows 1\n")[2]
    assert "create:cache_miss" in last, (
        f"{TORCH}: LRU_CACHE_CAPACITY and ONEDNN_PRIMITIVE_CACHE_CAPACITY no longer bound what oneDNN keeps "
        f"({last[:200]!r}); {HERE} sets them, because it keeps something for each number of rows"
    )


def test_settings_of_caches_that_are_there_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LRU_CACHE_CAPACITY", "7")
    monkeypatch.delenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", raising=False)
    internals.limit_onednn_caches()
    assert (os.environ["LRU_CACHE_CAPACITY"], os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"]) == ("7", "64")


def test_the_generator_of_one_device() -> None:
    with torch.random.fork_rng(devices=[]):
        internals.seed_default_generator(torch.device("cpu"), 3)
        first = torch.rand(2)
        expected = torch.rand(2, generator=torch.Generator().manual_seed(3))
    assert torch.equal(first, expected), f"{TORCH}: torch.default_generator is not what draws; see {HERE}"
    assert hasattr(torch.cuda, "default_generators"), f"{TORCH}: torch.cuda.default_generators is gone; see {HERE}"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_the_generator_of_one_gpu() -> None:
    device = torch.device("cuda", 0)
    with torch.random.fork_rng(devices=[device]):
        internals.seed_default_generator(device, 3)
        first = torch.rand(2, device=device)
        expected = torch.rand(2, device=device, generator=torch.Generator(device).manual_seed(3))
    assert torch.equal(first, expected), f"{TORCH}: torch.cuda.default_generators is not what draws; see {HERE}"


def test_the_state_of_adamw() -> None:
    """`tcf.train.distributed` copies it between processes; the files of a run have these names too."""
    parameter = nn.Parameter(torch.ones(2))
    optimizer = torch.optim.AdamW([parameter])
    parameter.sum().backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    state = optimizer.state[parameter]
    assert set(internals.ADAMW_STATE) == {"step", "exp_avg", "exp_avg_sq"}
    assert set(state) == set(internals.ADAMW_STATE), f"{TORCH}: AdamW's state has other names"
    for quantity, value in state.items():
        empty = internals.empty_adamw_state(quantity, parameter)
        assert (empty.shape, empty.dtype) == (value.shape, value.dtype), f"{TORCH}: AdamW's {quantity} has another form"
        assert not empty.any()
