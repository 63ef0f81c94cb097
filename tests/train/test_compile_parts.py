"""Compilation itself takes a minute; what is captured, and how often, is seen with the backend that changes nothing."""

import functools
from typing import Any

import pytest
import torch
import torch._dynamo.testing

from small.train.trainings import TRAINED, Train
from tcf.config.train import TrainConfig
from tcf.train.assemble import compile_parts
from tcf.train.model.build import outline_model


@pytest.mark.parametrize("settings", [{}, {"block": "ligr", "position": "rotary"}], ids=str)
def test_a_compiled_training_is_the_same(
    run_train: Train, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]
) -> None:
    """Batches of many sizes are one or two graphs a part, without breaks, and the parameters have their names."""
    usual = run_train("usual", blocks=1, batch_size=7, **settings)
    asked = torch._dynamo.testing.CompileCounterWithBackend("eager")
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=asked))
    torch._dynamo.reset()
    compiled = run_train("compiled", blocks=1, batch_size=7, compile=True, **settings)
    assert 2 <= asked.frame_count <= 8
    assert not torch._dynamo.utils.counters["graph_break"]
    for name in TRAINED:
        assert (compiled.path / name).read_bytes() == (usual.path / name).read_bytes(), name


def test_what_is_compiled() -> None:
    config = TrainConfig(items="id", width=8, blocks=3)
    model = outline_model(config, 5, 5, None)
    before = list(model.state_dict())
    compile_parts(model)
    compiled = [name for name, module in model.named_modules() if module._compiled_call_impl is not None]
    assert compiled == ["backbone.blocks.0", "backbone.blocks.1", "backbone.blocks.2"]
    assert list(model.state_dict()) == before
