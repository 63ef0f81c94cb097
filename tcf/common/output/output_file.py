"""Files that users name to be written: new ones, earlier ones of ours, standard output, and devices.

- Nothing there, an empty file, or a file that tcf wrote (`own_files`): written beside it and renamed into place, so
  that readers see all of it or none of it.
- A symbolic link to one of these: what it leads to is written, and the link stays.
- `-` or another name of standard output, a device such as /dev/null, a named pipe: the finished file is copied to it.
- Anything else is somebody else's, and refused before any work.
"""

import errno
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from tcf.common.errors import ConfigError, RunError
from tcf.common.files import check_name, check_place, publishing_file, writing
from tcf.common.output.folders import found_words, real_path
from tcf.common.output.own_files import is_own_file
from tcf.common.untrusted.printable import printable_lines

__all__ = ["check_output_file", "format_by_suffix", "is_standard_output", "is_stream", "output_file"]

_STDOUT = 1
_FORMAT_OF_STREAMS = "csv"


def format_by_suffix(out: Path, known: Sequence[str]) -> str:
    """The format of a file to write, by its suffix: `npy` for `vectors.npy`; CSV for a stream without one.

    Args:
        out: the file.
        known: the formats that can be written.

    Raises:
        ConfigError: the suffix is none of these.
    """
    format = out.suffix.lower().removeprefix(".")
    if format in known:
        return format
    if is_stream(out):
        return _FORMAT_OF_STREAMS
    suffixes = " or ".join(filter(None, (", ".join(f".{name}" for name in known[:-1]), f".{known[-1]}")))
    advice = "change its suffix to one of these" if format else "add one of these to it"
    raise ConfigError(f"--out: expected a file name that ends in {suffixes}, found {out}; {advice}")


def is_standard_output(out: Path) -> bool:
    """Whether this is standard output, by the name `-` or by another one, such as /dev/stdout."""
    if out == Path("-"):
        return True
    try:
        return os.path.samestat(out.stat(), os.fstat(_STDOUT))
    except OSError:
        return False


def is_stream(out: Path) -> bool:
    """Whether this is standard output, a device or a named pipe: content is copied to it, and it stays as it is."""
    if is_standard_output(out):
        return True
    try:
        mode = out.stat().st_mode
    except OSError:
        return False
    return stat.S_ISCHR(mode) or stat.S_ISFIFO(mode)


def check_output_file(out: Path) -> None:
    """Check, before the work starts, that `output_file` can write there.

    Raises:
        RunError: something is there that tcf did not write, or nothing can be created there.
    """
    if is_standard_output(out):
        return
    with writing(out):
        if is_stream(out):
            if not os.access(out, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            return
        check_name(out)
        _refuse_foreign(out)
        check_place(_behind_link(out))


@contextmanager
def output_file(out: Path) -> Iterator[Path]:
    """Yield a temporary path for a file; on a clean exit its content is written to `out`, otherwise `out` is unchanged.

    Raises:
        RunError: something is there that tcf did not write, or it cannot be written.
        OSError: standard output cannot be written.
    """
    if is_stream(out):
        with tempfile.TemporaryDirectory(prefix="tcf-") as folder:
            staging = Path(folder, "output")
            yield staging
            with staging.open("rb") as content:
                _copy(content, out)
        return
    with writing(out):
        check_name(out)
        _refuse_foreign(out)
    with publishing_file(_behind_link(out)) as staging:
        yield staging
        _refuse_foreign(out)  # it may have appeared meanwhile


def _behind_link(out: Path) -> Path:
    return real_path(out) if out.is_symlink() else out


def _refuse_foreign(out: Path) -> None:
    if not os.path.lexists(out):
        return
    if not out.is_symlink() or out.exists():
        if out.is_dir():
            raise RunError(f"{out}: expected a file or an unused path, found a directory; choose a file name")
        if out.is_file() and (not out.stat().st_size or is_own_file(out)):
            return
    elif not os.path.lexists(_behind_link(out)):
        return  # what it leads to will be created
    raise RunError(
        f"{out}: expected an unused path or a file that tcf wrote, found {_words(out)}; remove it or choose another "
        "path"
    )


def _words(out: Path) -> str:
    found = found_words(out)
    return f"{found} that tcf did not write" if found.endswith("a file") else found


def _copy(content: BinaryIO, out: Path) -> None:
    if is_standard_output(out):
        _to_standard_output(content)
        return
    with writing(out), os.fdopen(os.open(out, os.O_WRONLY), "wb") as stream:
        if stream.isatty():
            stream.write(_shown(content).encode())
        else:
            shutil.copyfileobj(content, stream)


def _to_standard_output(content: BinaryIO) -> None:
    buffer = getattr(sys.stdout, "buffer", None)
    if buffer is None or sys.stdout.isatty():
        sys.stdout.write(_shown(content))
    else:
        sys.stdout.flush()
        shutil.copyfileobj(content, buffer)
    sys.stdout.flush()


def _shown(content: BinaryIO) -> str:
    """The content as text for a terminal."""
    return printable_lines(content.read().decode(errors="backslashreplace"))
