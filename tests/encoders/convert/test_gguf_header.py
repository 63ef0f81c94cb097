"""A GGUF file whose header promises more than there is is refused at once, before a library reads it."""

import struct
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFEndian, GGUFWriter

from small.encoders.gguf import SmallGguf, byte_pairs, small_llama, write_gguf
from tcf.common.errors import ModelError
from tcf.encoders.convert.convert import convert
from tcf.encoders.convert.gguf_header import check_gguf_header

GIANT = 2**60


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def entry(key: str, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


def size(key: str, value: int) -> bytes:
    return entry(key, 4, struct.pack("<I", value))


def array(kind: int, count: int, values: bytes = b"") -> bytes:
    return entry("tokenizer.ggml.tokens", 9, struct.pack("<IQ", kind, count) + values)


def tensor(name: str, *shape: int) -> bytes:
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, 0, 0)


def header(entries: list[bytes], tensors: list[bytes]) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(entries)) + b"".join([*entries, *tensors])


WIDE = [tensor("token_embd.weight", 64, 420)]
HOSTILE: dict[str, tuple[bytes, str]] = {
    "bytes": (header([array(0, GIANT)], []), "arrays of"),
    "strings": (header([array(8, GIANT)], []), "arrays of"),
    "many strings": (header([array(8, 2**22 + 1)], []), "arrays of 4194305 values, more than 4194304"),
    "few strings": (header([array(8, 10**6)], []), "8 more bytes from byte"),
    "arrays": (header([array(9, 1)], []), "an array of type 9"),
    "types": (header([entry("a", 77, b"")], []), "an entry 'a' of type 77"),
    "key": (header([struct.pack("<Q", GIANT)], []), "more bytes from byte 32"),
    "value": (header([entry("a", 8, struct.pack("<Q", GIANT))], []), "more bytes from byte"),
    "entries": (b"GGUF" + struct.pack("<IQQ", 3, 0, GIANT), "tensors and 1152921504606846976 entries in 24 bytes"),
    "tensors": (b"GGUF" + struct.pack("<IQQ", 3, GIANT, 0), "1152921504606846976 tensors and 0 entries in 24 bytes"),
    "dimensions": (header([], [text("a") + struct.pack("<I", 2**32 - 1)]), "4294967295 dimensions of 'a'"),
    "shape": (header([], [tensor("a", GIANT, 2)]), "shape 1152921504606846976 x 2 of 'a' in"),
    "blocks": (header([size("llama.block_count", 10**9)], WIDE), "block_count 1000000000, more than 1000"),
    "experts": (header([size("llama.expert_count", 10**9)], WIDE), "expert_count 1000000000, more"),
    "width": (header([size("llama.embedding_length", 10**9)], WIDE), "length 1000000000, more than 420"),
    "positions": (
        header([size("gpt2.context_length", 10**7)], [tensor("position_embd.weight", 64, 100)]),
        "context_length 10000000, more than 100",
    ),
    "short": (b"GGUF\x03\x00", "4 more bytes|8 more bytes"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_headers_that_promise_too_much(tmp_path: Path, kind: str) -> None:
    content, found = HOSTILE[kind]
    (tmp_path / "a.gguf").write_bytes(content)
    start = time.perf_counter()
    with pytest.raises(ModelError, match=rf"a\.gguf: expected a complete GGUF file .*found .*{found}.*; download it"):
        convert(tmp_path / "a.gguf", tmp_path / "out")
    assert time.perf_counter() - start < 2
    assert [path.name for path in tmp_path.iterdir()] == ["a.gguf"]


def test_headers_of_both_orders_of_bytes(tmp_path: Path) -> None:
    check_gguf_header(write_gguf(tmp_path / "a.gguf", SmallGguf(small_llama(), byte_pairs())))
    writer = GGUFWriter(tmp_path / "b.gguf", "llama", endianess=GGUFEndian.BIG)
    writer.add_block_count(2)
    writer.add_array("numbers", [1.5, 2.5])
    writer.add_array("words", ["a", "bc"])
    writer.add_tensor("token_embd.weight", np.ones((4, 3), np.float32))
    for write in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file):
        write()
    writer.close()
    check_gguf_header(tmp_path / "b.gguf")


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b[:100], lambda b: b[:24]])
def test_a_header_cut_short(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    whole = header([array(8, 3, text("a") * 3), entry("b", 10, struct.pack("<Q", 7))], WIDE)
    (tmp_path / "whole.gguf").write_bytes(whole)
    check_gguf_header(tmp_path / "whole.gguf")
    (tmp_path / "a.gguf").write_bytes(damage(whole))
    with pytest.raises(ModelError, match="a.gguf: expected a complete GGUF file"):
        check_gguf_header(tmp_path / "a.gguf")
