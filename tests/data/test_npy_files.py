"""Files of arrays that grow, and rows of a mapped one that are asked for ahead."""

import mmap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from small.train.runs import make_cache, make_dataset
from tcf.common.errors import CacheError
from tcf.data import npy_files
from tcf.data.npy_files import ArrayFile, load_array, map_array, request_rows

PAGE = mmap.PAGESIZE


@pytest.mark.parametrize("parts", [[], [0], [3], [1, 0, 4], [7, 100_000]])
@pytest.mark.parametrize(("row", "dtype"), [((), np.int64), ((4,), np.uint64), ((2, 3), np.float16)])
def test_the_file_is_that_of_one_save(tmp_path: Path, parts: list[int], row: tuple[int, ...], dtype: Any) -> None:
    arrays = [(np.arange(n * int(np.prod(row))) % 2048).reshape(n, *row).astype(dtype) for n in parts]
    with ArrayFile(tmp_path / "grown.npy", row, dtype) as file:
        for array in arrays:
            file.append(array)
    np.save(tmp_path / "saved.npy", np.concatenate([np.zeros((0, *row), dtype), *arrays]))
    assert (tmp_path / "grown.npy").read_bytes() == (tmp_path / "saved.npy").read_bytes()


def test_rows_need_not_be_contiguous(tmp_path: Path) -> None:
    table = np.arange(12.0).reshape(3, 4)
    with ArrayFile(tmp_path / "a.npy", (2,), np.float64) as file:
        file.append(table[:, 1:3])
    assert np.load(tmp_path / "a.npy").tolist() == [[1, 2], [5, 6], [9, 10]]


def test_rows_of_another_form_are_refused(tmp_path: Path) -> None:
    with ArrayFile(tmp_path / "a.npy", (2,), np.float32) as file:
        for rows in (np.zeros((1, 3), np.float32), np.zeros((1, 2)), np.zeros(2, np.float32)):
            with pytest.raises(ValueError, match="expected rows of"):
                file.append(rows)
    assert np.load(tmp_path / "a.npy").shape == (0, 2)


def calls_of(monkeypatch: pytest.MonkeyPatch, table: Any, rows: list[int]) -> list[tuple[int, int]]:
    """The ranges asked for, in pages from the first page of the table."""
    calls: list[tuple[int, int]] = []

    def madvise(start: int, length: int, advice: int) -> int:
        assert (start % PAGE, advice) == (0, mmap.MADV_WILLNEED)
        first = table.ctypes.data // PAGE
        calls.append((start // PAGE - first, -(-(start + length) // PAGE) - first))
        return -1

    monkeypatch.setattr(npy_files, "_madvise", lambda: madvise)
    assert request_rows(table, np.array(rows, np.int64)) == len(calls)
    return calls


def test_ranges_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of half a page, of which the file's header of 128 bytes shifts every second one over a page's end."""
    np.save(tmp_path / "a.npy", np.zeros((100, PAGE // 4), np.float16))
    table = map_array(tmp_path / "a.npy", CacheError, "")
    assert table.ctypes.data % PAGE == 128
    assert calls_of(monkeypatch, table, [0, 1, 2]) == [(0, 2)]
    assert calls_of(monkeypatch, table, [0, 6, 7, 50]) == [(0, 1), (3, 5), (25, 26)]
    assert calls_of(monkeypatch, table, [3]) == [(1, 3)]
    assert calls_of(monkeypatch, table, []) == []


def test_a_real_request_changes_nothing_but_speed(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path, [[0, 1, 2]], [f"text {i}" for i in range(50)])
    vectors = np.random.default_rng(0).normal(size=(50, 3000)).astype(np.float16)
    cache = make_cache(tmp_path, dataset, vectors)
    assert request_rows(cache.shards[0], np.array([0, 20], np.int64)) == 2
    for rows in ([3, 49, 3, 0, 25, 24], [0, 1, 1, 30], []):
        places = cache.rows_for(dataset)[rows]
        for request in (False, True):
            found = cache.gather(places, request=request)
            assert np.array_equal(found, vectors[rows])
            assert found.dtype == np.float16 and found.flags.owndata
    for wrong in ([-1], [50], [0, 50], [7, -1]):
        with pytest.raises(IndexError, match=r"expected rows 0\.\.49, found"):
            cache.gather(np.array(wrong))


def npz(file: Path) -> None:
    with file.open("wb") as stream:
        np.savez(stream, a=np.ones(3))


def header(descr: str, shape: str) -> Callable[[Path], object]:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return lambda file: file.write_bytes(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode())


@pytest.mark.parametrize(
    "write",
    [
        npz,
        lambda file: file.write_bytes(b"PK\x03\x04"),
        lambda file: file.write_bytes(b""),
        header("'<f8'", "(1152921504606846976,)"),
        header("'<f8'", f"({10**30}, {10**30})"),
        header("'<f8'", "(10000000000,)"),
        header("'<f8'", "-" * 100),
        header("'<f8'", "[" * 60),
    ],
)
@pytest.mark.parametrize("read", [load_array, map_array])
def test_archives_and_sizes_that_are_not_there(
    tmp_path: Path, write: Callable[[Path], object], read: Callable[..., object]
) -> None:
    write(tmp_path / "a.npy")
    with pytest.raises(CacheError, match=r"a\.npy: expected a readable \.npy file, found none \(.+\); do that$"):
        read(tmp_path / "a.npy", CacheError, "do that")
