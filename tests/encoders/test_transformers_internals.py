"""What `tcf.encoders.transformers_internals` leans on is there in transformers and behaves as tcf uses it."""

import threading
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn
from transformers import (
    AttentionInterface,
    AttentionMaskInterface,
    BertConfig,
    BertModel,
    GPT2Config,
    GPT2Model,
    GPTNeoXConfig,
    GPTNeoXModel,
    LlamaConfig,
    LlamaModel,
    OPTConfig,
    OPTModel,
    PreTrainedModel,
    RobertaConfig,
    RobertaModel,
    T5Config,
    T5EncoderModel,
)

from tcf.common.torch_internals import storage_id
from tcf.encoders import transformers_internals as internals
from tcf.encoders.transformers_internals import LOADER_LOCK, Placeholder

TRANSFORMERS = f"transformers {transformers.__version__}"
HERE = "tcf/encoders/transformers_internals.py"
_SIZES: dict[str, Any] = {"vocab_size": 16, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
_OPT = OPTConfig(**_SIZES, ffn_dim=8, word_embed_proj_dim=4, max_position_embeddings=8)
_T5 = T5Config(vocab_size=16, d_model=8, d_kv=4, d_ff=8, num_heads=2, num_layers=1)
_LLAMA = LlamaConfig(**_SIZES, intermediate_size=8, num_key_value_heads=2, max_position_embeddings=8)


def models() -> dict[str, tuple[Any, str, str, tuple[str, str] | None]]:
    """By name: a model without a head, where its blocks are, their class, and the pair that is fused in one."""
    more: dict[str, Any] = {**_SIZES, "intermediate_size": 8, "max_position_embeddings": 8}
    gpt2 = GPT2Config(vocab_size=16, n_embd=8, n_layer=1, n_head=2, n_positions=8)
    return {
        "opt": (OPTModel(_OPT), "decoder.layers", "OPTDecoderLayer", ("fc1", "activation_fn")),
        "gpt2": (GPT2Model(gpt2), "h", "GPT2Block", ("c_fc", "act")),
        "gpt_neox": (GPTNeoXModel(GPTNeoXConfig(**more)), "layers", "GPTNeoXLayer", ("dense_h_to_4h", "act")),
        "bert": (BertModel(BertConfig(**more)), "encoder.layer", "BertLayer", ("dense", "intermediate_act_fn")),
        "roberta": (
            RobertaModel(RobertaConfig(**more)),
            "encoder.layer",
            "RobertaLayer",
            ("dense", "intermediate_act_fn"),
        ),
        "llama": (LlamaModel(_LLAMA), "layers", "LlamaDecoderLayer", None),
        "t5": (T5EncoderModel(_T5), "encoder.block", "T5Block", ("wi", "act")),
    }


def test_models_name_the_classes_of_their_blocks() -> None:
    for name, (model, _, block, _) in models().items():
        if name == "bert":
            continue  # it names none, and its blocks are found as the only list of their length
        assert block in internals.block_class_names(model), (
            f"{TRANSFORMERS}: {type(model).__name__}._no_split_modules no longer names {block}; {HERE} uses it to find "
            "a model's blocks"
        )
    assert internals.block_class_names(nn.Linear(1, 1)) == frozenset()


def test_what_stays_in_float32() -> None:
    kept = "encoder.block.0.layer.1.DenseReluDense.wo.weight"
    t5, opt = T5EncoderModel(_T5), OPTModel(_OPT)
    for model in (t5, opt):
        nn.Module.to(model, torch.float16)
    internals.cast_as_loaded(t5, torch.float16)
    types = {name: parameter.dtype for name, parameter in t5.named_parameters()}
    assert types[kept] == torch.float32, (
        f"{TRANSFORMERS}: PreTrainedModel._get_dtype_plan no longer tells that {kept} of T5 stays in float32; {HERE} "
        "gives parameters the types that from_pretrained gives them by it"
    )
    assert sum(dtype == torch.float32 for dtype in types.values()) == 1
    internals.cast_as_loaded(opt, torch.float16)
    assert {parameter.dtype for parameter in opt.parameters()} == {torch.float16}


class _Computes(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rates = [rate.item() for rate in torch.linspace(0, 1, 3)]
        self.weight = nn.Parameter(torch.empty(2))


def test_models_are_made_on_the_meta_device() -> None:
    with internals.on_meta_device():
        made = _Computes()
    assert made.weight.is_meta
    assert made.rates == [0, 0.5, 1], (
        f"{TRANSFORMERS}: transformers.initialization.meta_device_safe_creation_ops no longer keeps torch.linspace on "
        f"the CPU; {HERE} makes models of a folder's own code within it"
    )


def test_only_what_is_marked_is_initialised() -> None:
    with internals.on_meta_device():
        model = LlamaModel(_LLAMA)
    rotary: Any = model.rotary_emb
    expected = LlamaModel(_LLAMA).rotary_emb.inv_freq
    what = (
        f"{TRANSFORMERS}: PreTrainedModel.initialize_weights with _is_hf_initialized = False no longer builds buffers; "
        f"{HERE} uses them to give rotary frequencies their numbers"
    )
    for module in model.modules():
        if module is not rotary:
            module._is_hf_initialized = True  # type: ignore[assignment]
    rotary.inv_freq = torch.zeros_like(rotary.inv_freq, device="cpu")
    rotary._is_hf_initialized = True
    internals.initialise_marked(model)
    assert not rotary.inv_freq.any(), what
    internals.mark_for_initialisation(rotary)
    internals.initialise_marked(model)
    assert torch.equal(rotary.inv_freq, expected), what
    assert all(parameter.is_meta for parameter in model.parameters()), what


def test_placeholders_pass_through_the_loader() -> None:
    weights = OPTModel(_OPT).state_dict()
    lost, wrong = "decoder.final_layer_norm.bias", "decoder.project_in.weight"
    placeholders = {
        name: Placeholder((3, 3) if name == wrong else tuple(weight.shape), weight.dtype)
        for name, weight in weights.items()
        if name != lost
    }
    placeholders["decoder.stranger.weight"] = Placeholder((2,), torch.float32)
    model, report = internals.load_placeholders(OPTModel, _OPT, placeholders, torch.bfloat16, renamed={})
    what = (
        f"{TRANSFORMERS}: from_pretrained no longer loads placeholders that have [...] and .to(device=, dtype=) alone; "
        f"{HERE} learns from them which weight of a model a tensor of the checkpoint becomes"
    )
    for name, parameter in model.named_parameters():
        assert parameter.is_meta and parameter.dtype == torch.bfloat16, what
        made = [storage_id(tensor) for tensor in placeholders[name].made] if name in placeholders else []
        assert (storage_id(parameter) in made) == (name not in (lost, wrong)), f"{what} ({name})"
    told = f"{TRANSFORMERS}: from_pretrained's output_loading_info has another form; {HERE} reads it"
    assert set(report) >= {"missing_keys", "unexpected_keys", "mismatched_keys"}, told
    found = internals.LoadingReport((lost,), ("decoder.stranger.weight",), ((wrong, (3, 3), (8, 4)),))
    assert tuple(weights[wrong].shape) == (8, 4)
    assert internals.read_loading_report(report) == found, told


def test_the_loader_is_one_for_the_whole_process() -> None:
    """Should it no longer exchange functions while it runs, the lock may go."""
    seen: list[bool] = []
    tie = PreTrainedModel.tie_weights

    class Watching(OPTModel):  # type: ignore[no-untyped-call]
        def __init__(self, config: OPTConfig) -> None:
            super().__init__(config)
            seen.append(PreTrainedModel.tie_weights is not tie)

    internals.load_placeholders(Watching, _OPT, {}, torch.float32, renamed={})
    assert seen == [True], (
        f"{TRANSFORMERS}: from_pretrained no longer exchanges PreTrainedModel.tie_weights while it makes a model; is "
        f"LOADER_LOCK of {HERE} still needed?"
    )
    assert PreTrainedModel.tie_weights is tie
    assert isinstance(LOADER_LOCK, type(threading.RLock()))


def test_the_linear_layer_of_gpt2() -> None:
    model: Any = models()["gpt2"][0]
    weight = internals.weight_of_linear(model.h[0].mlp.c_fc)
    assert weight is not None and weight.shape == (32, 8), (
        f"{TRANSFORMERS}: GPT-2's linear layers are no longer transformers.pytorch_utils.Conv1D with weights of inputs "
        f"by outputs; {HERE} turns them over"
    )
    assert torch.equal(weight.t(), model.h[0].mlp.c_fc.weight)
    linear, quantised = nn.Linear(2, 3), type("Own", (nn.Linear,), {})(2, 3)
    found = internals.weight_of_linear(linear)
    assert found is not None and torch.equal(found, linear.weight)
    assert internals.weight_of_linear(quantised) is None and internals.weight_of_linear(nn.LayerNorm(2)) is None


def test_blocks_have_the_parts_that_are_fused() -> None:
    for name, (model, place, block, pair) in models().items():
        blocks = model.get_submodule(place)
        assert type(blocks[0]).__name__ == block
        found = {internals.fusible_pair(module): module for module in blocks[0].modules()}
        assert found.keys() - {None} == ({pair} if pair else set()), (
            f"{TRANSFORMERS}: no class in a block of {name} has the name by which {HERE} fuses {pair}"
        )
        if pair is None:
            continue
        linear, activation = (getattr(found[pair], part) for part in pair)
        assert internals.weight_of_linear(linear) is not None, f"{TRANSFORMERS}: {name} has no {pair[0]}; see {HERE}"
        assert internals.onednn_activation(activation) is not None, (
            f"{TRANSFORMERS}: {name}'s activation is a {type(activation).__name__}; {HERE} knows it by another name"
        )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("relu", ("relu", "")),
        ("gelu", ("gelu", "none")),
        ("gelu_new", ("gelu", "tanh")),
        ("gelu_pytorch_tanh", ("gelu", "tanh")),
        ("gelu_fast", ("gelu", "tanh")),
        ("silu", None),
    ],
)
def test_activations_by_the_name_of_their_class(name: str, expected: tuple[str, str] | None) -> None:
    from transformers.activations import ACT2FN

    activation = ACT2FN[name]
    assert internals.onednn_activation(activation) == expected, (
        f"{TRANSFORMERS}: {name} is a {type(activation).__name__}; {HERE} knows it by another name"
    )


def test_parts_that_are_left_out_have_their_names() -> None:
    """`tcf.encoders.blocks` drops them, since nothing of them is used."""
    opt: Any = OPTModel(_OPT)
    bert = models()["bert"][0]
    assert isinstance(opt.decoder.project_out, nn.Linear), f"{TRANSFORMERS}: OPTModel has no decoder.project_out"
    assert isinstance(bert.pooler, nn.Module), f"{TRANSFORMERS}: BertModel has no pooler"
    tokens_BT = torch.tensor([[2, 5, 7]])
    opt.decoder.project_out, bert.pooler = None, None
    states: Tensor = opt(input_ids=tokens_BT).last_hidden_state
    assert states.shape == (1, 3, 8), f"{TRANSFORMERS}: OPTModel does not run without decoder.project_out"
    assert bert(input_ids=tokens_BT).last_hidden_state.shape == (1, 3, 8), f"{TRANSFORMERS}: BertModel needs its pooler"


def test_models_say_what_they_read() -> None:
    """`tcf.encoders.folder.model_config` refuses models of images, sounds and several kinds of input by this."""
    from transformers import CLIPModel, WhisperModel

    what = f"{TRANSFORMERS}: models no longer say in input_modalities and main_input_name what they read"
    assert internals.input_kinds(OPTModel) == (("text",), "input_ids"), what
    assert internals.input_kinds(WhisperModel)[0] == ("audio", "text"), what
    assert set(internals.input_kinds(CLIPModel)[0]) == {"image", "text"}, what


def test_a_models_attention_has_a_name_and_its_mask_a_function() -> None:
    """Which a model passes to its mask, and whose mask and attention are those that it computes with by itself."""
    torch.manual_seed(0)
    model = LlamaModel(LlamaConfig(**_LLAMA.to_dict())).train(False)
    assert internals.attention_name(model) == "sdpa"
    tokens = torch.tensor([[5, 6, 7, 8]])
    mask = torch.tensor([[0, 1, 1, 1]])
    with torch.inference_mode():
        expected = model(input_ids=tokens, attention_mask=mask).last_hidden_state
    causal: list[bool] = []

    def own_mask(*, mask_function: Any, **arguments: Any) -> Any:
        causal.append(internals.is_causal(mask_function))
        return internals.sdpa_mask(mask_function, **arguments)

    def own_attention(module: Any, query: Any, key: Any, value: Any, mask: Any, scaling: Any, **named: Any) -> Any:
        return internals.sdpa_attention(module, query, key, value, mask, scaling, **named), None

    AttentionInterface.register("tcf_test", own_attention)
    AttentionMaskInterface.register("tcf_test", own_mask)
    model.set_attn_implementation("tcf_test")
    assert internals.attention_name(model) == "tcf_test"
    with torch.inference_mode():
        found = model(input_ids=tokens, attention_mask=mask).last_hidden_state
        model(input_ids=tokens, attention_mask=torch.ones_like(tokens))
    assert torch.equal(found[:, 1:], expected[:, 1:])
    assert causal and causal[-1]
    assert not internals.is_causal(lambda *places: True)
