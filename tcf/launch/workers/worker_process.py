"""The code inside a worker: messages, error report, and ending when the process that started it ends.

Messages arrive on standard input, one JSON object per line, of which the first is the job. Standard input stays open
for as long as the parent process lives. The error report is a JSON object in the file that an environment variable
names; if that cannot be written, the error goes to standard error.
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

from tcf.common.errors import RunError, TcfError, place_error_words
from tcf.common.logs import configure_as_parent, write_text
from tcf.common.untrusted.printable import printable_lines
from tcf.launch.workers.jobs import Job, decode_message, encode_message

__all__ = ["REPORT_VARIABLE", "MessageChannel", "run_conversation", "run_job"]

REPORT_VARIABLE = "TCF_ERROR_REPORT"
_PATIENCE = 5.0  # seconds to clean up after the parent process has gone
_Job = TypeVar("_Job", bound=Job)


@dataclass(frozen=True)
class MessageChannel:
    """The messages of a worker to and from its parent process.

    Attributes:
        descriptor: file descriptor for outgoing messages.
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
        """Receive messages in a thread, which calls `closed` when the other end of standard input is closed."""
        threading.Thread(target=self._listen, args=(closed,), daemon=True).start()

    def _listen(self, closed: Callable[[], None]) -> None:
        with open(0, "rb", buffering=0, closefd=False) as stream:
            while (message := decode_message(stream.readline())) is not None:
                self._received.put(message)
        closed()


def run_job(kind: type[_Job], work: Callable[[_Job], None]) -> None:
    """Run one job. On SIGTERM, or when its parent has gone, this process cleans up and ends.

    An error is reported, not printed: standard error may be that of the user's command.

    Args:
        kind: class of the job.
        work: runs the job.
    """
    configure_as_parent()
    signal.signal(signal.SIGTERM, _exit_on_signal)
    channel = MessageChannel(1)  # for receiving only
    channel.listen(_terminate_this_process)
    try:
        work(kind.from_message(channel.receive()))
    except TcfError as error:
        _report(_known_class(error), str(error))
        raise SystemExit(2) from None
    except OSError as error:
        words = place_error_words(error)
        _report(None if words is None else RunError.__name__, words or traceback.format_exc())
        raise SystemExit(1 if words is None else 2) from None
    except Exception:
        _report(None, traceback.format_exc())
        raise SystemExit(1) from None


def run_conversation(work: Callable[[MessageChannel], None]) -> None:
    """Exchange messages with the parent process; when it has gone, this process ends at once.

    Args:
        work: receives and sends messages, and may be cut off at any moment. Anything printed goes to standard error,
            as does the traceback of a defect, which is also reported.
    """
    configure_as_parent()
    channel = MessageChannel(os.dup(1))
    os.dup2(2, 1)  # keeps anything printed out of the messages
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
            pass  # for example, /proc is not mounted; the error must not be lost with its report
    write_text(f"{printable_lines(text)}\n")  # also if this process was started by hand


def _known_class(error: TcfError) -> str:
    """The nearest class of an error that the parent process knows: one of `tcf.common.errors`."""
    return next(kind.__name__ for kind in type(error).__mro__ if kind.__module__ == TcfError.__module__)


def _exit_on_signal(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _terminate_this_process() -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_PATIENCE)
    os._exit(128 + signal.SIGTERM)
