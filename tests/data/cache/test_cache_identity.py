import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from small.data.caches import IDENTITY, new_cache
from small.encoders.models import save_dataset
from tcf.common.errors import CacheError, RunError
from tcf.data import VectorCache
from tcf.data.cache.writer import check_cache, create_cache


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"weights": "c" * 64}, "weights: bbbbbbbbbbbb... found, cccccccccccc... requested"),
        ({"pooling": "first"}, "pooling: mean found, first requested"),
        ({"max_tokens": 20}, "max_tokens: 30 found, 20 requested"),
        ({"compute": "bfloat16"}, "compute: float32 found, bfloat16 requested"),
        ({"storage": "float32"}, "storage: float16 found, float32 requested"),
        ({"layer": "last"}, "layer: nothing found, last requested"),
    ],
)
def test_another_encoder_or_option_is_refused_by_name(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    cache = new_cache(tmp_path / "c")
    for call in (check_cache, lambda path, identity: create_cache(path, identity=identity, model="toy", width=3)):
        with pytest.raises(CacheError) as caught:
            call(cache, {**IDENTITY, **change})
        assert words in str(caught.value)
        assert str(caught.value).count("requested") == 1


def test_two_differences_are_both_named(tmp_path: Path) -> None:
    cache = new_cache(tmp_path / "c")
    with pytest.raises(CacheError, match="max_tokens: 30 found, 8 requested; pooling: mean found"):
        check_cache(cache, {**IDENTITY, "pooling": "last", "max_tokens": 8})


def test_the_models_name_is_no_part_of_its_identity(tmp_path: Path) -> None:
    cache = new_cache(tmp_path / "c")
    create_cache(cache, identity=IDENTITY, model="the same by another name", width=3)
    assert VectorCache.open(cache).describe()["encoder"]["model"] == "toy"


def test_a_foreign_directory_is_left_alone(tmp_path: Path) -> None:
    foreign = tmp_path / "home"
    foreign.mkdir()
    (foreign / "letter.txt").write_text("dear")
    with pytest.raises(CacheError, match="expected a cache or an empty folder, found other files"):
        new_cache(foreign)
    assert [file.name for file in foreign.iterdir()] == ["letter.txt"]
    with pytest.raises(CacheError, match=r"a directory without manifest\.json"):
        VectorCache.open(foreign)


def test_a_file_in_the_place_of_a_cache(tmp_path: Path) -> None:
    (tmp_path / "c").write_text("x")
    with pytest.raises(RunError, match="expected an unused path, found a file"):
        new_cache(tmp_path / "c")
    with pytest.raises(CacheError):
        VectorCache.open(tmp_path / "c")


def test_a_published_directory_of_another_format(tmp_path: Path) -> None:
    dataset = save_dataset(tmp_path / "d", ["a"])
    with pytest.raises(CacheError, match="found format tcf-dataset"):
        VectorCache.open(dataset.path)
    with pytest.raises(CacheError, match="found format tcf-dataset"):
        new_cache(dataset.path)


def test_an_empty_folder_becomes_a_cache(tmp_path: Path) -> None:
    (tmp_path / "c").mkdir()
    assert VectorCache.open(new_cache(tmp_path / "c")).n_rows == 0


def test_leftovers_of_dead_processes_are_removed(tmp_path: Path) -> None:
    cache = new_cache(tmp_path / "c")
    write = "import sys, os; from pathlib import Path; from tcf.common.files import publishing\n"
    kill = "with publishing(Path(sys.argv[1])) as staging: (staging / 'x').touch(); os._exit(9)"
    for place in (tmp_path / "c2", cache / "shards" / "s", cache / "datasets" / "d"):
        subprocess.run([sys.executable, "-c", write + kill, str(place)], check=False)
    new_cache(tmp_path / "c2")
    new_cache(cache)
    assert not list(tmp_path.rglob(".*.partial-*"))
