from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tcf.encoders.encoder import TransformersEncoder, load_encoder
from tcf.encoders.folder.model_folder import ModelFolder
from tcf.encoders.folder.open_model_folder import open_model_folder
from tcf.encoders.prefix_sharing.tree_attention import TreeAttention
from tcf.extract.non_finite import first_bad_layer

CPU = torch.device("cpu")
TOKENS_BT = torch.tensor([[2, 7, 9]])
Folders = Callable[[str], Path]


def loaded(path: Path, *layers: int) -> TransformersEncoder:
    encoder = load_encoder(open_model_folder(path), torch.float32, CPU, layers=layers)
    assert isinstance(encoder, TransformersEncoder)
    return encoder


@pytest.mark.parametrize("name", ["llama", "opt", "t5", "bert", "modernbert"])
@pytest.mark.parametrize("spoilt", [1, 2, 3])
def test_the_first_block_that_spoils_its_states(family: Folders, name: str, spoilt: int) -> None:
    encoder = loaded(family(name), -1)
    assert first_bad_layer(encoder, TOKENS_BT) is None
    assert encoder.blocks is not None
    for weight in encoder.blocks[spoilt - 1].parameters():
        weight.fill_(torch.nan)
    assert first_bad_layer(encoder, TOKENS_BT) == spoilt


def test_an_embedding_and_a_final_norm(family: Folders) -> None:
    encoder = loaded(family("llama"), -1, 1)
    encoder.model.get_submodule("norm").get_parameter("weight").fill_(torch.inf)
    assert first_bad_layer(encoder, TOKENS_BT) == -1
    encoder.model.get_input_embeddings().get_parameter("weight")[9].fill_(torch.inf)
    assert first_bad_layer(encoder, TOKENS_BT) == 0
    assert first_bad_layer(encoder, TOKENS_BT[:, :2]) == -1


def test_a_value_that_overflows_on_its_way(family: Folders) -> None:
    """In float16 a block whose weights are large gives infinity, which the type cannot hold."""
    folder = open_model_folder(family("llama"))
    encoder = load_encoder(folder, torch.float16, CPU)
    assert isinstance(encoder, TransformersEncoder) and encoder.blocks is not None
    encoder.blocks[1].get_submodule("mlp.down_proj").get_parameter("weight").fill_(60_000)
    assert first_bad_layer(encoder, TOKENS_BT) == 2


def test_no_more_is_looked_at_than_the_encoder_gives(family: Folders) -> None:
    encoder = loaded(family("llama"), 0)
    assert encoder.blocks is not None
    for weight in encoder.blocks[0].parameters():
        weight.fill_(torch.nan)
    assert first_bad_layer(encoder, TOKENS_BT) is None
    assert first_bad_layer(loaded(family("albert"), -1), TOKENS_BT) is None


@dataclass(frozen=True)
class Table:
    """An encoder that is no model of transformers."""

    folder: ModelFolder
    device: torch.device
    layers: tuple[int, ...]
    value: float

    def states(self, tokens_BT: Tensor, tree: TreeAttention | None = None) -> tuple[Tensor, ...]:
        return tuple(torch.full((*tokens_BT.shape, 2), self.value) for _ in self.layers)


def test_an_encoder_of_another_kind(family: Folders) -> None:
    folder = open_model_folder(family("llama"))
    assert first_bad_layer(Table(folder, CPU, (-1, 0), torch.nan), TOKENS_BT) == 0
    assert first_bad_layer(Table(folder, CPU, (-1,), torch.nan), TOKENS_BT) == -1
    assert first_bad_layer(Table(folder, CPU, (-1, 0), 1.0), TOKENS_BT) is None
