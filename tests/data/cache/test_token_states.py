import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from small.data.caches import (
    FACTS,
    IDENTITY,
    add_text_map,
    flip_bit,
    new_cache,
    new_token_states,
    sequences_of,
    shard,
    states_of,
    token_shard,
)
from small.encoders.models import save_dataset
from small.manifests import reseal
from tcf.common.errors import CacheError
from tcf.common.manifest import read_manifest
from tcf.data import VectorCache
from tcf.data.cache.cache_files import TOKEN_STATES
from tcf.data.cache.caches import TokenStates, open_cache, write_token_shard
from tcf.data.cache.writer import check_cache, create_cache


@pytest.mark.parametrize("storage", ["float16", "bfloat16", "float32"])
def test_states_come_back_in_item_order(tmp_path: Path, storage: str) -> None:
    cache = new_token_states(tmp_path / "c", storage=storage)
    token_shard(cache, ["bcd", "", "e"], storage)
    folder = token_shard(cache, ["fg", "abcde"], storage)
    texts = ["abcde", "e", "", "bcd", "E", "fg"]
    dataset = save_dataset(tmp_path / "d", texts)
    add_text_map(cache, dataset)
    opened = TokenStates.open(cache)
    states, offsets = opened.gather(opened.rows_for(dataset))
    assert offsets.tolist() == [0, 5, 6, 6, 9, 10, 12]
    assert (states == np.concatenate([states_of(text, storage) for text in texts])).all()
    assert states.dtype == (np.uint16 if storage == "bfloat16" else storage)
    assert (opened.width, opened.n_rows, opened.n_tokens, opened.storage) == (3, 5, 11, storage)
    facts = read_manifest(folder, TOKEN_STATES.shard).facts
    assert facts == {"rows": 2, "tokens": 7, "device": "cpu"}
    opened.verify()


def test_bfloat16_is_stored_as_its_bits(tmp_path: Path) -> None:
    cache = new_token_states(tmp_path / "c", storage="bfloat16")
    expected = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)).bfloat16()
    bits = expected.view(torch.uint16).numpy()
    write_token_shard(cache, sequences_of(["a", "b"]), bits, np.array([0, 1, 4]))
    states, _ = TokenStates.open(cache).gather(np.array([1, 0]))
    assert torch.equal(torch.from_numpy(states).view(torch.bfloat16), expected[[1, 2, 3, 0]])


def test_gather_against_one_list(tmp_path: Path) -> None:
    cache = new_token_states(tmp_path / "c")
    draw = np.random.default_rng(0)
    for number in range(6):
        token_shard(cache, [chr(97 + number) * int(n) for n in dict.fromkeys(draw.integers(0, 9, 8).tolist())])
    opened = TokenStates.open(cache)
    ragged = [part for s in opened.shards for part in np.split(s.states, s.offsets[1:-1])]
    rows = draw.integers(0, opened.n_rows, 100)
    states, offsets = opened.gather(rows)
    assert [part.tolist() for part in np.split(states, offsets[1:-1])] == [ragged[row].tolist() for row in rows]
    assert opened.lengths(rows).tolist() == [len(ragged[row]) for row in rows]
    assert opened.row_bytes(rows).tolist() == [len(ragged[row]) * 3 * 2 for row in rows]
    with pytest.raises(IndexError):
        opened.gather(np.array([opened.n_rows]))


def test_an_empty_cache(tmp_path: Path) -> None:
    opened = TokenStates.open(new_token_states(tmp_path / "c"))
    states, offsets = opened.gather(np.zeros(0, np.int64))
    assert (states.shape, offsets.tolist(), opened.n_tokens) == ((0, 3), [0], 0)
    opened.verify()


def test_the_other_kind_says_what_it_is(tmp_path: Path) -> None:
    vectors, states = new_cache(tmp_path / "v"), new_token_states(tmp_path / "s")
    with pytest.raises(CacheError, match=rf"{states}: expected a cache of vectors, found one of token states"):
        VectorCache.open(states)
    with pytest.raises(CacheError, match=rf"{vectors}: expected a cache of token states, found one of vectors"):
        TokenStates.open(vectors)
    with pytest.raises(CacheError, match="expected a cache of token states, found one of vectors"):
        check_cache(vectors, IDENTITY, TOKEN_STATES)
    with pytest.raises(CacheError, match="expected a cache of vectors, found one of token states"):
        new_cache(states)
    assert [type(open_cache(path)).__name__ for path in (vectors, states)] == ["VectorCache", "TokenStates"]


def test_another_layer_is_refused(tmp_path: Path) -> None:
    cache = new_token_states(tmp_path / "c")
    identity = {key: value for key, value in IDENTITY.items() if key != "pooling"} | {"layer": 2}
    with pytest.raises(CacheError, match="layer: 1 found, 2 requested"):
        check_cache(cache, identity, TOKEN_STATES)
    with pytest.raises(CacheError, match="layer: 1 found, 2 requested"):
        create_cache(cache, identity=identity, model="toy", width=3, kind=TOKEN_STATES)
    assert not check_cache(tmp_path / "nowhere", identity, TOKEN_STATES)


def test_missing_states_say_what_to_run(tmp_path: Path) -> None:
    cache = new_token_states(tmp_path / "c", prefix="query: ", project_out=True)
    dataset = save_dataset(tmp_path / "d", ["a"])
    with pytest.raises(CacheError) as caught:
        TokenStates.open(cache).rows_for(dataset)
    assert "expected token states for each of the 1 items" in str(caught.value)
    assert str(caught.value).endswith(
        f"--out {cache} --token-states 1 --prefix 'query: ' --max-tokens 30 --project-out --dtype float32 "
        "--token-storage float16`"
    )


def test_describe(tmp_path: Path) -> None:
    cache = new_token_states(tmp_path / "c", storage="bfloat16")
    token_shard(cache, ["abc", "de"], "bfloat16")
    dataset = save_dataset(tmp_path / "d", ["abc", "x"])
    add_text_map(cache, dataset)
    described = TokenStates.open(cache).describe()
    assert json.loads(json.dumps(described)) == described
    counted = {key: described[key] for key in ("kind", "sequences", "tokens", "bytes", "shards", "missing", "width")}
    assert counted == {
        "kind": "token states",
        "sequences": 2,
        "tokens": 5,
        "bytes": 5 * 3 * 2,
        "shards": 1,
        "missing": 1,
        "width": 3,
    }
    [known] = described["datasets"]
    assert known == {"path": str(dataset.path), "exists": True, "fingerprint": dataset.fingerprint, **FACTS}


@pytest.mark.parametrize(
    "offsets",
    [
        np.array([0, 3]),
        np.array([0, 3, 4]),
        np.array([1, 3, 5]),
        np.array([0, 6, 5]),
        np.array([0, 3, 5], np.int32),
        np.array([[0, 3, 5]]),
    ],
)
def test_damaged_offsets(tmp_path: Path, offsets: np.ndarray[Any, Any]) -> None:
    cache = new_token_states(tmp_path / "c")
    folder = token_shard(cache, ["abc", "de"])
    np.save(folder / "offsets.npy", offsets)
    reseal(folder)
    with pytest.raises(
        CacheError, match=rf"{folder}/offsets.npy: expected 3 int64 rising from 0 to 5, found other numbers; run"
    ):
        TokenStates.open(cache)


@pytest.mark.parametrize("states", [np.zeros((5, 3), np.float32), np.zeros((4, 3), np.float16)])
def test_damaged_states(tmp_path: Path, states: np.ndarray[Any, Any]) -> None:
    cache = new_token_states(tmp_path / "c")
    np.save(token_shard(cache, ["abc", "de"]) / "states.npy", states)
    with pytest.raises(CacheError, match=r"states.npy: expected 5 x 3 float16, found"):
        TokenStates.open(cache)


def test_verify_finds_a_flipped_bit_anywhere(tmp_path: Path) -> None:
    cache = new_token_states(tmp_path / "c")
    folder = token_shard(cache, ["abc", "de"])
    TokenStates.open(cache).verify()
    for file in folder.iterdir():
        original = file.read_bytes()
        for position in range(0, len(original), 17):
            flip_bit(file, position)
            with pytest.raises(CacheError):
                TokenStates.open(cache).verify()
            file.write_bytes(original)
    TokenStates.open(cache).verify()


@pytest.mark.parametrize(
    ("storage", "bad"),
    [
        ("float16", float("inf")),
        ("float32", float("nan")),
        ("bfloat16", 0x7F80),
        ("bfloat16", 0xFF80),
        ("bfloat16", 0x7FC1),
    ],
)
def test_verify_finds_numbers_that_are_not_finite(tmp_path: Path, storage: str, bad: float) -> None:
    cache = new_token_states(tmp_path / "c", storage=storage)
    states = states_of("abc", storage)
    largest = 0x7F7F if storage == "bfloat16" else np.finfo(states.dtype).max
    states[0, 0] = largest
    write_token_shard(cache, sequences_of(["abc"]), states, np.array([0, 3]))
    TokenStates.open(cache).verify()
    states = states.copy()
    states[2, 1] = bad
    write_token_shard(cache, sequences_of(["abcd"]), states, np.array([0, 3]))
    with pytest.raises(CacheError, match=r"states\.npy: expected finite numbers, found one"):
        TokenStates.open(cache).verify()


def test_vectors_and_states_of_one_text_have_the_same_shard_name(tmp_path: Path) -> None:
    first = shard(new_cache(tmp_path / "v"), ["a", "b"], 1)
    assert token_shard(new_token_states(tmp_path / "s"), ["a", "b"]).name == first.name
