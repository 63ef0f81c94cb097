"""The entry point of the command line: from the first moment on, whatever ends it early is told in one line.

Signals, outputs that are full or closed, and errors that a user can mend are seen to here. Nothing but a few modules of
the standard library is imported before that, since imports take time in which a user may press Ctrl-C.
"""

import os
import signal
import sys
from types import FrameType

__all__ = ["main"]

_STDOUT, _STDERR = 1, 2


def main() -> None:
    """Run the command line; an error that the user can mend is one line and exit status 2.

    Raises:
        SystemExit: always, with the exit status.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupted)
    _check_outputs()
    try:
        status = _run()
        sys.stdout.flush()
    except OSError as error:
        status = _unwritable_output(error)
    raise SystemExit(status)


def _run() -> int:
    from tcf.commands.app import run_commands
    from tcf.common.errors import TcfError

    try:
        return run_commands()
    except TcfError as error:
        return _failed(" ".join(str(error).split()))


def _failed(reason: str) -> int:
    """Say why the command ends; returns its exit status."""
    print(f"tcf: error: {reason}", file=sys.stderr)
    return 2


def _interrupted(number: int, frame: FrameType | None) -> None:
    # Not print: the signal may have come in the middle of one, and buffered streams refuse a second.
    os.write(_STDERR, f"tcf: interrupted by {signal.Signals(number).name}; run the same command again\n".encode())
    raise SystemExit(128 + number)


def _check_outputs() -> None:
    """Refuse a closed standard output; messages to a closed standard error are dropped.

    Otherwise the next file that is opened would take the place of the closed one, and what is printed would go there.
    """
    if not _is_open(_STDERR):
        os.dup2(os.open(os.devnull, os.O_WRONLY), _STDERR)
        sys.stderr = os.fdopen(_STDERR, "w")
    if not _is_open(_STDOUT):
        reason = (
            "standard output: expected a terminal, file or pipe, found it closed; add `> /dev/null` to drop results"
        )
        raise SystemExit(_failed(reason))


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def _unwritable_output(error: OSError) -> int:
    """The exit status if results could not be printed; any other error of the system is raised again."""
    status = 1
    if not isinstance(error, BrokenPipeError):
        try:
            print(flush=True)  # where nothing is buffered, only another try tells whether it was this output
        except OSError:
            status = _failed(
                f"standard output: cannot be written ({error.strerror}); free space there, or write elsewhere"
            )
        else:
            raise error
    # What is still in the buffer has to go somewhere at the end of the process; a reader that has gone, such as `head`,
    # is told nothing.
    os.dup2(os.open(os.devnull, os.O_WRONLY), _STDOUT)
    return status


if __name__ == "__main__":
    main()
