import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from small.data.caches import (
    add_text_map,
    content,
    flip_bit,
    new_cache,
    new_token_states,
    sequences_of,
    shard,
    states_of,
    token_shard,
)
from small.encoders.models import save_dataset
from small.launch.kills import killed_at_rename
from tcf.common.errors import CacheError, RunError
from tcf.common.files import is_published
from tcf.data import VectorCache
from tcf.data.cache.caches import TokenStates
from tcf.data.cache.merge import MergeResult, merge

MERGE = """
from pathlib import Path
from tcf.data.cache.merge import merge
folder = Path(sys.argv[1])
merge([folder / "1", folder / "2"], folder / "out")
"""


@pytest.fixture
def caches(tmp_path: Path) -> list[Path]:
    """Two caches that share the texts b and d; the first has b twice."""
    first, second = new_cache(tmp_path / "1"), new_cache(tmp_path / "2")
    shard(first, ["a", "b"], 10)
    shard(first, ["b", "c", "d"], 11)
    shard(second, ["b", "e", "d", "f"], 40)
    shard(second, ["g", "h"], 50)
    add_text_map(first, save_dataset(tmp_path / "d", ["d", "a", "c"]))
    add_text_map(second, save_dataset(tmp_path / "e", ["h", "e", "f", "b"]))
    return [first, second]


def test_every_vector_once_and_all_joins(tmp_path: Path, caches: Sequence[Path]) -> None:
    before = [content(path) for path in caches]
    assert merge(caches, tmp_path / "out") == MergeResult("vectors", rows=8, repeated=3, shards=4, datasets=2)
    assert [content(path) for path in caches] == before
    merged = VectorCache.open(tmp_path / "out")
    assert merged.verify().strays == ()
    assert (merged.n_rows, merged.missing) == (8, 0)
    assert len({tuple(key) for key in merged.keys.tolist()}) == 8
    found = dict(zip(map(tuple, merged.keys.tolist()), merged.gather(np.arange(8))[:, 0].tolist(), strict=True))
    expected = {"a": 10, "b": 11, "c": 12, "d": 13, "e": 41, "f": 43, "g": 50, "h": 51}
    assert found == {tuple(sequences_of([text])[0].tolist()): value for text, value in expected.items()}
    for path in (tmp_path / "d", tmp_path / "e"):
        assert any(known.path == path for known in merged.datasets)
    assert merged.manifest == VectorCache.open(caches[0]).manifest


def test_whole_shards_and_joins_are_copied_byte_for_byte(tmp_path: Path, caches: Sequence[Path]) -> None:
    merge(caches, tmp_path / "out")
    copied = content(tmp_path / "out")
    # Of the two shards that share a text, the one whose name comes first stays whole.
    whole = [min(path.name for path in (caches[0] / "shards").iterdir()), shard(caches[1], ["g", "h"], 0).name]
    for path, name in zip(caches, whole, strict=True):
        originals = {file: data for file, data in content(path).items() if name in file or "datasets" in file}
        assert len(originals) == 5
        assert originals.items() <= copied.items()


def test_a_part_of_a_shard_tells_what_computed_it(tmp_path: Path, caches: Sequence[Path]) -> None:
    [source] = [path for path in (caches[1] / "shards").iterdir() if len(np.load(path / "keys.npy")) == 4]
    versions = json.loads((source / "manifest.json").read_text())["versions"]
    merge(caches, tmp_path / "out")
    parts = [json.loads(path.read_text()) for path in (tmp_path / "out" / "shards").glob("*/manifest.json")]
    assert sorted(len(part["facts"].get("computed_with", [])) for part in parts) == [0, 0, 1, 1]
    assert all(part["facts"].get("computed_with", [versions]) == [versions] for part in parts)


def test_the_order_of_caches_decides_which_copy_stays(tmp_path: Path, caches: Sequence[Path]) -> None:
    dataset = save_dataset(tmp_path / "b", ["b", "d"])
    merge(caches, tmp_path / "12")
    merge(caches[::-1], tmp_path / "21")
    for path, expected in ((tmp_path / "12", None), (tmp_path / "21", [40, 42])):
        add_text_map(path, dataset)
        vectors = VectorCache.open(path).vectors_for(dataset)[:, 0].tolist()
        # The first cache has two vectors of b; either may be the one that stays.
        assert vectors == expected if expected else vectors in ([11, 13], [11, 13])


def test_merging_again_what_was_merged_changes_nothing(tmp_path: Path, caches: Sequence[Path]) -> None:
    merge(caches, tmp_path / "once")
    done = merge([tmp_path / "once", *caches, tmp_path / "once"], tmp_path / "twice")
    assert (done.rows, done.repeated) == (8, 8 + 3 + 8)
    assert content(tmp_path / "twice") == content(tmp_path / "once")


def test_token_states(tmp_path: Path) -> None:
    first, second = new_token_states(tmp_path / "1"), new_token_states(tmp_path / "2")
    token_shard(first, ["abc", "", "de"])
    token_shard(second, ["f", "de", "", "ghij", "abc"])
    dataset = save_dataset(tmp_path / "d", ["ghij", "", "abc", "f"])
    add_text_map(second, dataset)
    assert merge([first, second], tmp_path / "out") == MergeResult("token states", 5, 3, 2, 1)
    merged = TokenStates.open(tmp_path / "out")
    merged.verify()
    states, offsets = merged.gather(merged.rows_for(dataset))
    assert offsets.tolist() == [0, 4, 4, 7, 8]
    assert (states == np.concatenate([states_of(text) for text in ("ghij", "", "abc", "f")])).all()


def test_another_encoder_or_kind_is_refused(tmp_path: Path, caches: Sequence[Path]) -> None:
    other = new_cache(tmp_path / "other", pooling="first", max_tokens=20)
    with pytest.raises(CacheError) as caught:
        merge([*caches, other], tmp_path / "out")
    assert f"{other}: expected the encoder and the options of {caches[0]}, found others" in str(caught.value)
    assert "(max_tokens: 20 found, 30 requested; pooling: first found, mean requested)" in str(caught.value)
    states = new_token_states(tmp_path / "states")
    with pytest.raises(CacheError, match=f"{states}: expected a cache of vectors .* found one of token states"):
        merge([*caches, states], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_place_that_is_taken(tmp_path: Path, caches: Sequence[Path]) -> None:
    before = content(caches[0])
    with pytest.raises(RunError, match="expected an unused path"):
        merge(caches, caches[0])
    assert content(caches[0]) == before


@pytest.mark.parametrize("name", ["vectors.npy", "keys.npy", "texts.npy", "manifest.json"])
def test_damage_is_not_passed_on(tmp_path: Path, caches: Sequence[Path], name: str) -> None:
    file = sorted(caches[1].glob(f"*/*/{name}"))[0]
    flip_bit(file, -2)
    with pytest.raises(CacheError, match=str(file.parent)):
        merge(caches, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".*"))


def test_killed_at_any_rename(tmp_path: Path, caches: Sequence[Path]) -> None:
    before = [content(path) for path in caches]
    merge(caches, tmp_path / "undisturbed")
    expected = content(tmp_path / "undisturbed")
    shutil.rmtree(tmp_path / "undisturbed")
    number = 1
    while killed_at_rename(MERGE, tmp_path, number):
        assert not is_published(tmp_path / "out")
        assert [content(path) for path in caches] == before
        number += 1
    assert number > 5
    assert content(tmp_path / "out") == expected
    assert not list(tmp_path.rglob(".*.partial-*"))
