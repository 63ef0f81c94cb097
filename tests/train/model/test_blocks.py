"""LiGR's block and rotary positions against loops over heads and places in float64."""

import math
from itertools import product
from typing import Literal

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tcf.train.batch.packed_layout import PackedLayout
from tcf.train.model.rotary import Rotation
from tcf.train.model.sasrec import SASRec

Floats = npt.NDArray[np.float64]
Values = dict[str, Floats]
Form = Literal["sasrec", "ligr"]
Position = Literal["learned", "rotary"]
CPU = torch.device("cpu")
M, D, H = 5, 12, 2  # heads of 6 numbers: three pairs
NEW: list[tuple[Form, Position]] = [("ligr", "learned"), ("ligr", "rotary"), ("sasrec", "rotary")]


def build(form: Form, position: Position, blocks: int = 2, dropout: float = 0.0, positions: int = M) -> SASRec:
    torch.manual_seed(3)
    model = SASRec(D, positions, blocks, H, dropout, block=form, position=position)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.4)
    return model


def layout_of(lengths: list[int], positions: int = M) -> PackedLayout:
    return PackedLayout.build(np.cumsum([0, *lengths]).astype(np.int64), positions, CPU)


def states(model: SASRec, vectors_PD: Tensor, lengths: list[int]) -> Tensor:
    found: Tensor = model(vectors_PD, layout_of(lengths, model.positions), torch.arange(len(lengths)))
    return found


def last(model: SASRec, vectors_PD: Tensor, lengths: list[int]) -> Tensor:
    return model.last_states(vectors_PD, layout_of(lengths, model.positions), torch.arange(len(lengths)))


def norm(row: Floats, p: Values, name: str) -> Floats:
    centred = row - row.mean()
    return np.asarray(centred / math.sqrt((centred**2).mean() + 1e-6) * p[f"{name}.weight"] + p[f"{name}.bias"])


def linear(row: Floats, p: Values, name: str) -> Floats:
    return np.asarray(p[f"{name}.weight"] @ row + p.get(f"{name}.bias", 0.0))


def sigmoid(x: Floats) -> Floats:
    return 1 / (1 + np.exp(-x))


def turned(head: Floats, place: int) -> Floats:
    """Pairs of a number of the first half and one of the second, as complex numbers times one of length 1."""
    pairs = len(head) // 2
    points = [complex(head[f], head[pairs + f]) * np.exp(1j * place * 10_000 ** (-f / pairs)) for f in range(pairs)]
    return np.array([point.real for point in points] + [point.imag for point in points])


def attended(rows: list[Floats], at: int, p: Values, name: str, *, rotary: bool) -> Floats:
    """What the item at a place gathers from itself and from those before it."""
    heads = []
    for h in range(H):
        part = slice(h * D // H, (h + 1) * D // H)
        query = linear(rows[at], p, f"{name}.query")[part]
        keys = [linear(row, p, f"{name}.key")[part] for row in rows[: at + 1]]
        if rotary:
            query, keys = turned(query, at), [turned(key, place) for place, key in enumerate(keys)]
        weights = np.exp([query @ key / math.sqrt(D / H) for key in keys])
        values = [linear(row, p, f"{name}.value")[part] for row in rows[: at + 1]]
        heads.append(sum(w * v for w, v in zip(weights, values, strict=True)) / weights.sum())
    return linear(np.concatenate(heads), p, f"{name}.out")


def ligr(rows: list[Floats], p: Values, name: str, *, rotary: bool) -> list[Floats]:
    """LiGR's block: each sublayer reads normed rows, and the sigmoid of the rows themselves says how much is added."""
    normed, out = [norm(row, p, f"{name}.attention_norm") for row in rows], []
    for at, row in enumerate(rows):
        gate = sigmoid(linear(row, p, f"{name}.attention_gate"))
        row = row + gate * attended(normed, at, p, f"{name}.attention", rotary=rotary)
        fed = norm(row, p, f"{name}.feed_norm")
        wide = linear(fed, p, f"{name}.widen")
        wide = wide * sigmoid(wide) * linear(fed, p, f"{name}.scale")
        out.append(row + sigmoid(linear(row, p, f"{name}.feed_gate")) * linear(wide, p, f"{name}.narrow"))
    return out


def sasrec(rows: list[Floats], p: Values, name: str, *, rotary: bool) -> list[Floats]:
    """SASRec's block with the norms after each sum."""
    out = []
    for at, row in enumerate(rows):
        row = norm(row + attended(rows, at, p, f"{name}.attention", rotary=rotary), p, f"{name}.attention_norm")
        fed = linear(np.maximum(linear(row, p, f"{name}.widen"), 0), p, f"{name}.narrow")
        out.append(norm(row + fed, p, f"{name}.feed_norm"))
    return out


def reference(vectors_PD: Floats, lengths: list[int], p: Values, form: Form, position: Position) -> Floats:
    """The states of every history, each computed alone."""
    found: list[Floats] = []
    for history in np.split(vectors_PD, np.cumsum(lengths)[:-1]):
        rows = list(history)
        if position == "learned":
            rows = [row + p["position.weight"][M - len(rows) + at] for at, row in enumerate(rows)]
        rows = [norm(row, p, "input_norm") for row in rows]
        for block in sorted({name.split(".")[1] for name in p if name.startswith("blocks.")}):
            rows = (ligr if form == "ligr" else sasrec)(rows, p, f"blocks.{block}", rotary=position == "rotary")
        found += rows
    return np.array(found)


def in_float64(model: SASRec) -> Values:
    return {name: value.detach().double().numpy() for name, value in model.state_dict().items()}


@pytest.mark.parametrize(("form", "position"), NEW)
@pytest.mark.parametrize("lengths", [[5], [1, 3, 5, 2]])
def test_states_equal_loops_in_float64(form: Form, position: Position, lengths: list[int]) -> None:
    model = build(form, position)
    vectors = torch.randn(sum(lengths), D)
    expected = reference(vectors.double().numpy(), lengths, in_float64(model), form, position)
    with torch.no_grad():
        np.testing.assert_allclose(states(model, vectors, lengths).numpy(), expected, rtol=1e-5, atol=2e-5)
        found = last(model, vectors, lengths).numpy()
    np.testing.assert_allclose(found, expected[np.cumsum(lengths) - 1], rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize(("form", "position"), NEW)
def test_gradients_equal_differences_of_the_loops(form: Form, position: Position) -> None:
    """Along a random direction in all parameters and inputs at once, and along one in each parameter's place."""
    model, lengths = build(form, position, blocks=1).double(), [2, 4, 1]
    vectors, weights = torch.randn(7, D, dtype=torch.float64, requires_grad=True), torch.randn(7, D).double()
    (states(model, vectors, lengths) * weights).sum().backward()  # type: ignore[no-untyped-call]
    values, inputs, rng, step = in_float64(model), vectors.detach().numpy(), np.random.default_rng(0), 1e-6
    names = {name: parameter.grad for name, parameter in model.named_parameters()}
    directions = {name: rng.normal(size=values[name].shape) for name in names}
    of_inputs = rng.normal(size=inputs.shape)

    def loss(moved: set[str], by: float) -> float:
        changed = values | {name: values[name] + by * directions[name] for name in moved}
        found = reference(inputs + by * of_inputs * (moved == {*names}), lengths, changed, form, position)
        return float((found * weights.numpy()).sum())

    assert vectors.grad is not None
    slopes = {name: float((grad.numpy() * directions[name]).sum()) for name, grad in names.items() if grad is not None}
    assert slopes.keys() == names.keys()
    for name, slope in slopes.items():
        measured = (loss({name}, step) - loss({name}, -step)) / (2 * step)
        assert slope == pytest.approx(measured, rel=1e-5, abs=1e-5), name
    together = sum(slopes.values()) + float((vectors.grad.numpy() * of_inputs).sum())
    measured = (loss({*names}, step) - loss({*names}, -step)) / (2 * step)
    assert together == pytest.approx(measured, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize(("form", "position"), NEW)
def test_no_state_depends_on_later_items_or_on_other_users(form: Form, position: Position) -> None:
    model = build(form, position)
    vectors = torch.randn(5, D)
    before = states(model, vectors, [5])
    for changed in range(1, 5):
        other = vectors.clone()
        other[changed] = torch.randn(D)
        after = states(model, other, [5])
        assert torch.equal(after[:changed], before[:changed])
        assert not torch.allclose(after[changed], before[changed])
    parts = [torch.randn(n, D) for n in (2, 5, 1, 3)]
    together = torch.split(states(model, torch.cat(parts), [2, 5, 1, 3]), [2, 5, 1, 3])
    for part, among_others in zip(parts, together, strict=True):
        torch.testing.assert_close(states(model, part, [len(part)]), among_others, atol=5e-6, rtol=1e-5)


@pytest.mark.parametrize(("form", "position"), NEW)
def test_no_users_have_no_states(form: Form, position: Position) -> None:
    """One of several devices may have no row of a small batch; its gradients are zero, not missing."""
    model = build(form, position)
    vectors = torch.zeros(0, D, requires_grad=True)
    found = states(model, vectors, [])
    assert found.shape == (0, D)
    found.sum().backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is not None and not p.grad.any() for p in model.parameters())


def test_turned_products_depend_on_the_distance_alone() -> None:
    """By hand: with heads of two numbers the angle is the place itself, and each head is a point that is turned."""
    places = torch.arange(4)
    angles = places[:, None, None].float()
    rotation = Rotation(angles.cos(), angles.sin())
    rows = torch.tensor([[1.0, 0.0, 0.0, 2.0]]).expand(4, 4)
    found = rotation.turn(rows, heads=2)
    for place, row in enumerate(found.tolist()):
        expected = [math.cos(place), math.sin(place), -2 * math.sin(place), 2 * math.cos(place)]
        assert row == pytest.approx(expected, abs=1e-6)
    queries, keys = torch.randn(4, 4), torch.randn(4, 4)
    same_query, same_key = queries[:1].expand(4, 4), keys[:1].expand(4, 4)
    products = rotation.turn(same_query, 2) @ rotation.turn(same_key, 2).T
    for first, second in product(range(3), range(3)):
        assert float(products[first, second]) == pytest.approx(float(products[first + 1, second + 1]), abs=1e-5)
    assert float(products[0, 1]) != pytest.approx(float(products[0, 2]), abs=1e-3)


def test_where_places_are_counted_from_makes_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    model, vectors = build("ligr", "rotary"), torch.randn(8, D)
    before = states(model, vectors, [5, 3])
    places = PackedLayout.places_P
    monkeypatch.setattr(PackedLayout, "places_P", property(lambda layout: places.fget(layout) + 17))  # type: ignore[attr-defined]
    torch.testing.assert_close(states(model, vectors, [5, 3]), before, atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(last(model, vectors, [5, 3]), before[[4, 7]], atol=2e-5, rtol=1e-4)
    monkeypatch.setattr(PackedLayout, "places_P", property(lambda layout: 2 * places.fget(layout)))  # type: ignore[attr-defined]
    assert not torch.allclose(states(model, vectors, [5, 3]), before, atol=1e-2)


def test_rotary_models_read_longer_histories_than_they_were_trained_on() -> None:
    """Nothing of a rotary model says how long histories are, and a longer one has the same states at its beginning."""
    short, long = build("sasrec", "rotary", positions=3), build("sasrec", "rotary", positions=9)
    long.load_state_dict(short.state_dict())
    vectors = torch.randn(9, D)
    torch.testing.assert_close(states(long, vectors, [9])[:3], states(short, vectors[:3], [3]), atol=5e-6, rtol=1e-5)
    assert not any("position" in name for name in short.state_dict())
    assert layout_of([2, 3], 7).places_P.tolist() == [0, 1, 0, 1, 2]


def test_in_16_bits_angles_keep_their_precision() -> None:
    """At place 1,000 the nearest number of bfloat16 would be an angle off by up to two."""
    layout = layout_of([1001], 1001)
    rotation, rows = Rotation.build(layout, 2), torch.tensor([[1.0, 0.0]]).expand(1001, 2)
    found = rotation.turn(rows.bfloat16(), 1)
    assert found.dtype == torch.bfloat16
    assert found[999].tolist() == pytest.approx([math.cos(999), math.sin(999)], abs=0.01)
    model, vectors = build("ligr", "rotary"), torch.randn(8, D)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        cast = states(model, vectors, [5, 3]).float()
    with torch.no_grad():
        exact = states(model, vectors, [5, 3])
    assert float(F.cosine_similarity(cast, exact).min()) > 0.995


@pytest.mark.parametrize("place", ["out", "wide", "feed"])
def test_dropout_acts_at_each_place_of_ligr(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dropout is replaced by a spy; what it is given shows where it stands."""
    model, vectors = build("ligr", "rotary", 1, dropout=0.5).train(), torch.randn(3, D)
    calls: list[Tensor] = []
    attend = F.scaled_dot_product_attention

    def spy(x: Tensor, rate: float, training: bool) -> Tensor:
        calls.append(x)
        assert (rate, training) == (0.5, True)
        return x

    def attend_spy(q: Tensor, k: Tensor, v: Tensor, *, dropout_p: float, is_causal: bool) -> Tensor:
        assert dropout_p == 0.5
        return attend(q, k, v, is_causal=is_causal)

    monkeypatch.setattr(F, "dropout", spy)
    monkeypatch.setattr(F, "scaled_dot_product_attention", attend_spy)
    out = states(model, vectors, [3])
    [block] = model.blocks
    entered, attended_out, wide, fed = calls
    row = entered + block.attention_gate(entered).sigmoid() * attended_out  # type: ignore[operator]
    match place:
        case "out":
            normed = block.feed_norm(row)  # type: ignore[operator]
            torch.testing.assert_close(wide, F.silu(block.widen(normed)) * block.scale(normed))  # type: ignore[operator]
        case "wide":
            torch.testing.assert_close(fed, block.narrow(wide))  # type: ignore[operator]
        case "feed":
            torch.testing.assert_close(out, row + block.feed_gate(row).sigmoid() * fed)  # type: ignore[operator]
