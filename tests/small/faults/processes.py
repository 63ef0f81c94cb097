"""Commands in processes of their own, which can be killed, stopped and woken; each is a copy of one that has imported
everything."""

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from small.faults.typed import Typed

__all__ = ["Moment", "Running", "apart", "ended", "start"]

_PRELOADED = (
    "tcf.commands.app tcf.api.training tcf.api.evaluation tcf.api.extraction tcf.evaluate.stage tcf.data.prepare "
    "tcf.data.raw.study.read_study tcf.data.cache.merge tcf.data.cache.export tcf.encoders.convert.convert duckdb "
    "faiss pandas pyarrow.dataset pydantic small.faults.typed tensorboard.summary.writer.event_file_writer accelerate "
    "transformers.models.opt.modeling_opt transformers.models.gpt2.tokenization_gpt2"
).split()
_PATIENCE = 120.0


@dataclass(frozen=True)
class Moment:
    """When a process is hit by a signal.

    Attributes:
        event: which file below the working directory that is opened for writing or renamed, counted from 1; 0 for none.
        by: the signal, which comes before the file is opened or renamed.
        name: a part of the path of files that count.
    """

    event: int = 0
    by: signal.Signals = signal.SIGKILL
    name: str = ""


@dataclass
class Running:
    """A command in a process of its own.

    Attributes:
        process: the process.
        streams: what it prints, and what it says.
    """

    process: Any
    streams: tuple[Path, Path]

    def wake(self) -> None:
        os.kill(self.process.pid, signal.SIGCONT)

    def until_stopped(self) -> None:
        """Wait until it is stopped."""
        ends = time.monotonic() + _PATIENCE
        while self._state() != "T":
            assert self.process.is_alive() and time.monotonic() < ends, self.streams[1].read_text()
            time.sleep(0.01)

    def end(self) -> Typed:
        """Wait for its end."""
        self.process.join(_PATIENCE)
        assert self.process.exitcode is not None, "it hangs"
        printed, said = (stream.read_text(errors="replace") for stream in self.streams)
        for stream in self.streams:
            stream.unlink()
        return Typed(self.process.exitcode, printed, said)

    def _state(self) -> str:
        return Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()[0]


def start(line: str, root: Path, moment: Moment | None = None) -> Running:
    """Start `tcf` with this line in a folder whose `home` is `TCF_HOME`."""
    streams = (_unused(root.parent / f"{root.name}.out"), _unused(root.parent / f"{root.name}.err"))
    process = _context().Process(target=_command, args=(line, root, moment or Moment(), streams))
    process.start()
    return Running(process, streams)


def ended(line: str, root: Path, moment: Moment | None = None) -> Typed:
    """Run it to its end, or until it is hit."""
    return start(line, root, moment).end()


def apart(work: Callable[..., None], *arguments: Any) -> int:
    """Call a function of a module in such a process; returns its exit status."""
    process = _context().Process(target=work, args=arguments)
    process.start()
    process.join(_PATIENCE)
    return process.exitcode if process.exitcode is not None else -1


def _context() -> Any:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    return context


def _unused(path: Path) -> Path:
    number = 0
    while (found := path.with_name(f"{path.name}{number}")).exists():
        number += 1
    found.touch()
    return found


def _command(line: str, root: Path, moment: Moment, streams: tuple[Path, Path]) -> None:
    for number, path in enumerate(streams, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_APPEND), number)
    os.chdir(root)
    os.environ["TCF_HOME"] = str(root / "home")
    events = 0

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal events
        if _written(event, arguments, root, moment.name):
            events += 1
            if events == moment.event:
                os.kill(os.getpid(), moment.by)

    if moment.event:
        sys.addaudithook(watch)
    from tcf.cli import main

    sys.argv = ["tcf", *line.split()]
    main()


def _written(event: str, arguments: tuple[Any, ...], root: Path, name: str) -> bool:
    match event, arguments:
        case ("open", (path, _, int(flags))) if flags & (os.O_WRONLY | os.O_RDWR) and not isinstance(path, int):
            place = os.fsdecode(path)
        case ("os.rename", (_, path, *_)):
            place = os.fsdecode(path)
        case _:
            return False
    return (root / place).is_relative_to(root) and name in place
