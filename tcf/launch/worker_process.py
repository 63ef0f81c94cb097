"""The inside of a worker: its messages, its error report, and its end when the process that started it ends.

Standard input carries the messages to it, a JSON object a line, the first of which is its job; it is open for as long
as the process that started the worker lives. The error report is a JSON object in the file that an environment variable
names; where that cannot be written, the error goes to standard error.
"""

import json
import os
import queue
import signal
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

from tcf.common.errors import TcfError
from tcf.common.logs import configure_as_parent, write_text
from tcf.launch.jobs import Job, decode_message, encode_message

__all__ = ["REPORT_VARIABLE", "MessageChannel", "run_conversation", "run_job"]

REPORT_VARIABLE = "TCF_ERROR_REPORT"
_PATIENCE = 5.0  # seconds for cleaning up, once the process that started this one has gone
_Job = TypeVar("_Job", bound=Job)


@dataclass(frozen=True)
class MessageChannel:
    """The messages of a worker that converses.

    Attributes:
        descriptor: where its messages go.
    """

    descriptor: int
    _received: "queue.SimpleQueue[dict[str, Any]]" = field(default_factory=queue.SimpleQueue)

    def receive(self) -> dict[str, Any]:
        """Wait for the next message."""
        return self._received.get()

    def send(self, message: Mapping[str, Any]) -> None:
        """Send a message."""
        os.write(self.descriptor, encode_message(message))

    def listen(self, closed: Callable[[], None]) -> None:
        """Receive messages in a thread, which calls `closed` when nobody holds the other end of standard input."""
        threading.Thread(target=self._listen, args=(closed,), daemon=True).start()

    def _listen(self, closed: Callable[[], None]) -> None:
        with open(0, "rb", buffering=0, closefd=False) as stream:
            while (message := decode_message(stream.readline())) is not None:
                self._received.put(message)
        closed()


def run_job(kind: type[_Job], work: Callable[[_Job], None]) -> None:
    """Do one job. Asked to end, or left alone, this process cleans up first.

    An error is reported and not printed: standard error may be that of the command that a user typed.

    Args:
        kind: of the job.
        work: does it.
    """
    configure_as_parent()
    signal.signal(signal.SIGTERM, _exit_on_signal)
    channel = MessageChannel(1)  # nothing is sent
    channel.listen(_terminate_this_process)
    try:
        work(kind.from_message(channel.receive()))
    except TcfError as error:
        _report(_known_class(error), str(error))
        raise SystemExit(2) from None
    except Exception:
        _report(None, traceback.format_exc())
        raise SystemExit(1) from None


def run_conversation(work: Callable[[MessageChannel], None]) -> None:
    """Do what messages say, for as long as there may be any; this process ends at once when there cannot.

    Args:
        work: receives and sends messages, and can be cut off at any moment. What else is printed goes to standard
            error, as does the traceback of a defect, which is reported as well.
    """
    configure_as_parent()
    channel = MessageChannel(os.dup(1))
    os.dup2(2, 1)  # whatever else is printed does not get among the messages
    channel.listen(lambda: os._exit(0))
    try:
        work(channel)
    except Exception:
        _report(None, traceback.format_exc())
        raise


def _report(error: str | None, text: str) -> None:
    report = json.dumps({"error": error, "text": text, "at": time.monotonic()})
    place = os.environ.get(REPORT_VARIABLE)
    if place is not None:
        try:
            Path(place).write_text(report, encoding="utf-8")
            return
        except OSError:
            pass  # no /proc is mounted, say; the error itself must not be lost with its report
    write_text(f"{text}\n")  # also if this process was started by hand


def _known_class(error: TcfError) -> str:
    """The nearest class of an error that the process which started this one knows: one of `tcf.common.errors`."""
    return next(kind.__name__ for kind in type(error).__mro__ if kind.__module__ == TcfError.__module__)


def _exit_on_signal(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _terminate_this_process() -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_PATIENCE)
    os._exit(128 + signal.SIGTERM)
