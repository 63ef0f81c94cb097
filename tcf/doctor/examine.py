"""The report of `tcf doctor`, as JSON values and as text."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tcf.common.errors import ConfigError
from tcf.common.files import home
from tcf.common.output.folders import real_path
from tcf.common.text_table import text_table
from tcf.common.units import as_bytes
from tcf.doctor.entries import Entry
from tcf.doctor.home_folder import DAMAGED, inspect_home
from tcf.doctor.installation import FaissBuild, Installation, inspect_installation
from tcf.doctor.machine import Machine, inspect_machine
from tcf.doctor.work_folder import inspect_folder

__all__ = ["Examination", "entry_values", "examine", "list_entries", "render_entries"]


@dataclass(frozen=True)
class Examination:
    """The report.

    Attributes:
        installation: versions, GPUs and FAISS.
        machine: processor, memory and disks.
        home: the folder for downloads.
        stored: its content.
        found: datasets, caches, runs and the like below other folders, by folder.
    """

    installation: Installation
    machine: Machine
    home: Path
    stored: Sequence[Entry]
    found: dict[Path, list[Entry]]

    @property
    def problems(self) -> list[str]:
        """One line per problem: what is wrong and what to do."""
        damaged = [
            f"{entry.path}: {entry.state}; run `tcf doctor --clean {entry.group}`; it is downloaded again when needed"
            for entry in self.stored
            if entry.state.startswith(DAMAGED)
        ]
        return [*self.installation.problems, *self.machine.problems, *damaged]

    def as_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        installation, machine = asdict(self.installation), asdict(self.machine)
        installation.pop("problems")
        machine.pop("problems")
        return {
            **installation,
            "machine": machine,
            "home": self.home,
            "stored": [entry_values(entry) for entry in self.stored],
            "found": {str(folder): [entry_values(entry) for entry in found] for folder, found in self.found.items()},
            "problems": self.problems,
        }

    def summary(self) -> str:
        """The report as text; problems come last."""
        versions = (f"  {name} {version or 'not installed'}" for name, version in self.installation.versions.items())
        parts = [
            "\n".join(["versions", *versions]),
            "\n".join(["devices", *_devices(self.installation, self.machine)]),
            "\n".join(["memory and disk", *_room(self.machine)]),
            render_entries(f"stored by tcf in {self.home} (TCF_HOME)", self.stored),
            *(render_entries(f"found in {folder}", found) for folder, found in self.found.items()),
            *(f"note: {note}" for note in self.installation.notes),
            "\n".join([f"problem: {problem}" for problem in self.problems] or ["no problems found"]),
        ]
        return "\n\n".join(parts)


def examine(folders: Sequence[Path]) -> Examination:
    """Inspect the installation, the machine, the folder for downloads, and other folders.

    Args:
        folders: where to look for datasets, caches and runs.

    Raises:
        ConfigError: a folder does not exist.
    """
    stored, found = list_entries(folders)
    return Examination(inspect_installation(), inspect_machine([home(), Path.cwd()]), home(), stored, found)


def list_entries(folders: Sequence[Path]) -> tuple[list[Entry], dict[Path, list[Entry]]]:
    """The entries in the folder for downloads, and those below other folders.

    Raises:
        ConfigError: a folder does not exist.
    """
    for folder in folders:
        if not folder.is_dir():
            found = "a file" if folder.exists() else "nothing"
            raise ConfigError(f"{folder}: expected a folder, found {found}; check the path")
    stored = inspect_home(home())
    return stored, _listed_once(folders, {real_path(entry.path) for entry in stored})


def _listed_once(folders: Sequence[Path], seen: set[Path]) -> dict[Path, list[Entry]]:
    """List what is below each folder, without what is in `seen` or below an earlier one: they may be nested."""
    listed = {}
    for folder in folders:
        entries = inspect_folder(folder)
        new = [entry for entry in entries if real_path(entry.path) not in seen]
        if new or not entries:
            listed[folder] = new
        seen = seen | {real_path(entry.path) for entry in entries}
    return listed


def entry_values(entry: Entry) -> dict[str, Any]:
    """An entry as JSON values."""
    return {
        "path": entry.path,
        "kind": entry.kind,
        "bytes": entry.bytes,
        "state": entry.state,
        "clean": entry.group,
    }


def render_entries(head: str, entries: Sequence[Entry]) -> str:
    """Format entries as a table, under a line with the heading and the total size."""
    total = as_bytes(sum(entry.bytes for entry in entries))
    if not entries:
        return f"{head}: nothing"
    sizes = [as_bytes(entry.bytes) for entry in entries]
    width = max(map(len, sizes))
    rows = [
        [f"  {size.rjust(width)}", entry.kind, entry.state, str(entry.path)]
        for entry, size in zip(entries, sizes, strict=True)
    ]
    return f"{head}: {total}\n{text_table(rows)}"


def _devices(installation: Installation, machine: Machine) -> list[str]:
    lines = [f"  cpu: {machine.processor}, {machine.usable_cores:,} of {machine.cores:,} cores usable"]
    for device in installation.cuda_devices:
        lines.append(f"  {device.name}: {device.model}, {as_bytes(device.memory_bytes)}")
    if not installation.cuda_devices:
        lines.append("  no GPU that torch can use")
    driver = installation.driver or "none"
    lines.append(f"  NVIDIA driver: {driver}; torch is built for CUDA: {installation.torch_cuda or 'no'}")
    return [*lines, f"  FAISS: {_faiss(installation.faiss)}"]


def _faiss(build: FaissBuild | None) -> str:
    if build is None:
        return "none"
    where = f"built for GPUs, sees {build.gpus:,}" if build.gpu else "built for the CPU"
    return f"{where}; compile options: {build.options or 'none'}"


def _room(machine: Machine) -> list[str]:
    limited = machine.memory_limit_bytes < machine.memory_bytes
    limit = f"; limited to {as_bytes(machine.memory_limit_bytes)} by the container" if limited else ""
    memory = f"{as_bytes(machine.memory_available_bytes)} of {as_bytes(machine.memory_bytes)} available{limit}"
    disks = [
        f"  {disk.path}: {as_bytes(disk.free_bytes)} of {as_bytes(disk.total_bytes)} free" for disk in machine.disks
    ]
    return [f"  memory: {memory}", *disks]
