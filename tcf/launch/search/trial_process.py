"""A worker that trains trials of a search one after the other, as its parent process requests.

The parent sends a `TrainingJob` and then, after each epoch, whether to continue. The worker sends each epoch, with
whether the training would go on, and how the trial ended.
"""

import gc
import logging
from typing import Any

import torch

from tcf.common.errors import ConfigError, DivergedError, TcfError
from tcf.launch.workers.jobs import TrainingJob
from tcf.launch.workers.worker_process import MessageChannel, run_conversation
from tcf.train.run.epoch_log import Epoch
from tcf.train.stage import train

__all__ = ["main"]

logger = logging.getLogger(__name__)


class _TrialPrunedError(Exception):
    """The parent process has pruned the trial."""


def main() -> None:
    """Train the trials that arrive as messages."""
    run_conversation(_train_trials)


def _train_trials(channel: MessageChannel) -> None:
    while True:
        channel.send(_train(TrainingJob.from_message(channel.receive()), channel))
        gc.collect()  # before the next run asks for memory
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _train(job: TrainingJob, channel: MessageChannel) -> dict[str, Any]:
    """Train a trial's run; returns the final message."""

    def report(epoch: Epoch, goes_on: bool) -> None:
        channel.send({"epoch": epoch.number, "value": epoch.metrics[job.config.monitor], "goes_on": goes_on})
        if not channel.receive()["go_on"]:
            raise _TrialPrunedError

    if job.threads:
        torch.set_num_threads(job.threads)
    logger.info(f"{job.out}")
    try:
        result = train(data=job.data, caches=job.caches, out=job.out, config=job.config, watch=report)
    except _TrialPrunedError:
        return {"ended": "pruned"}
    except (ConfigError, DivergedError, torch.OutOfMemoryError) as error:
        return {"ended": "failed", "reason": " ".join(str(error).split())}
    except TcfError as error:
        return {"ended": "refused", "reason": " ".join(str(error).split())}
    return {"ended": "trained", "facts": result.metadata}
