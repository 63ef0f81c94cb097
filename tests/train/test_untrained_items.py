"""Items without a training interaction are ranked as all others are: they must not fill the lists."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from small.train.runs import make_dataset, walks
from small.train.trainings import SMALL
from tcf.config.train import TrainConfig
from tcf.train.run.open_run import open_run
from tcf.train.stage import train

LEARNT, UNTRAINED = 30, 60


@pytest.mark.parametrize(
    "settings", [{"loss": "gbce", "negatives": 8}, {"loss": "bce", "negatives": 8}], ids=["gbce", "bce"]
)
def test_untrained_ids_do_not_fill_the_lists(settings: dict[str, Any], tmp_path: Path) -> None:
    """Two of three items are untrained. If they were never drawn, all ten places of every list would be theirs."""
    dataset = make_dataset(tmp_path, walks(), [f"text {i}" for i in range(LEARNT + UNTRAINED)])
    config = TrainConfig(**(SMALL | {"items": "id", "epochs": 8, "dropout": 0.0} | settings))
    result = train(data=dataset.path, out=tmp_path / "run", config=config)
    run = open_run(result.path)
    scores = run.user_states(np.arange(dataset.n_users), dataset.histories) @ run.item_vectors().T
    lists = np.argsort(-scores, axis=1)[:, :10]
    untrained = float((lists >= LEARNT).sum(axis=1).mean())
    assert untrained < 1
    assert result.manifest.facts["hr@10"] > 0.3  # 0.11 by chance
