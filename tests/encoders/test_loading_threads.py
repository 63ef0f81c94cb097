"""Models loaded by several threads at once: transformers' loader exchanges parts of itself while it runs."""

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

from small.encoders.models import save_opt
from tcf.encoders.encoder import load_encoder
from tcf.encoders.folder.open_model_folder import open_model_folder
from tcf.encoders.loading import bare_model
from tcf.encoders.split.skeleton import open_skeleton


@pytest.fixture
def hasty_threads() -> Iterator[None]:
    """Threads take turns after every few instructions."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_threads_may_load_models_at_once(tmp_path: Path, hasty_threads: None, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = open_model_folder(save_opt(tmp_path / "m"))
    tie, initialise, kind = PreTrainedModel.tie_weights, torch.nn.init.normal_, torch.get_default_dtype()
    # What goes wrong here is put right for the tests after this one.
    monkeypatch.setattr(PreTrainedModel, "tie_weights", tie)

    def load(turn: int) -> None:
        match turn % 3:
            case 0:
                load_encoder(folder, torch.bfloat16, torch.device("cpu"), layers=(-1,))
            case 1:
                open_skeleton(folder, torch.float16, layers=(-1,))
            case _:
                bare_model(folder, torch.bfloat16, trust_remote_code=False)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(load, range(24)))
    assert PreTrainedModel.tie_weights is tie
    assert torch.nn.init.normal_ is initialise
    assert torch.get_default_dtype() is kind
