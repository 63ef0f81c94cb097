"""A small worker that converses: it sends every message back, with its process id."""

import os

from tcf.launch.workers.worker_process import MessageChannel, run_conversation

__all__ = ["main"]


def main() -> None:
    """Send every message back; one that asks for it is printed, or is a defect, instead."""
    run_conversation(_echo)


def _echo(channel: MessageChannel) -> None:
    while True:
        message = channel.receive()
        if "print" in message:
            print(message["print"], flush=True)
        elif "defect" in message:
            raise KeyError(message["defect"])
        else:
            channel.send({"pid": os.getpid(), **message})
