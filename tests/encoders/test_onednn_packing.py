"""Packed weights give what the weights as loaded give, for every family."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers.activations import ACT2FN
from transformers.models.bert.configuration_bert import BertConfig
from transformers.models.bert.modeling_bert import BertIntermediate
from transformers.pytorch_utils import Conv1D

from small.encoders.families import FAMILIES
from tcf.common.torch_internals import has_onednn_type
from tcf.encoders.encoder import TransformersEncoder, load_encoder
from tcf.encoders.folder.open_model_folder import open_model_folder
from tcf.encoders.onednn_packing import pack, restore

CPU = torch.device("cpu")
TOKENS_BT = torch.tensor([[2, 7, 9, 30, 31], [2, 100, 9, 3, 7]])
HAS_MKLDNN = torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled  # type: ignore[no-untyped-call]
HAS_BFLOAT16 = HAS_MKLDNN and has_onednn_type(torch.bfloat16)
pytestmark = pytest.mark.skipif(not HAS_MKLDNN, reason="this build of torch has no oneDNN")
needs_bfloat16 = pytest.mark.skipif(not HAS_BFLOAT16, reason="oneDNN has no bfloat16 on this CPU")
Folders = Callable[[str], Path]

# Families whose activation is fused into the layer before it.
FUSED = ("opt", "opt-post-norm", "gpt2", "gpt_neox", "bert", "roberta", "t5")


def loaded(folder: Path, dtype: torch.dtype = torch.float32) -> TransformersEncoder:
    encoder = load_encoder(open_model_folder(folder), dtype, CPU)
    assert isinstance(encoder, TransformersEncoder)
    return encoder


def last(encoder: TransformersEncoder) -> Tensor:
    with torch.inference_mode():
        return encoder.states(TOKENS_BT)[0].clone()


def parts(model: nn.Module) -> list[nn.Module]:
    return list(model.modules())


def linears(model: nn.Module) -> list[nn.Module]:
    return [part for part in parts(model) if isinstance(part, nn.Linear | Conv1D)]


@pytest.mark.parametrize("name", FAMILIES)
def test_every_layer_is_packed_gives_the_same_and_comes_back(family_folder: Folders, name: str) -> None:
    encoder = loaded(family_folder(name))
    before, whole = last(encoder), parts(encoder.model)
    n_linears = len(linears(encoder.model))
    replaced = pack(encoder.model, keep=True)
    assert linears(encoder.model) == []
    fused = [part for part in parts(encoder.model) if isinstance(part, nn.Identity) and part not in whole]
    assert len(fused) == (3 if name in FUSED else 0)
    assert len(replaced) == n_linears + len(fused)
    packed = last(encoder)
    torch.testing.assert_close(packed, before, rtol=2e-5, atol=2e-5)
    restore(replaced)
    assert parts(encoder.model) == whole
    assert last(encoder).equal(before)


@needs_bfloat16
@pytest.mark.parametrize("name", FAMILIES)
def test_in_bfloat16_it_is_no_further_off(family_folder: Folders, name: str) -> None:
    """Both are off from the same weights computed in float32; packing may add as much as there is already."""
    encoder = loaded(family_folder(name), torch.bfloat16)
    rounded = last(encoder).float()
    exact_encoder = loaded(family_folder(name), torch.bfloat16)
    exact = last(_in_float32(exact_encoder))
    pack(encoder.model, keep=True)
    assert linears(encoder.model) == []
    packed = last(encoder)
    assert packed.dtype == torch.bfloat16
    rounding = (rounded - exact).abs().max().item()
    assert rounding < 0.1 * exact.abs().max().item()
    assert (packed.float() - exact).abs().max().item() <= 2 * rounding


def _in_float32(encoder: TransformersEncoder) -> TransformersEncoder:
    nn.Module.to(encoder.model, torch.float32)
    return encoder


@pytest.mark.parametrize("rows", [1, 3, 200])
@pytest.mark.parametrize("bias", [True, False])
def test_a_linear_layer_for_any_number_of_rows(rows: int, bias: bool) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 7, bias=bias)).requires_grad_(False)
    x = torch.randn(2, rows, 5)
    expected = model(x)
    assert len(pack(model, keep=True)) == 1
    assert model(x).shape == (2, rows, 7)
    torch.testing.assert_close(model(x), expected, rtol=0, atol=1e-5)


def test_the_transposed_layer_of_gpt2() -> None:
    torch.manual_seed(0)
    layer: Any = Conv1D(7, 5)  # type: ignore[no-untyped-call]
    model = nn.Sequential(layer).requires_grad_(False)
    layer.bias.uniform_()
    x = torch.randn(3, 5)
    expected = x @ layer.weight + layer.bias
    assert len(pack(model, keep=True)) == 1
    torch.testing.assert_close(model(x), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("activation", ACT2FN)
def test_an_activation_is_fused_where_it_is_known_and_right_in_any_case(activation: str) -> None:
    """Compared with transformers' own module, far from zero too, where approximations of GELU part from it."""
    torch.manual_seed(0)
    config = BertConfig(hidden_size=4, intermediate_size=6, hidden_act=activation)
    try:
        layer: Any = BertIntermediate(config)  # type: ignore[no-untyped-call]
    except (ImportError, TypeError) as error:
        pytest.skip(f"transformers cannot make {activation} here ({error})")
    model = nn.Sequential(layer).requires_grad_(False)
    layer.dense.weight.copy_(torch.randn(6, 4))
    x = torch.linspace(-4, 4, 400).reshape(100, 4)
    expected = model(x)
    replaced = pack(model, keep=True)
    fused = isinstance(layer.intermediate_act_fn, nn.Identity)
    assert fused == (len(replaced) == 2)
    assert fused or activation not in ("relu", "gelu", "gelu_new", "gelu_pytorch_tanh")
    torch.testing.assert_close(model(x), expected, rtol=1e-6, atol=2e-6)


class Layer(nn.Linear):
    """A layer of a class of its own, which may do something else."""


@pytest.mark.parametrize("dtype", [torch.float64, torch.int64])
def test_types_that_cannot_be_packed_stay(dtype: torch.dtype) -> None:
    model = nn.Sequential(nn.Linear(2, 2)).requires_grad_(False)
    model[0].weight = nn.Parameter(torch.ones(2, 2, dtype=dtype), requires_grad=False)
    assert pack(model, keep=True) == []
    assert type(model[0]) is nn.Linear


def test_layers_of_other_classes_stay_and_those_within_them_are_found() -> None:
    inner = nn.ModuleDict({"other": Layer(2, 2), "list": nn.ModuleList([nn.Linear(2, 2)]), "norm": nn.LayerNorm(2)})
    model = nn.Sequential(inner).requires_grad_(False)
    ((module, name, part),) = pack(model, keep=True)
    assert (module, name, type(part)) == (inner["list"], "0", nn.Linear)
    assert type(inner["other"]) is Layer


def test_a_packed_weight_tells_its_type_and_cannot_be_computed_with() -> None:
    model = nn.Sequential(nn.Linear(3, 2)).requires_grad_(False)
    pack(model, keep=True)
    weight: Any = model[0].weight
    assert (weight.dtype, tuple(weight.shape), isinstance(weight, Tensor)) == (torch.float32, (2, 3), True)
    for use in (
        lambda: nn.functional.linear(torch.ones(1, 3), weight),
        lambda: torch.ones(1, 3) @ weight.t(),
        lambda: torch.ones(2, 3) * weight,
        lambda: weight.float(),
    ):
        with pytest.raises(RuntimeError, match="this weight is packed"):
            use()


@pytest.mark.filterwarnings("ignore:TF32")
def test_nothing_is_packed_where_onednn_is_off() -> None:
    model = nn.Sequential(nn.Linear(2, 2)).requires_grad_(False)
    with torch.backends.mkldnn.flags(enabled=False):
        assert pack(model, keep=True) == []
    assert type(model[0]) is nn.Linear
    assert len(pack(model, keep=True)) == 1
