"""The entry point of the command line, which reports in one line whatever ends a command early.

It handles signals, full or closed outputs, and errors that the user can fix. Only a few modules of the standard library
are imported before the signal handlers are installed, because the other imports take long enough to press Ctrl-C.
"""

import os
import signal
import sys
from types import FrameType, TracebackType

__all__ = ["main"]

_STDOUT, _STDERR = 1, 2


def main() -> None:
    """Run the command line; an error that the user can fix is one line and exit status 2.

    Raises:
        SystemExit: always, with the exit status.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupted)
    _check_outputs()
    sys.excepthook = _show_defect
    try:
        status = _run()
        sys.stdout.flush()
    except OSError as error:
        status = _unwritable_output(error)
    raise SystemExit(status)


def _run() -> int:
    from tcf.commands.app import run_commands
    from tcf.common.errors import TcfError, place_error_words

    try:
        return run_commands()
    except TcfError as error:
        return _failed(" ".join(str(error).split()))
    except OSError as error:
        reason = place_error_words(error)
        if reason is None:
            raise
        _log_details()
        return _failed(reason)


def _log_details() -> None:
    """Show where in the program the current error was noticed, with --verbose."""
    import logging

    logging.getLogger("tcf").debug("details of the error:", exc_info=True)


def _failed(reason: str) -> int:
    """Print why the command failed, and return its exit status."""
    from contextlib import suppress

    from tcf.common.untrusted.printable import printable

    with suppress(OSError):  # standard error may be full too
        print(f"tcf: error: {printable(reason)}", file=sys.stderr)
    return 2


def _show_defect(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print the traceback of a defect, whose message may contain anything."""
    import traceback

    from tcf.common.untrusted.printable import printable_lines

    print(printable_lines("".join(traceback.format_exception(kind, error, trace))), end="", file=sys.stderr)


def _interrupted(number: int, frame: FrameType | None) -> None:
    # Not print: the signal may have interrupted one, and buffered streams are not reentrant.
    name = signal.Signals(number).name
    os.write(_STDERR, f"tcf: interrupted by {name}; run the same command again to continue\n".encode())
    raise SystemExit(128 + number)


def _check_outputs() -> None:
    """Refuse a closed standard output, and discard messages to a closed standard error.

    Otherwise the next file to be opened would get the descriptor of the closed output, and text would be printed to it.
    """
    if not _is_open(_STDERR):
        os.dup2(os.open(os.devnull, os.O_WRONLY), _STDERR)
        sys.stderr = os.fdopen(_STDERR, "w")
    if not _is_open(_STDOUT):
        reason = (
            "standard output: expected a terminal, file or pipe, found it closed; add `> /dev/null` to discard results"
        )
        raise SystemExit(_failed(reason))


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def _unwritable_output(error: OSError) -> int:
    """Return the exit status after a failed write to standard output; raise an error from elsewhere again."""
    status = 1
    if not isinstance(error, BrokenPipeError):
        try:
            print(flush=True)  # without buffering, only another attempt shows whether this output was the cause
        except OSError:
            status = _failed(
                f"standard output: cannot be written ({error.strerror}); free space there, or write elsewhere"
            )
        else:
            raise error
    # The buffer is flushed once more at exit, so the descriptor must accept it. A closed pipe, as after `head`, is no
    # reason for a message.
    os.dup2(os.open(os.devnull, os.O_WRONLY), _STDOUT)
    return status


if __name__ == "__main__":
    main()
