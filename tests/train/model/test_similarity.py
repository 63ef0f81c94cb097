"""Scores as cosines over a temperature: still inner products, of item vectors of length 1."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from small.train.losses import CPU, SEQUENCES, Floats, batch_of, training
from small.train.runs import csr, make_cache, make_dataset
from tcf.config.losses import LOSSES, LossName
from tcf.config.train import TrainConfig
from tcf.train.assemble import batch_rows
from tcf.train.batch.batch import Batch
from tcf.train.loss.losses import Loss, build_loss
from tcf.train.model.build import build_model
from tcf.train.model.dssm import UserIds
from tcf.train.model.item_tower import IdItems
from tcf.train.model.recommender import Recommender
from tcf.train.vectors.cache_rows import ItemSources
from tcf.train.vectors.item_vectors import load_item_vectors

T, N, USERS, D = 0.2, 9, 5, 6
DATA = training(SEQUENCES, N)


def config_of(**settings: Any) -> TrainConfig:
    usual: dict[str, Any] = {"items": "id", "width": D, "history": 5, "similarity": "cosine", "temperature": T}
    return TrainConfig(**(usual | settings))


def model_of(config: TrainConfig) -> Recommender:
    """With vectors of very different lengths."""
    model = build_model(config, N, USERS, None, CPU).eval()
    assert isinstance(model.items, IdItems)
    with torch.no_grad():
        model.items.embedding.weight *= torch.arange(1.0, N + 1)[:, None]
    return model


def batch_for(config: TrainConfig) -> tuple[Loss, Batch]:
    rows = batch_rows(config, DATA)
    loss = build_loss(config, DATA, rows, CPU)
    return loss, batch_of(rows.in_epoch(0, 1), loss, [0, 1, 2, 3, 4])


def unit(rows: Floats) -> Floats:
    return np.asarray(rows / np.sqrt((rows**2).sum(1, keepdims=True)))


def in_float64(rows: Tensor) -> Floats:
    return np.asarray(rows.detach().double().numpy())


@pytest.mark.parametrize("backbone", ["sasrec", "dssm"])
def test_scores_are_cosines_over_the_temperature(backbone: Any) -> None:
    """Of what the item tower computes and of what the backbone makes of vectors of length 1."""
    config = config_of(backbone=backbone)
    model, (_, batch) = model_of(config), batch_for(config)
    tower_UD = model.items(batch.items_U)
    read_ID = torch.from_numpy(unit(in_float64(tower_UD))).float()[batch.inputs_I]
    raw_PD = model.backbone(read_ID, batch.layout, batch.users_B)
    states_PD, vectors_UD = model(batch)
    expected = unit(in_float64(raw_PD)) @ unit(in_float64(tower_UD)).T / T
    np.testing.assert_allclose(in_float64(states_PD @ vectors_UD.T), expected, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("loss_name", [loss.name for loss in LOSSES])
def test_gradients_pass_through_the_division_by_the_lengths(loss_name: LossName) -> None:
    """That of a row x is the part of the gradient at x / |x| that is orthogonal to x, over |x|; worked in float64."""
    config = config_of(backbone="dssm", loss=loss_name)
    model, (loss, batch) = model_of(config), batch_for(config)
    states_PD, vectors_UD = (found.detach().requires_grad_() for found in model(batch))
    loss(states_PD, vectors_UD, batch).backward()  # type: ignore[no-untyped-call]
    again_PD, again_UD = model(batch)
    loss(again_PD, again_UD, batch).backward()  # type: ignore[no-untyped-call]
    assert isinstance(model.items, IdItems) and isinstance(model.backbone, UserIds)
    items_ND, users_BD = model.items.embedding.weight, model.backbone.embedding.weight
    assert states_PD.grad is not None and vectors_UD.grad is not None
    assert items_ND.grad is not None and users_BD.grad is not None
    by_item, by_user = np.zeros((N, D)), np.zeros((USERS, D))
    by_item[batch.host_items_U] = in_float64(vectors_UD.grad)
    np.add.at(by_user, batch.users_B[batch.rows_P].numpy(), in_float64(states_PD.grad) / T)
    for by_unit, rows_RD, found_RD in ((by_item, items_ND, items_ND.grad), (by_user, users_BD, users_BD.grad)):
        rows, units = in_float64(rows_RD), unit(in_float64(rows_RD))
        across = by_unit - (by_unit * units).sum(1, keepdims=True) * units
        expected = across / np.sqrt((rows**2).sum(1, keepdims=True))
        np.testing.assert_allclose(in_float64(found_RD), expected, rtol=2e-5, atol=2e-6)
        assert np.abs(expected).max() > 1e-3


def test_vectors_of_a_finished_model_and_their_bits(tmp_path: Path) -> None:
    """All have length 1, states 1 / T, and items of equal text are one and the same row."""
    dataset = make_dataset(tmp_path, [[0, 1, 2]], [f"text {i % 4}" for i in range(N)])
    cache = make_cache(tmp_path, dataset, np.random.default_rng(0).normal(size=(4, 7)).astype(np.float16))
    vectors = load_item_vectors(ItemSources.find([cache], dataset), CPU)
    model = build_model(config_of(items="text"), N, USERS, vectors, CPU)
    vectors_ND = model.item_vectors()
    np.testing.assert_allclose(vectors_ND.norm(dim=1), 1, rtol=1e-6)
    assert all(torch.equal(vectors_ND[i], vectors_ND[i % 4]) for i in range(N))
    states = model.user_states(np.arange(3), csr([[1], [2, 3], [4, 5, 6]]), vectors_ND)
    np.testing.assert_allclose(np.linalg.norm(states, axis=1), 1 / T, rtol=1e-6)


def test_in_16_bits_lengths_are_taken_in_float32() -> None:
    config = config_of()
    model, (_, batch) = model_of(config), batch_for(config)
    with torch.autocast("cpu", torch.bfloat16):
        states_PD, vectors_UD = model(batch)
    assert states_PD.dtype == vectors_UD.dtype == torch.float32
    np.testing.assert_allclose(in_float64(states_PD.norm(dim=1)), 1 / T, rtol=1e-6)
