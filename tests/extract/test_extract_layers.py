"""Several layers in one pass, and the states of every token, against transformers' own."""

import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
import torch
from safetensors.torch import load_file

from small.data.caches import content
from small.encoders.models import save_dataset, save_opt, token_ids, vectors_one_by_one
from small.extract.extractions import TEXTS, extracted, own_states, pooled, token_rows, vectors
from tcf.common.errors import ConfigError
from tcf.data import Dataset, VectorCache, open_dataset
from tcf.data.cache.caches import TokenStates
from tcf.encoders.encoder import TransformersEncoder
from tcf.encoders.prefix_sharing.tree_attention import TreeAttention

NAMES = ["opt", "opt-post-norm", "llama", "bert"]
LAYERS = (0, 1, 2, 3, -1)
Family = Callable[[str], Path]
States = dict[int, npt.NDArray[np.float64]]


@pytest.fixture(scope="session")
def own(family: Family) -> Callable[[str], list[States]]:
    """Transformers' own states of every text."""
    return cache(lambda name: own_states(name, family(name)))


@pytest.mark.parametrize("name", NAMES)
def test_a_cache_for_each_of_several_layers(
    tmp_path: Path, dataset: Dataset, family: Family, own: Callable[[str], list[States]], name: str
) -> None:
    done = extracted(dataset, family(name), tmp_path / "c", layers=LAYERS, shard_rows=16)
    assert done.caches == tuple(tmp_path / "c" / f"layer{layer}" for layer in LAYERS)
    assert sorted(path.name for path in (tmp_path / "c").iterdir()) == sorted(path.name for path in done.caches)
    pooling: Literal["first", "mean"] = "first" if name == "bert" else "mean"
    found = {layer: vectors(tmp_path / "c" / f"layer{layer}", dataset) for layer in LAYERS}
    for layer in LAYERS:
        expected = np.stack([pooled(states[layer], pooling) for states in own(name)])
        np.testing.assert_allclose(found[layer], expected, rtol=0, atol=1e-5, err_msg=str(layer))
        described = VectorCache.open(tmp_path / "c" / f"layer{layer}").describe()["encoder"]
        assert (described["layer"], described["pooling"]) == (layer, pooling)
    # The layers differ by far more than the tolerance; the last two where there is a norm between them.
    assert min(np.abs(found[a] - found[b]).max() for a, b in [(0, 1), (1, 2), (2, 3)]) > 0.1
    assert (np.abs(found[3] - found[-1]).max() > 0.1) == (name in ("opt", "llama"))


def test_all_layers_come_of_one_pass(
    tmp_path: Path, dataset: Dataset, opt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: dict[bool, list[torch.Size]] = {False: [], True: []}
    forward = TransformersEncoder.states

    def states(self: TransformersEncoder, tokens_BT: torch.Tensor, tree: TreeAttention | None = None) -> Any:
        read[tree is not None].append(tokens_BT.shape)
        return forward(self, tokens_BT, tree)

    monkeypatch.setattr(TransformersEncoder, "states", states)
    settings: dict[str, Any] = {"layers": (0, 1, -1), "token_states": 1}
    done = extracted(dataset, opt, tmp_path / "c", share_prefixes=False, **settings)
    # Beside the texts, two texts are read twice to see whether packed weights give the same.
    assert sum(n for n, _ in read[False]) == done.sequences + 4
    assert not read[True]
    extracted(dataset, opt, tmp_path / "shared", **settings)
    sequences = [tuple(token_ids(opt, text, 30)) for text in TEXTS]
    prefixes = {sequence[: end + 1] for sequence in sequences for end in range(len(sequence))}
    # The first tree is that of the comparison.
    assert len(prefixes) < sum(map(len, set(sequences)))
    assert read[True][1:] == [(1, len(prefixes))]


def test_one_layer_alone_is_in_the_folder_itself(tmp_path: Path, dataset: Dataset, opt: Path) -> None:
    done = extracted(dataset, opt, tmp_path / "c", layers=(1,))
    assert done.caches == (tmp_path / "c",)
    extracted(dataset, opt, tmp_path / "several", layers=(-1, 1))
    one, of_several = vectors(tmp_path / "c", dataset), vectors(tmp_path / "several" / "layer1", dataset)
    np.testing.assert_allclose(one, of_several, rtol=0, atol=1e-6)
    fingerprints = [VectorCache.open(path).manifest.fingerprint for path in (*done.caches, tmp_path / "several/layer1")]
    assert fingerprints[0] == fingerprints[1]


def test_a_layer_joins_those_that_are_there(tmp_path: Path, dataset: Dataset, opt: Path) -> None:
    extracted(dataset, opt, tmp_path / "c", layers=(0, -1))
    before = content(tmp_path / "c")
    done = extracted(dataset, opt, tmp_path / "c", layers=(0, 1, -1))
    assert done.computed == done.sequences
    after = content(tmp_path / "c")
    assert {file: after[file] for file in before} == before
    assert {Path(file).parts[0] for file in set(after) - set(before)} == {"layer1"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layers": (0, 3)}, r"--layers: expected -1 or 0 to 2, the blocks of .*, found 3"),
        ({"layers": (-2,)}, r"--layers: expected -1 or 0 to 2, .* found -2"),
        ({"token_states": 3}, r"--token-states: expected -1 or 0 to 2, .* found 3"),
        ({"layers": (1, 1)}, r"--layers: expected each layer once, found 1,1"),
    ],
)
def test_layers_that_cannot_be_had(
    tmp_path: Path, dataset: Dataset, opt: Path, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        extracted(dataset, opt, tmp_path / "c", **settings)
    assert not (tmp_path / "c").exists()


def test_after_the_projection_on_request(tmp_path: Path, dataset: Dataset) -> None:
    """As of OPT-350M: the states are 32 wide, and 16 after the projection; only the last layer lies after it."""
    model = save_opt(tmp_path / "m", norm="post", head=True)
    extracted(dataset, model, tmp_path / "c", layers=(2, -1), project_out=True)
    before = vectors_one_by_one(model, TEXTS, pooling="mean")
    np.testing.assert_allclose(vectors(tmp_path / "c" / "layer2", dataset), before, rtol=0, atol=1e-5)
    (projection,) = (
        weight.double().numpy()
        for name, weight in load_file(model / "model.safetensors").items()
        if name.endswith("project_out.weight")
    )
    np.testing.assert_allclose(vectors(tmp_path / "c" / "layer-1", dataset), before @ projection.T, rtol=0, atol=1e-5)


# How far a number may be off, relative to it: half the distance of neighbours in the storage type.
ROUNDING = {"float32": 0.0, "float16": 2**-11, "bfloat16": 2**-8}


@pytest.mark.parametrize(
    ("name", "storage"), [*((name, "float32") for name in NAMES), ("opt", "float16"), ("opt", "bfloat16")]
)
def test_token_states_are_those_of_transformers_token_by_token(
    tmp_path: Path, dataset: Dataset, family: Family, own: Callable[[str], list[States]], name: str, storage: str
) -> None:
    done = extracted(
        dataset, family(name), tmp_path / "c", token_states=2, token_storage=storage, shard_rows=9, tokens_per_batch=40
    )
    assert done.caches == (tmp_path / "c",)
    found = token_rows(tmp_path / "c", dataset)
    errors = []
    for states, expected in zip(found, own(name), strict=True):
        assert states.shape == expected[2].shape
        assert (np.abs(states - expected[2]) <= ROUNDING[storage] * np.abs(expected[2]) + 1e-5).all()
        errors.append(np.abs(states - expected[2]).max())
    assert storage == "float32" or max(errors) > ROUNDING[storage] / 4
    assert TokenStates.open(tmp_path / "c").describe()["encoder"]["layer"] == 2


def test_pooling_is_nothing_to_token_states(tmp_path: Path, dataset: Dataset, opt: Path) -> None:
    extracted(dataset, opt, tmp_path / "c", token_states=1, pooling="first")
    assert extracted(dataset, opt, tmp_path / "c", token_states=1, pooling="mean").computed == 0
    assert "pooling" not in TokenStates.open(tmp_path / "c").describe()["encoder"]


def test_token_states_beside_vectors(tmp_path: Path, dataset: Dataset, opt: Path) -> None:
    done = extracted(
        dataset, opt, tmp_path / "c", layers=(1, -1), token_states=1, token_storage="float32", shard_rows=9
    )
    places = [tmp_path / "c" / name for name in ("layer1", "layer-1", "tokens1")]
    assert done.caches == tuple(places)
    means = np.stack([states.mean(axis=0) for states in token_rows(places[2], dataset)])
    np.testing.assert_allclose(vectors(places[0], dataset), means, rtol=0, atol=1e-5)
    assert np.abs(vectors(places[1], dataset) - means).max() > 0.1


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory, opt: Path) -> Path:
    """A dataset `d` and below `c` two caches of vectors and one of token states, of six shards each."""
    folder = tmp_path_factory.mktemp("three")
    extracted(save_dataset(folder / "d", TEXTS), opt, folder / "c", layers=(1, -1), token_states=1, shard_rows=7)
    return folder


@pytest.fixture
def copied(three: Path, tmp_path: Path) -> Path:
    shutil.copytree(three / "c", tmp_path / "c")
    return tmp_path / "c"


def shards(cache: Path) -> list[Path]:
    """In the order in which their texts stand in the dataset."""
    first = {shard: np.load(shard / "keys.npy")[0].tolist() for shard in (cache / "shards").iterdir()}
    (texts,) = (cache / "datasets").rglob("texts.npy")
    sequences = np.load(texts)[:, 2:].tolist()
    return sorted(first, key=lambda shard: sequences.index(first[shard]))


@pytest.mark.parametrize("name", ["layer1", "layer-1", "tokens1"])
def test_a_shard_that_one_cache_lacks_is_all_that_is_written(three: Path, copied: Path, opt: Path, name: str) -> None:
    shutil.rmtree(shards(copied / name)[2])
    stamps = {file: file.stat().st_mtime_ns for file in copied.rglob("*.npy")}
    done = extracted(open_dataset(three / "d"), opt, copied, layers=(1, -1), token_states=1, shard_rows=7)
    assert done.computed == 7
    assert content(copied) == content(three / "c")
    assert {file: file.stat().st_mtime_ns for file in stamps} == stamps


def test_every_cache_gets_the_rows_that_it_lacks_and_no_others(three: Path, copied: Path, opt: Path) -> None:
    """Shards of 14 are cut of what some cache lacks, of which one cache has the one half and another the other."""
    dataset = open_dataset(three / "d")
    shutil.rmtree(shards(copied / "layer1")[1])
    shutil.rmtree(shards(copied / "tokens1")[3])
    done = extracted(dataset, opt, copied, layers=(1, -1), token_states=1, shard_rows=14)
    assert done.computed == 14
    for name in ("layer1", "layer-1"):
        assert VectorCache.open(copied / name).n_rows == done.sequences
        np.testing.assert_allclose(vectors(copied / name, dataset), vectors(three / "c" / name, dataset), atol=1e-5)
    assert TokenStates.open(copied / "tokens1").n_rows == done.sequences
    pairs = zip(token_rows(copied / "tokens1", dataset), token_rows(three / "c" / "tokens1", dataset), strict=True)
    for found, expected in pairs:
        np.testing.assert_allclose(found, expected, rtol=2**-9, atol=1e-5)
