"""A worker that evaluates runs and baselines one after the other, as its parent process requests.

The parent sends `EvaluationJob`s of one command. For each, the worker sends what is to be said of it, and how it ended.
"""

import logging

import torch

from tcf.common.devices import resolve_device
from tcf.common.errors import TcfError
from tcf.config.evaluate import Baseline
from tcf.config.typed_values import typed
from tcf.evaluate.batch.batch import failure_words
from tcf.evaluate.batch.requests import BaselineRequest, Request, RunRequest, evaluated
from tcf.evaluate.finished_run import read_finished_run
from tcf.evaluate.lists.list_vectors import open_list_vectors
from tcf.evaluate.stage import Evaluator
from tcf.launch.workers.jobs import EvaluationJob
from tcf.launch.workers.worker_process import MessageChannel, run_conversation
from tcf.train.run.open_inputs import OpenInputs

__all__ = ["main"]


def main() -> None:
    """Evaluate what arrives as messages."""
    run_conversation(_evaluate_all)


def _evaluate_all(channel: MessageChannel) -> None:
    logging.getLogger("tcf").addHandler(_ToParent(channel))
    logging.getLogger("tcf.progress").setLevel(logging.WARNING)  # the parent shows that of all workers
    evaluator: Evaluator | None = None
    while True:
        job = EvaluationJob.from_message(channel.receive())
        if evaluator is None:
            _use(job)
            evaluator = Evaluator(job.config, OpenInputs(job.config.verify), open_list_vectors(job.vectors, job.config))
        try:
            evaluated(_request(job), evaluator)
        except TcfError as error:
            channel.send({"ended": "failed", "reason": failure_words(error)})
        else:
            channel.send({"ended": "evaluated"})


def _use(job: EvaluationJob) -> None:
    """Take this worker's share of the processor, and its device."""
    torch.set_num_threads(job.threads)
    device = resolve_device(job.config.device)
    if device.type == "cuda":
        torch.cuda.set_device(device)  # otherwise each process would also take memory on the first device


def _request(job: EvaluationJob) -> Request:
    name = job.out.name
    if job.baseline:
        return BaselineRequest(name, job.out, typed(job.baseline, Baseline, "baseline"), job.source, job.seed)
    return RunRequest(name, job.out, read_finished_run(job.source, data=job.data, caches=job.caches))


class _ToParent(logging.Handler):
    """Sends notes and warnings to the parent process, which says them above its progress."""

    def __init__(self, channel: MessageChannel) -> None:
        super().__init__()
        self._channel = channel

    def emit(self, record: logging.LogRecord) -> None:
        self._channel.send({"said": self.format(record), "level": record.levelno})
