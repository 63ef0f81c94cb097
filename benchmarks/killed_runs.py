"""An extraction that is killed in the middle of a sweep, in a memory control group, and then resumed."""

import re
import signal
import sys
from dataclasses import dataclass
from functools import partial

from checkpoints import Checkpoint
from groups import Group, control_group
from processes import Ended, expect, mib, table
from tcf_commands import Commands

__all__ = ["kill_and_resume"]

_BLOCK = re.compile(r"\(block (\d+)/\d+\)")


@dataclass(frozen=True)
class _Run:
    """A process in a group.

    Attributes:
        name: name in the table.
        ended: the process.
        group_peak: peak memory of the group in bytes, page cache included.
        read: bytes that it read from disk.
        kills: number of processes that the kernel killed because memory ran out.
    """

    name: str
    ended: Ended
    group_peak: int
    read: int
    kills: int

    @property
    def row(self) -> list[str]:
        """The row of the table."""
        row = [self.name, f"{self.ended.seconds:.0f}", mib(self.ended.peak), mib(self.group_peak)]
        return [*row, f"{self.read / 1e9:.2f}", str(self.ended.status)]


def kill_and_resume(checkpoint: Checkpoint, commands: Commands, memory: int, kill_at: int) -> bool:
    """Kill an extraction, resume it, and print both runs.

    Args:
        checkpoint: the model.
        commands: commands with `--checkpoint-layers`.
        memory: memory limit of the group in bytes.
        kill_at: block, counted from 1, at which the process is killed.

    Returns:
        Whether it resumed from its checkpoint, and both runs stayed within the limit.
    """
    with control_group(memory, commands.folder) as group:
        planned = commands.plan(group)
    if planned.macro_batches != 1:
        sys.exit(f"expected one macro-batch, found {planned.macro_batches} planned; pass fewer --items")
    with control_group(memory, commands.folder) as group:
        ended, _ = commands.extract(group, kill=partial(_has_come_to, kill_at, commands))
        first = _in_group("killed", ended, group)
    saved = _saved(commands)
    if ended.status != -signal.SIGKILL or first.kills or saved == 0:
        sys.exit(
            f"expected a process killed by this benchmark after a block was saved, found status {ended.status}, "
            f"{first.kills} kills because memory ran out, block {saved} saved; the end of the log:\n{_end(ended)}"
        )
    with control_group(memory, commands.folder) as group:
        ended, measured = commands.extract(group)
        second = _in_group("resumed", ended.expect(), group)
    columns = ["run", "seconds", "peak anonymous + shared, MiB", "group's peak, MiB", "read from disk, GB", "status"]
    plan = ["planned, without the kill", f"{planned.seconds:.0f}", mib(planned.peak), "-"]
    print(f"\n{table(columns, [[*plan, f'{planned.weight_bytes / 1e9:.2f}', '-'], first.row, second.row])}\n")
    print(f"resumed run: {measured.load_seconds:.1f} s to load the model, then {measured.seconds:.1f} s")
    return all(
        [
            _resumed(checkpoint, saved, measured.weight_bytes or 0),
            *(_stayed(run, memory, planned.peak) for run in (first, second)),
        ]
    )


def _in_group(name: str, ended: Ended, group: Group) -> _Run:
    return _Run(name, ended, group.peak or 0, group.read_bytes, group.kills)


def _has_come_to(block: int, commands: Commands) -> bool:
    """Whether the log or the checkpoint shows that a block was reached; log lines are ten seconds apart."""
    if not commands.log.is_file():
        return False
    logged = [int(number) for number in _BLOCK.findall(commands.log.read_text(encoding="utf-8", errors="replace"))]
    # With a checkpoint before block N, counted from 0, N blocks are done and the next is being computed.
    return max([*logged, _saved(commands) + 1]) >= block


def _saved(commands: Commands) -> int:
    """The block from which a new process would resume, counted from 0; 0 without a checkpoint."""
    places = commands.folder.glob(f".{commands.cache.name}.*.sweep/**/block-*/manifest.json")
    return max((int(place.parent.name.removeprefix("block-")) for place in places), default=0)


def _resumed(checkpoint: Checkpoint, saved: int, read: int) -> bool:
    """Whether the second run read only the weights outside the blocks and those from the saved block on."""
    expected, everything = checkpoint.nbytes(first_block=saved), checkpoint.nbytes()
    blocks = checkpoint.geometry.blocks
    print(
        f"the checkpoint resumes at block {saved + 1} of {blocks}; the second run read {read:,} bytes of weights; "
        f"those outside the blocks and of blocks {saved + 1} to {blocks} are {expected:,} of {everything:,}"
    )
    return expect(read == expected, f"{expected} bytes of weights read by the second run", f"{read}")


def _stayed(run: _Run, memory: int, planned: int) -> bool:
    fine = run.kills == 0 and 0 < run.group_peak <= memory and run.ended.peak <= memory
    print(f"{run.name}: peak anonymous + shared memory {run.ended.peak / planned:.3f} of the planned peak")
    return expect(fine, f"{run.name}: a peak within {memory} bytes", f"{run.group_peak}, {run.kills} kills")


def _end(ended: Ended) -> str:
    return "\n".join(ended.log.read_text(encoding="utf-8", errors="replace").splitlines()[-10:])
