"""RecTools' SASRec, trained for a given time as its documentation shows; this script does not use tcf.

    PYTHON benchmarks/rectools_sasrec.py JOB.json

It needs a separate environment, because RecTools 0.19 requires a NumPy below version 2:

    python -m venv FOLDER && FOLDER/bin/pip install torch==2.13.0 'rectools[torch]==0.19.0'

The job names a file with the training items of every user (`offsets`, `items`) and the users to recommend for
(`users`). The clock starts with the first epoch, after the data have been prepared, and stops after the step in which
the time is up. Only then are the lists computed: the best ten items of the whole catalogue that are not among the
user's training items.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytorch_lightning as pl
import torch
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel

__all__ = ["main"]

_DEPTH = 10


class _Clock(pl.Callback):  # type: ignore[misc]  # Lightning brings no types into this environment
    """Counts targets, steps and epochs, and ends training when the time is up."""

    def __init__(self, seconds: float, device: str) -> None:
        self.limit, self.device = seconds, device
        self.began = self.seconds = 0.0
        self.targets = self.steps = self.epochs = 0

    def on_train_epoch_start(self, trainer: Any, module: Any) -> None:
        """Start the clock, once."""
        self.began = self.began or time.perf_counter()
        self.epochs += 1

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Count the batch's targets; padding has the item 0."""
        self.steps += 1
        self.targets += int((batch["y"] != 0).sum())
        if time.perf_counter() - self.began >= self.limit:
            _await(self.device)
            self.seconds = time.perf_counter() - self.began
            trainer.should_stop = True


def main() -> None:
    """Train, recommend, and save both results."""
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    torch.set_num_threads(job["threads"])
    pl.seed_everything(job["seed"])
    with np.load(job["histories"]) as file:
        offsets, items, users = file["offsets"], file["items"], file["users"]
    dataset = Dataset.construct(_interactions(offsets, items))
    model = _model(job)
    model.fit(dataset)
    [clock] = [callback for callback in model.fit_trainer.callbacks if isinstance(callback, _Clock)]
    Path(job["trained"]).touch()
    np.save(job["lists"], _recommend(model, dataset, users))
    found = {name: getattr(clock, name) for name in ("targets", "seconds", "steps", "epochs")}
    found["parameters"] = sum(parameter.numel() for parameter in model.torch_model.parameters())
    found["threads"] = torch.get_num_threads()
    found["device_peak"] = torch.cuda.max_memory_allocated() if job["device"] == "cuda" else 0
    Path(job["result"]).write_text(json.dumps(found), encoding="utf-8")


def _interactions(offsets: npt.NDArray[np.int64], items: npt.NDArray[np.int32]) -> pd.DataFrame:
    """One row per item of a user; a day between two items keeps their order."""
    users = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    days = np.arange(len(items)) - offsets[users]
    dates = pd.to_datetime(days, unit="D")
    return pd.DataFrame({Columns.User: users, Columns.Item: items, Columns.Weight: 1.0, Columns.Datetime: dates})


def _model(job: dict[str, Any]) -> Any:
    def trainer() -> Any:
        return pl.Trainer(
            max_epochs=-1,  # until the clock stops it
            callbacks=[_Clock(job["seconds"], job["device"])],
            accelerator="gpu" if job["device"] == "cuda" else "cpu",
            devices=1,
            logger=False,
            enable_progress_bar=False,
            enable_checkpointing=False,
            enable_model_summary=False,
        )

    return SASRecModel(
        n_factors=job["width"],
        n_blocks=job["blocks"],
        n_heads=job["heads"],
        session_max_len=job["history"],
        dropout_rate=job["dropout"],
        batch_size=job["batch"],
        lr=job["learning_rate"],
        loss="softmax",
        recommend_torch_device=job["device"],
        get_trainer_func=trainer,
    )


def _recommend(model: Any, dataset: Any, users: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The list of each user, best item first, (n_users, 10); -1 for missing items."""
    found = model.recommend(users=users, dataset=dataset, k=_DEPTH, filter_viewed=True, on_unsupported_targets="ignore")
    lists = np.full((len(users), _DEPTH), -1, np.int64)
    rows = np.searchsorted(users, found[Columns.User].to_numpy())
    lists[rows, found[Columns.Rank].to_numpy() - 1] = found[Columns.Item].to_numpy()
    return lists


def _await(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
