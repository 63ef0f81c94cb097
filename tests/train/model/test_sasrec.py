import math
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from tcf.train.batch.packed_layout import PackedLayout
from tcf.train.model.sasrec import SASRec

Floats = npt.NDArray[np.float64]
CPU = torch.device("cpu")
M, D, H = 5, 8, 2


def norm(x: Floats, weight: Floats, bias: Floats) -> Floats:
    centred = x - x.mean(-1, keepdims=True)
    scaled: Floats = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-6) * weight + bias
    return scaled


def reference(vectors_MD: Floats, real: int, p: dict[str, Floats], blocks: int) -> Floats:
    """SASRec of one left-padded history of M places, the last `real` of which hold items."""
    x = norm(vectors_MD + p["position.weight"], p["input_norm.weight"], p["input_norm.bias"])
    allowed = np.tril(np.ones((M, M), bool))
    allowed[:, : M - real] = False
    np.fill_diagonal(allowed, True)
    for b in range(blocks):
        name = f"blocks.{b}"
        q, k, v = (x @ p[f"{name}.attention.{role}.weight"].T for role in ("query", "key", "value"))
        mixed = np.zeros_like(x)
        for h in range(H):
            part = slice(h * D // H, (h + 1) * D // H)
            scores = np.where(allowed, q[:, part] @ k[:, part].T / math.sqrt(D / H), -np.inf)
            probabilities = np.exp(scores - scores.max(1, keepdims=True))
            probabilities /= probabilities.sum(1, keepdims=True)
            mixed[:, part] = probabilities @ v[:, part]
        attended = x + mixed @ p[f"{name}.attention.out.weight"].T
        x = norm(attended, p[f"{name}.attention_norm.weight"], p[f"{name}.attention_norm.bias"])
        wide = np.maximum(x @ p[f"{name}.widen.weight"].T + p[f"{name}.widen.bias"], 0)
        fed = x + wide @ p[f"{name}.narrow.weight"].T + p[f"{name}.narrow.bias"]
        x = norm(fed, p[f"{name}.feed_norm.weight"], p[f"{name}.feed_norm.bias"])
    return x


def reference_packed(vectors_PD: Floats, lengths: list[int], p: dict[str, Floats], blocks: int) -> Floats:
    """The real places of every history, each computed alone, padded on the left with rubbish."""
    out = []
    for vectors in np.split(vectors_PD, np.cumsum(lengths)[:-1]):
        padded = np.concatenate([np.full((M - len(vectors), D), 7.0), vectors])
        out.append(reference(padded, len(vectors), p, blocks)[M - len(vectors) :])
    return np.concatenate(out)


def build(blocks: int = 2, dropout: float = 0.0, norm: Literal["post", "pre"] = "post") -> SASRec:
    torch.manual_seed(3)
    model = SASRec(D, M, blocks, H, dropout, norm)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.4)
    return model


def layout_of(lengths: list[int], positions: int = M) -> PackedLayout:
    return PackedLayout.build(np.cumsum([0, *lengths]).astype(np.int64), positions, CPU)


def run(model: SASRec, vectors_PD: Tensor, lengths: list[int]) -> Any:
    """The states of every place; whose histories they are makes no difference."""
    return model(vectors_PD, layout_of(lengths), torch.arange(len(lengths)))


def table(model: SASRec) -> Tensor:
    """The vectors of its positions."""
    assert model.position is not None
    return model.position.weight


def as_numpy(model: SASRec) -> dict[str, Floats]:
    return {name: value.double().numpy() for name, value in model.state_dict().items()}


@pytest.mark.parametrize("lengths", [[5], [1, 3, 5, 2], [1, 1], [4, 2]])
@pytest.mark.parametrize("blocks", [1, 2])
def test_states_equal_numpy_with_left_padding(lengths: list[int], blocks: int) -> None:
    model = build(blocks)
    vectors = torch.randn(sum(lengths), D)
    expected = reference_packed(vectors.double().numpy(), lengths, as_numpy(model), blocks)
    with torch.no_grad():
        np.testing.assert_allclose(run(model, vectors, lengths).numpy(), expected, atol=1e-5)
        last = model.last_states(vectors, layout_of(lengths), torch.arange(len(lengths))).numpy()
    np.testing.assert_allclose(last, expected[np.cumsum(lengths) - 1], atol=1e-5)


def test_gradients_equal_central_differences_of_numpy() -> None:
    model, lengths = build(), [2, 5, 1]
    vectors = torch.randn(8, D, requires_grad=True)
    weights = torch.randn(8, D)
    (run(model, vectors, lengths) * weights).sum().backward()
    values, x = as_numpy(model), vectors.detach().double().numpy()
    rng, step = np.random.default_rng(0), 1e-6

    def loss(moved: dict[str, Floats], inputs: Floats) -> float:
        return float((reference_packed(inputs, lengths, moved, 2) * weights.double().numpy()).sum())

    for name, parameter in model.named_parameters():
        direction = rng.normal(size=parameter.shape)
        ends = [loss(values | {name: values[name] + s * direction}, x) for s in (step, -step)]
        assert parameter.grad is not None
        mine = float((parameter.grad.double().numpy() * direction).sum())
        assert mine == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=2e-4, abs=1e-3), name
    direction = rng.normal(size=x.shape)
    ends = [loss(values, x + s * direction) for s in (step, -step)]
    assert vectors.grad is not None
    mine = float((vectors.grad.double().numpy() * direction).sum())
    assert mine == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=2e-4, abs=1e-3)


def torch_layer(model: SASRec, number: int) -> nn.TransformerEncoderLayer:
    """A block as torch has it, with the same weights, norms before each part, and biases of zero that ours lacks."""
    p = {name.removeprefix(f"blocks.{number}."): value for name, value in model.state_dict().items()}
    layer = nn.TransformerEncoderLayer(D, H, 4 * D, 0.0, "relu", layer_norm_eps=1e-6, batch_first=True, norm_first=True)
    attention = "attention.{}.weight".format
    layer.load_state_dict(
        {
            "self_attn.in_proj_weight": torch.cat([p[attention(role)] for role in ("query", "key", "value")]),
            "self_attn.in_proj_bias": torch.zeros(3 * D),
            "self_attn.out_proj.weight": p[attention("out")],
            "self_attn.out_proj.bias": torch.zeros(D),
            **{f"norm1.{end}": p[f"attention_norm.{end}"] for end in ("weight", "bias")},
            **{f"norm2.{end}": p[f"feed_norm.{end}"] for end in ("weight", "bias")},
            **{f"linear1.{end}": p[f"widen.{end}"] for end in ("weight", "bias")},
            **{f"linear2.{end}": p[f"narrow.{end}"] for end in ("weight", "bias")},
        }
    )
    return layer


def torch_states(model: SASRec, vectors: Tensor) -> Tensor:
    """The pre-norm model over one history: norm of the input, torch's own layers, norm of the output."""
    length = len(vectors)
    x = nn.functional.layer_norm(
        vectors + table(model)[M - length :], (D,), model.input_norm.weight, model.input_norm.bias, 1e-6
    )
    mask = nn.Transformer.generate_square_subsequent_mask(length)
    for number in range(len(model.blocks)):
        x = torch_layer(model, number)(x[None], src_mask=mask, is_causal=True)[0]
    end = model.output_norm
    assert isinstance(end, nn.LayerNorm)
    return nn.functional.layer_norm(x, (D,), end.weight, end.bias, 1e-6)


@pytest.mark.parametrize("lengths", [[5], [1, 3, 5, 2]])
@pytest.mark.parametrize("blocks", [1, 3])
def test_the_pre_norm_block_equals_torch(lengths: list[int], blocks: int) -> None:
    model = build(blocks, norm="pre")
    vectors = torch.randn(sum(lengths), D)
    with torch.no_grad():
        expected = torch.cat([torch_states(model, part) for part in torch.split(vectors, lengths)])
        torch.testing.assert_close(run(model, vectors, lengths), expected, atol=2e-5, rtol=1e-5)
        last = model.last_states(vectors, layout_of(lengths), torch.arange(len(lengths)))
        torch.testing.assert_close(last, expected[np.cumsum(lengths) - 1], atol=2e-5, rtol=1e-5)
        assert not torch.allclose(run(build(blocks), vectors, lengths), expected, atol=0.1)


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_no_users_have_no_states(norm: Literal["post", "pre"]) -> None:
    """One of several devices may have no row of a small batch; its gradients are zero, not missing."""
    model = build(norm=norm)
    vectors = torch.zeros(0, D, requires_grad=True)
    states = run(model, vectors, [])
    assert states.shape == (0, D)
    states.sum().backward()
    assert all(p.grad is not None and not p.grad.any() for p in model.parameters())


def test_layout_by_hand() -> None:
    layout = layout_of([2, 3])
    assert layout.positions_P.tolist() == [3, 4, 2, 3, 4]
    assert layout.slots_P.tolist() == [0, 1, 3, 4, 5]
    assert layout.rows_P.tolist() == [0, 0, 1, 1, 1]
    assert layout.last_B.tolist() == [1, 4]
    assert (layout.users, layout.length) == (2, 3)
    assert layout.filled().tolist() == [[True, True, False], [True, True, True]]
    packed = torch.arange(10.0).view(5, 2)
    assert layout.pad(packed)[0].tolist() == [[0, 1], [2, 3], [0, 0]]
    assert torch.equal(layout.pack(layout.pad(packed)), packed)


def test_the_last_item_has_the_last_position_whatever_the_length() -> None:
    model = build()
    vector = torch.randn(1, D)
    alone = run(model, vector, [1])
    with torch.no_grad():
        table(model)[: M - 1] = 99.0
    assert torch.equal(run(model, vector, [1]), alone)
    with torch.no_grad():
        table(model)[M - 1] = 99.0 * torch.randn(D)
    assert not torch.allclose(run(model, vector, [1]), alone)


def test_no_state_depends_on_later_items() -> None:
    model = build()
    vectors = torch.randn(5, D)
    before = run(model, vectors, [5])
    for changed in range(1, 5):
        other = vectors.clone()
        other[changed] = torch.randn(D)
        after = run(model, other, [5])
        assert torch.equal(after[:changed], before[:changed])
        assert not torch.allclose(after[changed], before[changed])


def test_other_users_and_their_padding_change_nothing() -> None:
    model = build()
    parts = [torch.randn(n, D) for n in (2, 5, 1, 3)]
    together = run(model, torch.cat(parts), [2, 5, 1, 3]).split([2, 5, 1, 3])
    for part, states in zip(parts, together, strict=True):
        torch.testing.assert_close(run(model, part, [len(part)]), states, atol=2e-6, rtol=1e-5)
    reversed_order = run(model, torch.cat(parts[::-1]), [3, 1, 5, 2]).split([3, 1, 5, 2])
    for states, again in zip(together, reversed_order[::-1], strict=True):
        torch.testing.assert_close(again, states, atol=2e-6, rtol=1e-5)


def test_projections_have_no_bias_and_nothing_follows_the_last_block() -> None:
    names = set(build(1).state_dict())
    assert not any("attention." in name and name.endswith("bias") for name in names)
    assert {n.split(".")[0] for n in names} == {"position", "input_norm", "blocks"}


@pytest.mark.parametrize("place", ["input", "probabilities", "out", "feed"])
def test_dropout_acts_at_each_place_in_training_only(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dropout is replaced by a spy; what it is given shows where it stands."""
    model = build(1, dropout=0.5)
    calls: list[Tensor] = []
    rates: list[float] = []

    def spy(x: Tensor, rate: float, training: bool) -> Tensor:
        calls.append(x)
        assert (rate, training) == (0.5, model.training)
        return x

    attend = torch.nn.functional.scaled_dot_product_attention

    def spy_attention(q: Tensor, k: Tensor, v: Tensor, *, dropout_p: float, is_causal: bool) -> Tensor:
        rates.append(dropout_p)
        return attend(q, k, v, is_causal=is_causal)

    monkeypatch.setattr(torch.nn.functional, "dropout", spy)
    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", spy_attention)
    vectors = torch.randn(3, D)
    out = run(model.train(), vectors, [3])
    block = model.blocks[0]
    assert len(calls) == 3
    match place:
        case "input":
            torch.testing.assert_close(calls[0], model.input_norm(vectors + table(model)[2:]))
        case "probabilities":
            run(model.eval(), vectors, [3])
            assert rates == [0.5, 0.0]
        case "out":
            states = block.attention_norm(calls[0] + calls[1])  # type: ignore[operator]
            torch.testing.assert_close(calls[2], block.narrow(torch.relu(block.widen(states))))  # type: ignore[operator]
        case "feed":
            states = block.attention_norm(calls[0] + calls[1])  # type: ignore[operator]
            torch.testing.assert_close(out, block.feed_norm(states + calls[2]))  # type: ignore[operator]
