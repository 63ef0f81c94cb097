"""Micro-batches and training steps in which the host waits for the device.

On CUDA torch itself refuses a wait (`set_sync_debug_mode`). On a CPU a dispatch mode refuses the operations that
would wait on CUDA: those that read a number, or whose result's size is only known when they are done.
"""

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from itertools import islice
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from gpu_parts.part import Finding, Setting, holds
from gpu_parts.stage import micro_batches_of
from gpu_parts.trainings import training_setup
from small.encoders.families import save_family
from small.encoders.models import made_up_texts
from tcf.config.extract import ExtractConfig
from tcf.config.train import TrainConfig
from tcf.encoders.folder.load_tokenizer import load_tokenizer
from tcf.encoders.folder.open_model_folder import open_model_folder
from tcf.encoders.pooling import VectorHead
from tcf.encoders.tokenize import tokenize
from tcf.extract.resolved_settings import Settings
from tcf.extract.schedules.engine import ignore_progress
from tcf.extract.schedules.load_engine import load_resident
from tcf.extract.sinks import VectorSink
from tcf.train.trainer import Trainer

__all__ = ["HostWait", "check_host_waits", "no_host_waits"]

_TOKENS, _STEPS = 64, 8
_WAITING = (
    "_local_scalar_dense",
    "nonzero",
    "nonzero_numpy",
    "masked_select",
    "unique_dim",
    "_unique2",
    "unique_consecutive",
    "equal",
    "is_nonzero",
)


class HostWait(RuntimeError):
    """An operation that makes the host wait for a CUDA device."""


def check_host_waits(setting: Setting) -> Iterator[Finding]:
    """Run a second pass over some micro-batches, and some steps after the first ones, with every wait refused."""
    for name in ("opt", "bert"):
        yield _checked(f"micro-batches of {name}", _micro_batches(setting, name), setting)
    yield _checked("micro-batches of opt, shared prefixes", _micro_batches(setting, "opt", shares=True), setting)
    for loss in ("in-batch", "gbce"):
        yield _checked(f"training steps, {loss}", _steps(setting, loss), setting)


def _checked(what: str, work: Generator[None, None, None], setting: Setting) -> Finding:
    """Run the first iteration with waits allowed, and the rest with waits refused."""
    with closing(work):
        next(work)
        try:
            with no_host_waits(setting.device):
                for _ in work:
                    pass
        except RuntimeError as error:
            return holds(what, False, "no wait", f"{' '.join(str(error).split())[:160]}")
    return holds(what, True, "no wait", "")


@contextmanager
def no_host_waits(device: torch.device) -> Iterator[None]:
    """In this context, it is an error if this thread waits for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.set_sync_debug_mode("error")
    try:
        # On CUDA torch knows better: a number that is on the CPU already can be read without waiting.
        with nullcontext() if device.type == "cuda" else _RefuseWaits():  # type: ignore[no-untyped-call]
            yield
    finally:
        if device.type == "cuda":
            torch.cuda.set_sync_debug_mode("default")


class _RefuseWaits(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __torch_dispatch__(
        self, function: Any, types: Sequence[Any], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        name = function.overloadpacket.__name__
        if name in _WAITING or (name == "index" and _has_mask(args[1])):
            raise HostWait(f"{function} makes the host wait")
        return function(*args, **(kwargs or {}))


def _has_mask(indices: Sequence[Any]) -> bool:
    return any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in indices)


def _micro_batches(setting: Setting, name: str, *, shares: bool = False) -> Generator[None, None, None]:
    """The micro-batches of a small model, twice; where they share prefixes, prepared while the host may wait."""
    folder = save_family(name, setting.scratch / f"{name}-waits-{shares}")
    opened = open_model_folder(folder)
    settings = Settings(("mean",), "", 30, torch.float32, setting.device)
    engine = load_resident(opened, (-1,), ExtractConfig(), settings, tokens_per_batch=_TOKENS)
    sequences = tokenize(load_tokenizer(opened), made_up_texts(40), max_tokens=30)
    batches = micro_batches_of(engine, sequences, shares=shares)
    try:
        for _ in range(2):
            sink = VectorSink(len(sequences), 32, torch.float32, VectorHead(["mean"]), setting.device)
            engine.encode(batches, sequences, {-1: [sink]}, scratch=setting.scratch, advance=ignore_progress)
            yield
    finally:
        engine.close()


def _steps(setting: Setting, loss: Any) -> Generator[None, None, None]:
    """Training steps, the first few with waits allowed."""
    config = TrainConfig(width=32, batch_size=32, loss=loss, devices=str(setting.device), precision="float32")
    trainer: Trainer = training_setup(setting, config, users=400, items=120).trainer
    with closing(trainer.feed.epoch(1)) as batches:
        # The batches are prepared first, because the thread that prepares them may wait.
        fed = list(islice(batches, _STEPS + 2))
    for number, step in enumerate(fed):
        trainer.step(step.batch, step.read_UV, number)
        if number >= 1:
            yield
