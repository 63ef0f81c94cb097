from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from small.train.runs import make_cache, make_dataset
from tcf.common.errors import ConfigError
from tcf.config.train import TrainConfig
from tcf.train.model.build import build_model
from tcf.train.model.dssm import MeanOfHistory, UserIds
from tcf.train.model.item_tower import DeepItems, IdItems, SummedItems, TextItems
from tcf.train.model.sasrec import SASRec
from tcf.train.vectors.cache_rows import ItemSources
from tcf.train.vectors.item_vectors import ItemVectors, load_item_vectors

CPU = torch.device("cpu")
D, V, N, USERS = 16, 6, 40, 9
DTL_NUMBERS = V * D + D + D * D + D
BLOCK = 4 * D * D + 8 * D * D + 5 * D + 4 * D  # attention, feed-forward with biases, two norms
SASREC = 20 * D + 2 * D + 2 * BLOCK


@pytest.fixture
def vectors(tmp_path: Path) -> ItemVectors:
    dataset = make_dataset(tmp_path, [[0, 1, 2]], [f"text {i}" for i in range(N)])
    cache = make_cache(tmp_path, dataset, np.ones((N, V), np.float16))
    return load_item_vectors(ItemSources.find([cache], dataset), CPU)


@pytest.mark.parametrize(
    ("settings", "items", "backbone", "numbers"),
    [
        ({}, TextItems, SASRec, DTL_NUMBERS + SASREC),
        ({"items": "id"}, IdItems, SASRec, N * D + SASREC),
        ({"items": "text+id"}, SummedItems, SASRec, DTL_NUMBERS + N * D + SASREC),
        ({"norm": "pre"}, TextItems, SASRec, DTL_NUMBERS + SASREC + 2 * D),
        ({"blocks": 1, "dtl_layers": 1}, TextItems, SASRec, V * D + D + SASREC - BLOCK),
        ({"backbone": "dssm"}, TextItems, UserIds, DTL_NUMBERS + USERS * D),
        ({"backbone": "dssm", "user_tower": "history"}, TextItems, MeanOfHistory, DTL_NUMBERS),
        (
            {"backbone": "dssm", "mlp_layers": 3, "items": "text+id"},
            DeepItems,
            UserIds,
            DTL_NUMBERS + N * D + 3 * (D * D + D) + USERS * D,
        ),
        ({"backbone": "dssm", "mlp_layers": 1, "items": "id"}, DeepItems, UserIds, (N + USERS) * D + D * D + D),
    ],
)
def test_parts_and_their_parameters(
    settings: dict[str, Any], items: type, backbone: type, numbers: int, vectors: ItemVectors
) -> None:
    config = TrainConfig(width=D, **settings)
    model = build_model(config, N, USERS, vectors if config.reads_text else None, CPU)
    assert type(model.items) is items
    assert type(model.backbone) is backbone
    assert sum(parameter.numel() for parameter in model.parameters()) == numbers
    assert all(parameter.isfinite().all() for parameter in model.parameters())
    vectors_ND = model.item_vectors()
    assert vectors_ND.shape == (N, D)


@pytest.mark.parametrize("items", ["text", "text+id"])
def test_text_items_need_vectors(items: Any) -> None:
    with pytest.raises(ConfigError, match=rf"--items {items.replace('+', chr(92) + '+')}: .*add --cache"):
        build_model(TrainConfig(items=items), 5, 2, None, CPU)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mlp_layers": 2}, "--mlp-layers: expected --backbone dssm, found --backbone sasrec; leave --mlp-layers out"),
        ({"user_tower": "history"}, "--user-tower: expected --backbone dssm"),
        ({"tower_reads": "earlier"}, "--tower-reads: expected --backbone dssm, found --backbone sasrec"),
        ({"backbone": "dssm", "tower_reads": "earlier"}, "--tower-reads: expected --user-tower history, found --user-"),
        ({"untrained_users": "leave-out"}, "--untrained-users: expected --backbone dssm"),
        (
            {"backbone": "dssm", "user_tower": "history", "untrained_users": "leave-out"},
            "--untrained-users: expected --user-tower id, found --user-tower history; leave --untrained-users out",
        ),
        ({"backbone": "dssm", "windows": "all"}, "--windows: expected --backbone sasrec, found --backbone dssm"),
        ({"backbone": "dssm", "blocks": 3}, "--blocks: expected --backbone sasrec, found --backbone dssm"),
        ({"backbone": "dssm", "heads": 4}, "--heads: expected --backbone sasrec"),
        ({"backbone": "dssm", "norm": "pre"}, "--norm: expected --backbone sasrec"),
        (
            {"items": "id", "dtl_layers": 3},
            r"--dtl-layers: expected --items text or text\+id, found --items id",
        ),
        ({"items": "id", "whiten": 3}, "--whiten: expected --items text"),
        ({"items": "id", "pca": 3}, "--pca: expected --items text"),
        ({"items": "id", "normalise": True}, "--normalise: expected --items text"),
        ({"items": "id", "table": "cache"}, "--table: expected --items text"),
        ({"whiten": 3, "pca": 3}, "--pca: expected either --pca or --whiten, found both"),
        ({"pca": 3, "whiten_epsilon": 0.1}, "--whiten-epsilon: expected --whiten as well"),
        ({"whiten": 0}, "--whiten: expected at least 1, found 0"),
        ({"whiten_form": "zca"}, "--whiten-form: expected --whiten as well, found none"),
        ({"pca": 3, "whiten_groups": 3}, "--whiten-groups: expected --whiten as well, found none"),
        ({"whiten": 8, "whiten_groups": 3}, "--whiten: expected a multiple of --whiten-groups 3, .* or full, found 8"),
        ({"whiten": 8, "whiten_sum": True}, "--whiten-sum: expected --whiten-groups of at least 2, found 1; leave"),
        (
            {"whiten": "full", "whiten_groups": 2, "whiten_sum": True},
            "--whiten-sum: expected --whiten-form zca, .* found --whiten-form pca; add it, or leave",
        ),
        ({"items": "id", "mix": "weights"}, "--mix: expected --items text or text.id, found --items id"),
        ({"sampling": "uniform"}, "--sampling: expected --loss sampled, found --loss in-batch"),
        ({"loss": "bce", "gbce_t": 0.5}, "--gbce-t: expected --loss gbce, found --loss bce"),
        ({"loss": "full", "negatives": 5}, "--negatives: expected --loss sampled or bce or gbce"),
        ({"schedule": "cosine", "step_factor": 0.5}, "--step-factor: expected --schedule step"),
        ({"width": 10, "heads": 4}, "--width: expected a multiple of --heads 4, found 10"),
    ],
)
def test_settings_that_nothing_would_read(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TrainConfig(**settings)


def test_widths_need_not_fit_heads_that_are_not_there() -> None:
    assert TrainConfig(backbone="dssm", width=7).width == 7
