"""Programs that are killed at a chosen moment of what they write."""

import multiprocessing
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tcf

__all__ = ["PRELOADED", "Ended", "killed_at_rename", "run_command", "run_program"]

# Imported once, in the process whose copies the commands are; the first that asks for it decides what it imports.
PRELOADED = [
    *("torch", "transformers.models.opt.modeling_opt", "accelerate", "pyarrow.parquet", "faiss"),
    *("tensorboard.summary.writer.event_file_writer", "tcf.launch.extract_on_devices", "tcf.launch.train_on_devices"),
]
# Kills the process right before the n-th rename below a folder.
HOOK = """
import os, signal, sys
renames = 0
def watch(event, arguments):
    global renames
    if event == "os.rename" and str(arguments[1]).startswith(sys.argv[1]):
        renames += 1
        if renames == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(watch)
"""


def run_program(program: str, *arguments: object) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "PYTHONPATH": str(Path(tcf.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def killed_at_rename(program: str, folder: Path, number: int) -> bool:
    """Run a program, kill it right before its n-th rename below a folder; False where it ended well before that."""
    done = run_program(HOOK + program, folder, number)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode != 0


@dataclass(frozen=True)
class Ended:
    """A command that has come to its end.

    Attributes:
        status: its exit status; of one that was killed, the signal's number below zero.
        printed: on standard output.
        said: on standard error.
    """

    status: int
    printed: str
    said: str


def run_command(
    *words: object, folder: Path, hit: int = 0, by: signal.Signals = signal.SIGKILL, home: Path | None = None
) -> Ended:
    """Run `tcf` with these words in a process of its own, hit by a signal right before its n-th rename below a folder.

    The process is a copy of one that has imported the large libraries already. It says at its end how often it renamed
    something there, unless it was killed.

    Args:
        words: what is typed after `tcf`.
        folder: where renames count, and where files with what the command says are kept for a moment.
        hit: which rename; 0 for none.
        by: the signal.
        home: what `TCF_HOME` is for it, if something else than usual.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    streams = [folder.with_name(f"{folder.name}.{name}") for name in ("out", "err")]
    process = context.Process(target=_command, args=([*map(str, words)], folder, hit, by, streams, home))
    process.start()
    process.join()
    printed, said = (stream.read_text() for stream in streams)
    for stream in streams:
        stream.unlink()
    return Ended(process.exitcode or 0, printed, said)


def _command(
    words: list[str], folder: Path, hit: int, by: signal.Signals, streams: list[Path], home: Path | None
) -> None:
    for number, path in enumerate(streams, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666), number)
    if home is not None:
        os.environ["TCF_HOME"] = str(home)
    from tcf.cli import main

    renames = 0

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal renames
        if event == "os.rename" and str(arguments[1]).startswith(f"{folder}/"):
            renames += 1
            if renames == hit:
                os.kill(os.getpid(), by)

    sys.addaudithook(watch)
    sys.argv = ["tcf", *words]
    try:
        main()
    finally:
        print(f"renames: {renames}", file=sys.stderr)
