"""Numbers that cannot be stored: which item, text and layer the message names, and what stays of the work."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import AutoModel

from small.data.caches import content
from small.encoders.models import edit_weights, save_dataset, save_opt, token_ids
from small.extract.extractions import extracted, vectors
from tcf.common.errors import ModelError
from tcf.data import Dataset, VectorCache
from tcf.data.cache.caches import TokenStates
from tcf.data.item_table import ItemTable
from tcf.encoders.folder.model_folder import ModelFolder
from tcf.encoders.folder.open_model_folder import open_model_folder
from tcf.encoders.pooling import VectorHead
from tcf.encoders.prefix_sharing.tree_attention import TreeAttention
from tcf.encoders.tokenize import TokenSequences
from tcf.extract.non_finite import fault
from tcf.extract.outputs import Output
from tcf.extract.shards import Shard

# One text is of a letter that no other has.
TEXTS = ["mario", "mario", "zelda", "mario 2", "日", "日", "star", "final 64"]
CPU = torch.device("cpu")


def with_letter(model: Path, value: float) -> Path:
    """Give the tokens of that letter an embedding of this value."""
    weights = AutoModel.from_pretrained(str(model), local_files_only=True).decoder.embed_tokens.weight.detach().clone()
    weights[token_ids(model, "日", 30)[1:]] = value
    edit_weights(model, {"decoder.embed_tokens.weight": weights})
    return model


@pytest.fixture
def some(tmp_path: Path) -> Dataset:
    return save_dataset(tmp_path / "some", TEXTS)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save_opt(tmp_path / "m")


def first_of(model: Path) -> str:
    """The item whose tokens come first in lexicographic order, so that it is the first of its shard, as a pattern."""
    text = min(TEXTS, key=lambda text: token_ids(model, text, 30))
    assert TEXTS.index(text) > 0
    return rf"some: item i{TEXTS.index(text)} \('{text}'\): "


ITEM = r"some: item i4 \('日'\): "


@pytest.mark.parametrize(
    ("settings", "largest", "remedy"),
    [
        # The mean of `</s>` and two tokens of that value.
        ({"layers": (-1, 0), "storage": "float16"}, "6.67", "--storage float32"),
        ({"layers": (-1,), "token_states": 0, "storage": "float16"}, "1", "--token-storage bfloat16"),
    ],
)
def test_what_does_not_fit_names_item_text_layer_and_the_way_out(
    tmp_path: Path, some: Dataset, model: Path, settings: dict[str, Any], largest: str, remedy: str
) -> None:
    with_letter(model, 1e6)
    said = rf"layer 0 gives {largest}e\+0[56], too large for float16 \(at most 6\.55e\+04\); pass {remedy} and a new"
    with pytest.raises(ModelError, match=ITEM + said):
        extracted(some, model, tmp_path / "c", **settings)
    assert not list((tmp_path / "c").iterdir())
    wider = {**settings, "storage": "float32", "token_storage": "bfloat16"}
    extracted(some, model, tmp_path / "wider", **wider)


def test_float32_holds_what_float16_does_not(tmp_path: Path, some: Dataset, model: Path) -> None:
    edit_weights(model, {"decoder.final_layer_norm.weight": torch.full((32,), 1e6)})
    with pytest.raises(ModelError, match=first_of(model) + "layer -1 gives .* pass --storage float32"):
        extracted(some, model, tmp_path / "c", storage="float16")
    assert not (tmp_path / "c").exists()
    extracted(some, model, tmp_path / "c", storage="float32")
    assert np.abs(vectors(tmp_path / "c", some)).max() > 65_504


@pytest.mark.parametrize(("layers", "block"), [((-1,), 1), ((-1,), 2), ((1, 2), 2)])
def test_the_layer_named_is_the_first_that_goes_wrong(
    tmp_path: Path, some: Dataset, model: Path, layers: tuple[int, ...], block: int
) -> None:
    edit_weights(model, {f"decoder.layers.{block - 1}.fc1.bias": torch.full((64,), torch.nan)})
    said = f"the states of layer {block} are not finite; pass --dtype float32 or bfloat16 and a"
    with pytest.raises(ModelError, match=first_of(model) + said):
        extracted(some, model, tmp_path / "c", layers=layers)
    assert not list(tmp_path.glob("c/*"))


def test_what_overflows_on_the_way_in_float16_fits_in_bfloat16(tmp_path: Path, some: Dataset, model: Path) -> None:
    edit_weights(model, {"decoder.layers.0.fc2.weight": torch.full((32, 64), 60_000.0)})
    said = "the states of layer 1 are not finite; pass --dtype .*bfloat16"
    with pytest.raises(ModelError, match=first_of(model) + said):
        extracted(some, model, tmp_path / "c", dtype="float16")
    extracted(some, model, tmp_path / "c", dtype="bfloat16")


def test_shards_that_were_complete_stay_and_serve(tmp_path: Path, some: Dataset, model: Path) -> None:
    with_letter(model, torch.nan)
    with pytest.raises(ModelError, match=f"{ITEM}the states of layer 0 are not finite"):
        extracted(some, model, tmp_path / "c", shard_rows=3, layers=(-1,), token_states=1)
    kept = VectorCache.open(tmp_path / "c" / "layer-1"), TokenStates.open(tmp_path / "c" / "tokens1")
    assert [cache.n_rows for cache in kept] == [3, 3]
    assert [cache.datasets for cache in kept] == [[], []]
    before = content(tmp_path / "c")
    assert not [name for name in before if ".partial-" in name]
    without = save_dataset(tmp_path / "without", [text for text in TEXTS if text != "日"])
    done = extracted(without, model, tmp_path / "c", shard_rows=3, layers=(-1,), token_states=1)
    assert (done.sequences, done.computed) == (5, 2)
    after = content(tmp_path / "c")
    assert {name: after[name] for name in before if not name.endswith(".claim")} == {
        name: before[name] for name in before if not name.endswith(".claim")
    }


@dataclass(frozen=True)
class Readings:
    """An encoder whose states are a function of the number of texts that it reads at once."""

    folder: ModelFolder
    device: torch.device
    layers: tuple[int, ...]
    alone: float
    together: float

    def states(self, tokens_BT: Tensor, tree: TreeAttention | None = None) -> tuple[Tensor, ...]:
        value = self.alone if len(tokens_BT) == 1 else self.together
        return tuple(torch.full((*tokens_BT.shape, 2), value) for _ in self.layers)


def made(folder: Path, lengths: Sequence[int]) -> tuple[ItemTable, Shard]:
    """The items 5, 6, ... of a dataset as a shard."""
    texts = [f"text {number}" for number in range(5 + len(lengths))]
    save_dataset(folder / "d", texts)
    rows = np.arange(len(lengths))
    keys = np.stack([rows, rows], axis=1).astype(np.uint64)
    offsets = np.cumsum([0, *lengths])
    sequences = TokenSequences(np.zeros(offsets[-1], np.int32), offsets, 0)
    return ItemTable.open(folder / "d"), Shard(keys, sequences, rows + 5, 0)


def output(storage: torch.dtype, layer: int = -1, pooling: Any = "mean") -> Output:
    return Output(Path("nowhere"), layer, 2, pooling and VectorHead([pooling]), storage, {})


def test_the_first_suspect_that_is_at_fault_alone_is_named(tmp_path: Path, opt: Path) -> None:
    items, shard = made(tmp_path, [0, 2, 1])
    encoder = Readings(open_model_folder(opt), CPU, (-1,), alone=torch.inf, together=0.0)
    said = str(fault(encoder, items, shard, [output(torch.float32)], np.array([1, 2])))
    assert said.startswith(f"{tmp_path / 'd'}: item i6 ('text 6'): the states of layer -1 are not finite; pass --dtype")


def test_only_the_cache_whose_type_is_too_narrow_is_named(tmp_path: Path, opt: Path) -> None:
    items, shard = made(tmp_path, [2])
    encoder = Readings(open_model_folder(opt), CPU, (1, -1), alone=-7e4, together=0.0)
    outputs = [output(torch.float32, 1), output(torch.bfloat16, 1, None), output(torch.float16, -1, None)]
    said = str(fault(encoder, items, shard, outputs, np.array([0])))
    assert said.endswith(
        "layer -1 gives 7e+04, too large for float16 (at most 6.55e+04); pass --token-storage bfloat16 and a new --out"
    )


def test_a_fault_that_no_text_alone_shows(tmp_path: Path, opt: Path) -> None:
    items, shard = made(tmp_path, [2, 2])
    encoder = Readings(open_model_folder(opt), CPU, (-1,), alone=1.0, together=torch.nan)
    said = str(fault(encoder, items, shard, [output(torch.float32)], np.array([0, 1])))
    assert said.startswith(f"{tmp_path / 'd'}: a micro-batch gives a number that is not finite, but none")
    assert "--tokens-per-batch" in said


def test_a_long_text_is_not_quoted_whole(tmp_path: Path, model: Path) -> None:
    edit_weights(model, {"decoder.final_layer_norm.bias": torch.full((32,), torch.nan)})
    with pytest.raises(ModelError, match=rf"item i0 \('{'x' * 60}'\): the states of layer -1"):
        extracted(save_dataset(tmp_path / "d", ["x" * 500]), model, tmp_path / "c")
