"""Where tensors lie: against what safetensors and torch themselves read, and files that are not whole."""

import json
import os
import pickle
import resource
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from small.encoders.families import store_weights, stored_weights
from small.encoders.models import save_opt
from tcf.common.errors import ModelError
from tcf.encoders.convert.torch_pickles import read_torch_file
from tcf.encoders.split.stored_tensors import StoredTensor, stored_tensors
from tcf.encoders.torch_archive import LARGEST_HEADER

Folders = Callable[[str], Path]
TYPES = (
    torch.bool, torch.uint8, torch.int8, torch.float8_e4m3fn, torch.float8_e4m3fnuz, torch.float8_e5m2,
    torch.float8_e5m2fnuz, torch.uint16, torch.int16, torch.float16, torch.bfloat16, torch.uint32, torch.int32,
    torch.float32, torch.uint64, torch.int64, torch.float64, torch.complex64,
)  # fmt: skip


def bits(stored: StoredTensor) -> Tensor:
    """The tensor that lies there, read by numpy."""
    if stored.nbytes == 0:
        return torch.empty(stored.shape, dtype=stored.dtype)
    array = np.fromfile(stored.file, np.uint8, stored.nbytes, offset=stored.offset)
    return torch.from_numpy(array).view(stored.dtype).reshape(stored.shape)


def same(left: Tensor, right: Tensor) -> bool:
    """Equal type, shape and bits."""
    flat = [tensor.contiguous().reshape(-1).view(torch.uint8) for tensor in (left, right)]
    return left.dtype == right.dtype and left.shape == right.shape and torch.equal(*flat)


def assert_found(folder: Path, weights: dict[str, Tensor]) -> None:
    found = {tensor.name: tensor for tensor in stored_tensors(folder)}
    assert found.keys() == weights.keys()
    for name, weight in weights.items():
        assert same(bits(found[name]), weight), name


@pytest.mark.parametrize(("kind", "files"), [("safetensors", 1), ("safetensors", 3), ("bin", 1), ("bin", 3)])
@pytest.mark.parametrize("name", ["gpt2", "t5"])
def test_tensors_are_where_their_files_say(
    family_folder: Folders, tmp_path: Path, name: str, kind: str, files: int
) -> None:
    path = Path(shutil.copytree(family_folder(name), tmp_path / name))
    weights = stored_weights(path)
    store_weights(path, weights, kind=kind, files=files)
    assert_found(path, weights)
    assert len({tensor.file for tensor in stored_tensors(path)}) == files


@pytest.mark.parametrize("kind", ["safetensors", "bin"])
def test_every_type_and_odd_shapes(tmp_path: Path, kind: str) -> None:
    draw = torch.Generator().manual_seed(0)
    weights = {str(dtype): torch.randint(0, 2, (3, 5), generator=draw).to(torch.float32).to(dtype) for dtype in TYPES}
    weights |= {"scalar": torch.tensor(2.5), "nothing": torch.zeros(0, 4), "deep": torch.ones(1, 2, 1, 2).half()}
    store_weights(tmp_path, weights, kind=kind)
    assert_found(tmp_path, weights)


def test_an_archive_whose_tensors_share_a_storage(tmp_path: Path) -> None:
    """As tied weights and slices are saved by torch: one storage, several tensors at places of it."""
    table = torch.arange(24.0).reshape(4, 6)
    weights = {"table": table, "tied": table, "rows": table[1:3], "parameter": nn.Parameter(table[2:])}
    torch.save(weights, tmp_path / "pytorch_model.bin")
    assert_found(tmp_path, {name: weight.detach() for name, weight in weights.items()})
    offsets = {tensor.name: tensor.offset for tensor in stored_tensors(tmp_path)}
    assert offsets["table"] == offsets["tied"] == offsets["rows"] - 24 == offsets["parameter"] - 48


def test_an_archive_saved_on_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = {"x": torch.arange(5.0)}
    with monkeypatch.context() as patch:
        patch.setattr(torch.serialization, "location_tag", lambda _: "cuda:0")
        torch.save(weights, tmp_path / "pytorch_model.bin")
    with pytest.raises(RuntimeError, match="CUDA"):
        torch.load(tmp_path / "pytorch_model.bin") if not torch.cuda.is_available() else pytest.skip("a GPU is there")
    assert_found(tmp_path, weights)


@pytest.mark.parametrize("keep", [0, 4, 9, 300, -1, -100])
def test_a_safetensors_file_that_was_cut(tmp_path: Path, keep: int) -> None:
    file = save_opt(tmp_path / "m") / "model.safetensors"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(ModelError, match=r"model\.safetensors: damaged or truncated: expected .*; download it again"):
        stored_tensors(tmp_path / "m")


def test_a_safetensors_file_that_is_too_long(tmp_path: Path) -> None:
    file = save_opt(tmp_path / "m") / "model.safetensors"
    size = file.stat().st_size
    with file.open("ab") as stream:
        stream.write(b"\0")
    with pytest.raises(ModelError, match=f"expected {size} bytes, as its header says, found {size + 1}"):
        stored_tensors(tmp_path / "m")


def write_header(folder: Path, header: Any, data: int = 24) -> None:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + bytes(data))


def entry(begin: int, end: int, shape: Any = (2, 3), dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def test_the_header_written_here_is_one(tmp_path: Path) -> None:
    write_header(tmp_path, {"__metadata__": {"format": "pt"}, "x": entry(0, 24)})
    (found,) = stored_tensors(tmp_path)
    size = (tmp_path / "model.safetensors").stat().st_size
    assert (found.name, found.offset, found.shape, found.nbytes) == ("x", size - 24, (2, 3), 24)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (b"{", "expected a header in JSON"),
        (b"\xff\xff", "expected a header in JSON"),
        ([1], r"expected a JSON object as its header, found \[1\]"),
        ({"x": 3}, "expected dtype, shape and data_offsets of x, found 3"),
        ({"x": {"dtype": "F32", "shape": [6]}}, "expected dtype, shape and data_offsets of x"),
        ({"x": entry(0, 24, [2, -3])}, "expected dtype, shape and data_offsets of x"),
        ({"x": entry(0, 24, [2, True])}, "expected dtype, shape and data_offsets of x"),
        ({"x": entry(0, 24, "F32")}, "expected dtype, shape and data_offsets of x"),
        ({"x": entry(0, 24, dtype="F4")}, r"expected x in a type that torch has \(BOOL, .*\), found F4; load .* again"),
        ({"x": entry(0, 23)}, r"expected 24 bytes of x, F32 of shape 2 x 3, found 0 to 23"),
        ({"x": entry(-4, 20)}, r"expected 24 bytes of x, F32 of shape 2 x 3, found -4 to 20"),
        ({"x": entry(8, 32)}, r"expected x at byte \d+, found byte \d+ in its header"),
        ({"x": entry(0, 24), "y": entry(0, 24)}, r"expected y at byte \d+, found byte \d+ in its header"),
        ({"x": entry(0, 24), "y": entry(24, 48)}, r"expected \d+ bytes, as its header says, found \d+"),
        ({}, r"expected \d+ bytes, as its header says, found \d+"),
    ],
)
def test_headers_that_make_no_sense(tmp_path: Path, header: Any, message: str) -> None:
    write_header(tmp_path, header)
    with pytest.raises(ModelError, match=rf"model\.safetensors: .*{message}"):
        stored_tensors(tmp_path)


def test_a_name_in_two_files(tmp_path: Path) -> None:
    names = {"x": "a.safetensors", "y": "b.safetensors"}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    save_file({"x": torch.ones(2)}, tmp_path / "a.safetensors")
    save_file({"x": torch.ones(2), "y": torch.ones(2)}, tmp_path / "b.safetensors")
    with pytest.raises(ModelError, match=r"b\.safetensors: expected every weight in one file, found x also in a\."):
        stored_tensors(tmp_path)


def archive(folder: Path, content: Any) -> Path:
    torch.save(content, folder / "pytorch_model.bin")
    return folder / "pytorch_model.bin"


@pytest.mark.parametrize("keep", [0, 10, 500, -20])
def test_an_archive_that_was_cut(tmp_path: Path, keep: int) -> None:
    file = archive(tmp_path, {"x": torch.arange(600.0)})
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(
        ModelError, match=r"pytorch_model\.bin: expected a complete, .* found another file .*; download it"
    ):
        stored_tensors(tmp_path)


def test_torchs_form_before_archives(tmp_path: Path) -> None:
    torch.save({"x": torch.ones(2)}, tmp_path / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    with pytest.raises(ModelError, match="found another file .* save it again with save_pretrained"):
        stored_tensors(tmp_path)


def rewritten(file: Path, change: Callable[[str, bytes], bytes], compression: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(file) as old:
        members = {info.filename: old.read(info) for info in old.infolist()}
    with zipfile.ZipFile(file, "w", compression) as new:
        for name, content in members.items():
            new.writestr(name, change(name, content))


def test_an_archive_that_was_packed_again(tmp_path: Path) -> None:
    file = archive(tmp_path, {"x": torch.zeros(600)})
    rewritten(file, lambda _, content: content, zipfile.ZIP_DEFLATED)
    with pytest.raises(
        ModelError, match="found compressed members; load the model with transformers and save it again"
    ):
        stored_tensors(tmp_path)


def test_an_archive_of_another_byte_order(tmp_path: Path) -> None:
    file = archive(tmp_path, {"x": torch.zeros(600)})
    rewritten(file, lambda name, content: b"big" if name.endswith("/byteorder") else content)
    with pytest.raises(ModelError, match="found data that is not little-endian"):
        stored_tensors(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([torch.ones(2)], "expected a dictionary of weights, found another object"),
        ({"x": 3}, "expected a dictionary of plain tensors by name, found another entry under 'x'"),
        ({"x": {"y": torch.ones(2)}}, "expected a dictionary of plain tensors by name, found another entry under 'x'"),
        ({1: torch.ones(2)}, "expected a dictionary of plain tensors by name, found another entry under 1"),
        ({"x": torch.ones(2, 3).t()}, r"expected x contiguous in row-major order, found strides 1 x 3; load"),
        ({"x": torch.ones(2).to_sparse()}, "expected a dictionary of plain tensors by name|cannot be read"),
    ],
)
def test_archives_of_other_things(tmp_path: Path, content: Any, message: str) -> None:
    archive(tmp_path, content)
    with pytest.raises(ModelError, match=rf"pytorch_model\.bin: .*({message})"):
        stored_tensors(tmp_path)


class Poison:
    """Writes a file when it is unpickled."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[Any, ...]:
        return self.place.touch, ()


def test_code_in_an_archive_is_not_run(tmp_path: Path) -> None:
    archive(tmp_path, {"x": torch.ones(2), "y": Poison(tmp_path / "ran")})
    with pytest.raises(ModelError, match=r"cannot be read \(a file is damaged or contains other objects than tensors"):
        stored_tensors(tmp_path)
    assert not (tmp_path / "ran").exists()
    pickle.loads(pickle.dumps(Poison(tmp_path / "ran")))
    assert (tmp_path / "ran").exists()


def test_a_header_too_large_to_be_read_in_seconds(tmp_path: Path) -> None:
    file = save_opt(tmp_path / "opt") / "model.safetensors"
    file.write_bytes((2 << 30).to_bytes(8, "little"))
    os.truncate(file, 3 << 30)  # takes no space
    with pytest.raises(ModelError, match="expected a header of at most 33554432 bytes, found one of 2147483648"):
        stored_tensors(file.parent)


@pytest.mark.parametrize("shape", [[10**38] * 3, [2**63], [-1], [2**62] * 80])
def test_shapes_that_no_tensor_has(tmp_path: Path, shape: list[int]) -> None:
    file = save_opt(tmp_path / "opt") / "model.safetensors"
    header = json.dumps({"a": {"dtype": "F32", "shape": shape, "data_offsets": [0, 4]}}).encode()
    file.write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 4)
    with pytest.raises(ModelError, match="damaged or truncated") as refused:
        stored_tensors(file.parent)
    assert len(str(refused.value)) < 3000


@pytest.mark.parametrize(("member", "found"), [("data.pkl", "a pickle of"), ("byteorder", "data that is not little")])
def test_members_too_large_to_be_read(tmp_path: Path, member: str, found: str) -> None:
    file = tmp_path / "pytorch_model.bin"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(f"archive/{member}", b"\0" * (LARGEST_HEADER + 1))
    with pytest.raises(ModelError, match=f"expected a complete, uncompressed archive of torch.save .*found {found}"):
        stored_tensors(tmp_path)
    with pytest.raises(ModelError, match=f"expected uncompressed little-endian data, found {found}"):
        read_torch_file(file)


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    file = tmp_path / "pytorch_model.bin"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("archive/byteorder", "w") as stream:
        for _ in range(64):
            stream.write(b"\0" * (1 << 20))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ModelError, match="found compressed members"):
        stored_tensors(tmp_path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 32 << 10


def test_a_directory_too_large_to_be_read(tmp_path: Path) -> None:
    file = tmp_path / "pytorch_model.bin"
    torch.save({"a": torch.ones(2)}, file)
    content = file.read_bytes()
    end = content.rindex(b"PK\x05\x06")
    file.write_bytes(content[: end + 12] + (1 << 30).to_bytes(4, "little") + content[end + 16 :])
    with pytest.raises(ModelError, match="found a directory of 1073741824 bytes, more than 33554432"):
        stored_tensors(tmp_path)
