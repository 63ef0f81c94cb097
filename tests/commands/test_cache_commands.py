import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from small.data.caches import FACTS, add_text_map, new_cache, new_token_states, sequences_of, shard, token_shard
from small.encoders.models import save_dataset
from tcf.commands.app import app
from tcf.common.errors import CacheError, ConfigError, RunError
from tcf.common.units import as_bytes
from tcf.data import VectorCache


def run(*words: object) -> Result:
    return CliRunner().invoke(app, ["cache", *map(str, words)])


def said(*words: object) -> str:
    done = run(*words)
    assert done.exit_code == 0, done.output
    return str(done.stdout)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A cache of four vectors, whose dataset of three items is `d` beside it."""
    shard(new_cache(tmp_path / "c"), ["a", "b"], 1)
    shard(tmp_path / "c", ["c", "d"], 3)
    add_text_map(tmp_path / "c", save_dataset(tmp_path / "d", ["b", "a", "c"]))
    return tmp_path / "c"


@pytest.fixture
def states(tmp_path: Path) -> Path:
    token_shard(new_token_states(tmp_path / "s"), ["abc", "de"])
    return tmp_path / "s"


def test_a_cache_is_described_in_words_and_in_json(cache: Path, states: Path) -> None:
    words = said("describe", cache)
    assert "vectors: 4\n" in words
    assert "  pooling: mean\n" in words
    assert "size of vectors: 24 B\n" in words and "  exists: yes\n" in words
    described = json.loads(said("describe", cache, "--json"))
    assert (described["vectors"], described["width"], described["encoder"]["model"]) == (4, 3, "toy")
    assert described["datasets"][0]["items"] == FACTS["items"]
    assert "kind: token states\n" in said("describe", states)
    assert "size of token states: " in said("describe", states)
    assert json.loads(said("describe", states, "--json"))["tokens"] == 5


def test_a_cache_is_verified(cache: Path, states: Path) -> None:
    size = sum(file.stat().st_size for file in cache.rglob("*.npy"))
    assert said("verify", cache) == f"{cache}: 4 vectors in 2 shards, {as_bytes(size)} on disk: no errors\n"
    expected = {"path": str(cache), "kind": "vectors", "shards": 2, "rows": 4, "bytes": size, "missing": 0}
    assert json.loads(said("verify", cache, "--json")) == {**expected, "strays": [], "verified": True}
    assert "2 rows of token states in 1 shard," in said("verify", states)


def test_verifying_tells_what_is_missing_and_what_does_not_belong_there(cache: Path, tmp_path: Path) -> None:
    add_text_map(cache, save_dataset(tmp_path / "e", ["x", "y", "a"]))
    (cache / "notes.txt").touch()
    lines = said("verify", cache).splitlines()
    assert lines[1:] == [
        "missing vectors of known texts: 2 token sequences; run `tcf extract` again",
        f"{cache / 'notes.txt'}: no manifest names this file",
    ]
    result = json.loads(said("verify", cache, "--json"))
    assert (result["missing"], result["strays"]) == (2, [str(cache / "notes.txt")])


@pytest.mark.parametrize("kind", ["vectors", "states"])
def test_damage_is_an_error(cache: Path, states: Path, kind: str) -> None:
    file = sorted((cache if kind == "vectors" else states).rglob(f"{kind}.npy"))[0]
    file.write_bytes(file.read_bytes()[:-1] + b"\xff")
    done = run("verify", cache if kind == "vectors" else states)
    assert isinstance(done.exception, CacheError)
    assert "sha256 differs" in str(done.exception)
    assert done.stdout == ""


@pytest.mark.parametrize("named", [False, True])
def test_a_cache_is_exported(cache: Path, tmp_path: Path, named: bool) -> None:
    data = ["--data", tmp_path / "d"] if named else []
    out = tmp_path / "v.npy"
    assert said("export", cache, *data, "--out", out) == f"{out}: 3 vectors of width 3, float16\n"
    assert np.load(out)[:, 0].tolist() == [2, 1, 3]
    assert said("export", cache, "--out", out, "--type", "float32") == f"{out}: 3 vectors of width 3, float32\n"
    assert np.load(out).dtype == np.float32


def test_caches_are_merged(cache: Path, tmp_path: Path) -> None:
    shard(new_cache(tmp_path / "other"), ["d", "e"], 9)
    out = tmp_path / "out"
    assert said("merge", cache, tmp_path / "other", "--out", out) == (
        f"{out}: 5 vectors in 3 shards, 1 dataset (1 repeated row left out)\n"
    )
    assert VectorCache.open(out).n_rows == 5
    alone = run("merge", cache, "--out", tmp_path / "alone")
    assert isinstance(alone.exception, ConfigError)


def test_a_cache_is_pruned(cache: Path, tmp_path: Path) -> None:
    out, more = tmp_path / "out", save_dataset(tmp_path / "more", ["A", "b"])
    add_text_map(cache, more)
    assert said("prune", cache, "--data", tmp_path / "d", "--data", more.path, "--out", out) == (
        f"{out}: 3 vectors kept in 1 shard, 1 dropped\n"
    )
    assert (VectorCache.open(out).keys == sequences_of(["b", "a", "c"])).all()


def test_caches_are_compared(cache: Path, tmp_path: Path) -> None:
    other = new_cache(tmp_path / "other", pooling="first")
    shard(other, ["a", "b", "x"], 1.5)
    add_text_map(other, save_dataset(tmp_path / "e", ["a", "b", "x"]))
    lines = said("compare", cache, other).splitlines()
    assert lines[:6] == [
        "compared: 2",
        "only in a: 1",
        "only in b: 1",
        "in neither: 0",
        "largest difference: 0.5",
        "mean difference: 0.5",
    ]
    assert [line.partition(": text ")[0] for line in lines[-2:]] == ["farthest", "least similar"]
    assert "farthest: item i0\n" in said("compare", cache, other, "--data", tmp_path / "e")
    found = json.loads(said("compare", cache, other, "--data", tmp_path / "e", "--json"))
    assert (found["compared"], found["only_b"], found["in_neither"]) == (2, 1, 0)
    assert found["farthest"]["item"] == "i0"
    nothing = new_cache(tmp_path / "nothing")
    assert said("compare", cache, nothing) == "compared: 0\nonly in a: 3\nonly in b: 0\nin neither: 0\n"


@pytest.mark.parametrize("suffix", ["npy", "parquet", "csv"])
def test_an_export_replaces_an_export_and_nothing_else(cache: Path, tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"v.{suffix}"
    for type in ("float16", "float32"):
        assert f"{out}: 3 vectors of width 3, {type}" in said("export", cache, "--out", out, "--type", type)
    if suffix == "npy":
        np.save(out, np.zeros((3, 3), np.float32))
    else:
        out.write_text("item_id,v0\n")
    before = out.read_bytes()
    done = run("export", cache, "--out", out)
    assert isinstance(done.exception, RunError)
    assert "found a file that tcf did not write; remove it or choose another path" in str(done.exception)
    assert out.read_bytes() == before
