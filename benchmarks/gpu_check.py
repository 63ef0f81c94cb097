"""Checks of correctness and speed on a GPU, within a quarter of an hour: `make gpu-check`.

    python benchmarks/gpu_check.py                        # one GPU, 9 minutes
    python benchmarks/gpu_check.py --device cpu --small   # a rehearsal of the same code on a CPU, under a minute

Nothing is downloaded: weights are random and drawn on the device, tokenizers are trained on the spot, and checkpoints
are in memory-backed storage where there is any. A part that takes too long is stopped; after a part that failed, the
next one starts in a new process. Correctness comes first, then speed. A table is printed at the end and a JSON file
written; the exit status is 1 if anything is not as expected, or was not reached.

It takes torch from 2.7 on as it finds it, and this repository need not be installed. Besides torch, numpy and pyarrow
it needs accelerate, huggingface_hub (with httpx2, httpcore2 and truststore), safetensors, tokenizers, tomli_w and
transformers in the versions of setup.cfg; where they are older, put wheels of these on PYTHONPATH. With faiss-cpu,
ranking and validation are checked too. pytest, optuna, gguf, polars and duckdb are not needed.
"""

import argparse
import json
import os
import platform
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "benchmarks"), str(ROOT / "tests"), str(ROOT)]

from gpu_parts.part import Finding, Part, Setting  # noqa: E402
from processes import end_orderly  # noqa: E402

_START_SECONDS = 60.0  # of a process, its imports included
_LARGEST = 48 * 2**30  # bytes of checkpoints that a part has at once
# Read by cuBLAS and torch when a process first multiplies, so too late for a part that comes after others.
_ENVIRONMENT = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}


def _families(setting: Setting) -> Iterator[Finding]:
    from gpu_parts.families import check_families

    yield from check_families(setting)


def _host_waits(setting: Setting) -> Iterator[Finding]:
    from gpu_parts.host_waits import check_host_waits

    yield from check_host_waits(setting)


def _schedules(setting: Setting) -> Iterator[Finding]:
    from gpu_parts.schedules import check_schedules

    yield from check_schedules(setting)


def _prefixes(setting: Setting) -> Iterator[Finding]:
    from gpu_parts.schedules import check_prefixes

    yield from check_prefixes(setting)


def _sanitizer(setting: Setting) -> Iterator[Finding]:
    from gpu_parts.schedules import check_sanitized

    yield from check_sanitized(setting)


def _out_of_memory(setting: Setting) -> Iterator[Finding]:
    from gpu_parts.memory import check_out_of_memory

    yield from check_out_of_memory(setting)


def _peaks(setting: Setting) -> Iterator[Finding]:
    from gpu_parts.memory import check_peaks

    yield from check_peaks(setting)


def _training(setting: Setting) -> Iterator[Finding]:
    from gpu_parts.training import check_training

    yield from check_training(setting)


def _lists(setting: Setting) -> Iterator[Finding]:
    from gpu_parts.ranking import check_lists

    yield from check_lists(setting)


def _extraction_speed(setting: Setting) -> Iterator[Finding]:
    from gpu_parts.speed import measure_extraction

    yield from measure_extraction(setting)


def _sweep_speed(setting: Setting) -> Iterator[Finding]:
    from gpu_parts.speed import measure_sweep

    yield from measure_sweep(setting)


def _wide_blocks(setting: Setting) -> Iterator[Finding]:
    from gpu_parts.speed import measure_wide_blocks

    yield from measure_wide_blocks(setting)


def _training_speed(setting: Setting) -> Iterator[Finding]:
    from gpu_parts.training import measure_training

    yield from measure_training(setting)


def _ranking_speed(setting: Setting) -> Iterator[Finding]:
    from gpu_parts.ranking import measure_ranking

    yield from measure_ranking(setting)


PARTS = (
    Part("families", 120, _families),
    Part("host waits", 30, _host_waits),
    Part("schedules", 40, _schedules),
    Part("prefixes", 60, _prefixes),
    Part("sanitizer", 90, _sanitizer),
    Part("out of memory", 40, _out_of_memory),
    Part("peaks", 40, _peaks),
    Part("training", 60, _training),
    Part("lists", 20, _lists),
    Part("extraction speed", 150, _extraction_speed),
    Part("sweep speed", 90, _sweep_speed),
    Part("wide blocks", 40, _wide_blocks),
    Part("training speed", 60, _training_speed),
    Part("ranking speed", 40, _ranking_speed),
)


@dataclass
class _Report:
    """The findings so far.

    Attributes:
        rows: part and finding, in order.
        seconds: duration of each part.
        versions: versions of the libraries, and the device.
    """

    rows: list[tuple[str, Finding]] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def missed(self) -> int:
        return sum(finding.verdict == "missed" for _, finding in self.rows)


def main() -> None:
    """Run the parts, print the table, write the JSON file."""
    options = _options()
    if options.worker:
        _work(options)
        return
    chosen = _chosen(options.parts)
    end_orderly()
    with tempfile.TemporaryDirectory(prefix="tcf-gpu-check-", dir=_memory_backed(options.small)) as scratch:
        report = _run(chosen, options, Path(scratch))
    print(_table(report))
    options.json.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "device": options.device,
        "small": options.small,
        "versions": report.versions,
        "seconds": report.seconds,
        "findings": [{"part": part, **asdict(finding)} for part, finding in report.rows],
    }
    options.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    print(f"{len(report.rows)} findings, {report.missed} missed; written to {options.json}")
    sys.exit(1 if report.missed else 0)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--small", action="store_true", help="tiny models and data, for a rehearsal")
    parser.add_argument("--parts", help=f"some of {', '.join(part.name for part in PARTS)}, separated by commas")
    parser.add_argument("--minutes", type=float, default=9.0, help="time after which no further part is started")
    parser.add_argument("--patience", type=float, default=1.0, help="factor on time limits, for a busy machine")
    parser.add_argument("--json", type=Path, default=Path("build/gpu-check.json"))
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--scratch", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def _chosen(names: str | None) -> Sequence[Part]:
    if names is None:
        return PARTS
    known = {part.name: part for part in PARTS}
    unknown = [name for name in names.split(",") if name not in known]
    if unknown:
        sys.exit(f"--parts: expected some of {', '.join(known)}, found {', '.join(unknown)}")
    return [known[name] for name in names.split(",")]


def _memory_backed(small: bool) -> str | None:
    """A folder in memory; None, for the usual one, where there is none or it is too small."""
    memory = Path("/dev/shm")
    fits = os.access(memory, os.W_OK) and (small or shutil.disk_usage(memory).free >= _LARGEST)
    return str(memory) if fits else None


def _work(options: argparse.Namespace) -> None:
    """Run parts one after the other in this process; findings go to standard output, one JSON object per line."""
    os.environ["TCF_HOME"] = str(options.scratch / "home")  # so that remembered results play no part
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # output of libraries must not reach the parent

    def send(**message: Any) -> None:
        out.write(json.dumps(message) + "\n")

    import torch

    device = torch.device(options.device)
    send(versions=_versions(device))
    for part in _chosen(options.parts):
        send(begin=part.name)
        setting = Setting(device, options.small, options.scratch / part.name.replace(" ", "-"))
        setting.scratch.mkdir(parents=True)
        for finding in part.run(setting):
            send(finding=asdict(finding))
        shutil.rmtree(setting.scratch)
        send(end=part.name)


def _versions(device: Any) -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    import torch

    found = {"python": platform.python_version(), "device": device.type}
    for name in (
        "torch",
        "triton",
        "transformers",
        "huggingface_hub",
        "accelerate",
        "tokenizers",
        "safetensors",
        "pyarrow",
        "numpy",
        "faiss-cpu",
    ):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        found |= {
            "device": f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB",
            "cuda": str(torch.version.cuda),
        }
        found["cudnn"] = str(torch.backends.cudnn.version())  # type: ignore[no-untyped-call]
    return found


def _run(parts: Sequence[Part], options: argparse.Namespace, scratch: Path) -> _Report:
    """Run parts in a process; after one that fails or exceeds its limit, continue with the next in a new process."""
    report, left, ends = _Report(), list(parts), time.monotonic() + 60 * options.minutes
    attempt = 0
    while left:
        if time.monotonic() >= ends:
            for part in left:
                _add(report, part.name, Finding("whole part", "not started: no time left", "run", "missed"))
            break
        attempt += 1
        place = scratch / str(attempt)
        place.mkdir()
        _attend(left, options, place, report, ends)
        shutil.rmtree(place)
    return report


def _attend(left: list[Part], options: argparse.Namespace, place: Path, report: _Report, ends: float) -> None:
    """Start a process for the remaining parts, and follow it until it finishes or has to be killed."""
    command = [sys.executable, __file__, "--worker", "--device", options.device, "--scratch", str(place)]
    command += ["--parts", ",".join(part.name for part in left), *(["--small"] if options.small else [])]
    log = place / "log"
    with log.open("wb") as errors:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, start_new_session=True, env={**_ENVIRONMENT, **os.environ}
        )
    try:
        _follow(process, left, options, log, report, ends)
    finally:
        with suppress(ProcessLookupError):  # with the processes that it started
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _follow(
    process: subprocess.Popen[bytes],
    left: list[Part],
    options: argparse.Namespace,
    log: Path,
    report: _Report,
    ends: float,
) -> None:
    """Take down what a process finds, until it is through, ends or takes too long."""
    lines: queue.Queue[str | None] = queue.Queue()
    threading.Thread(target=_read, args=(process, lines), daemon=True).start()
    began, limit = time.monotonic(), _START_SECONDS
    while left:
        try:
            line = lines.get(timeout=max(0.0, min(began + limit, ends) - time.monotonic()))
        except queue.Empty:
            _add(
                report,
                left[0].name,
                Finding("whole part", f"ended after {time.monotonic() - began:.0f} s", "in time", "missed"),
            )
            left.pop(0)
            break
        if line is None:
            _add(report, left[0].name, Finding("whole part", _last_words(log), "finished", "missed"))
            left.pop(0)
            break
        match json.loads(line):
            case {"versions": versions}:
                report.versions = versions
            case {"begin": _}:
                began, limit = time.monotonic(), options.patience * left[0].seconds
            case {"finding": finding}:
                _add(report, left[0].name, Finding(**finding))
            case {"end": name}:
                report.seconds[name] = round(time.monotonic() - began, 1)
                left.pop(0)
                began, limit = time.monotonic(), _START_SECONDS


def _read(process: subprocess.Popen[bytes], lines: "queue.Queue[str | None]") -> None:
    assert process.stdout is not None
    for line in process.stdout:
        lines.put(line.decode())
    lines.put(None)


def _add(report: _Report, part: str, finding: Finding) -> None:
    report.rows.append((part, finding))
    print(f"{finding.verdict:7} {part}: {finding.what}: {finding.found}", file=sys.stderr, flush=True)


def _last_words(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1][:300] if lines else "the process ended without a message"


def _table(report: _Report) -> str:
    """All findings as a Markdown table, below the versions and the device."""
    from processes import table

    rows = [[part, f.what, f.found, f.expected, f.verdict] for part, f in report.rows]
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    return f"{versions}\n\n{table(['part', 'what', 'found', 'expected', 'verdict'], rows)}\n"


if __name__ == "__main__":
    main()
