"""The cost of evaluating many runs in one command, compared with the sum of their rankings.

    python benchmarks/evaluate_runs.py --runs searches/text/trials/0000 searches/id/trials/0000 --number 100

The runs are copied in turn until there are as many as requested, and all copies are evaluated in one call: opening,
verifying, ranking, writing. A ranking is what no command can do without: the users' states, and the rank of every
target. Imports of libraries count for the command. The exit status is 1 if the command takes more than the expected
multiple of the rankings.
"""

import time

BEGAN = time.perf_counter(), time.process_time()

import argparse  # noqa: E402
import contextlib  # noqa: E402
import cProfile  # noqa: E402
import os  # noqa: E402
import shutil  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
from collections.abc import Iterator, Sequence  # noqa: E402
from dataclasses import dataclass, field  # noqa: E402
from pathlib import Path  # noqa: E402

from processes import expect, table  # noqa: E402

from tcf.common.progress import Progress  # noqa: E402
from tcf.config.evaluate import EvaluateConfig  # noqa: E402
from tcf.evaluate.batch.batch import plan_batch  # noqa: E402
from tcf.evaluate.stage import Evaluator  # noqa: E402
from tcf.train.run.open_inputs import OpenInputs  # noqa: E402
from tcf.train.run.recorded_run import read_run  # noqa: E402


@dataclass
class Stopwatch:
    """Wall and CPU seconds of steps, by name."""

    spent: dict[str, list[float]] = field(default_factory=dict)

    def step(self, name: str, users: int) -> Progress:
        """Measure a step, in place of showing its progress."""
        return _Measured(name, users, self)

    def add(self, name: str, wall: float, cpu: float) -> None:
        """Count a step."""
        before = self.spent.get(name, [0.0, 0.0])
        self.spent[name] = [before[0] + wall, before[1] + cpu]

    @contextlib.contextmanager
    def measure(self, name: str) -> Iterator[None]:
        """Measure a block."""
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        self.add(name, time.perf_counter() - wall, time.process_time() - cpu)


class _Measured(Progress):
    def __init__(self, name: str, users: int, stopwatch: Stopwatch) -> None:
        super().__init__(name, users, "users", hidden_for=float("inf"))
        self._measured = stopwatch.measure(name)

    def __enter__(self) -> "_Measured":
        self._measured.__enter__()
        return super().__enter__()

    def __exit__(self, *raised: object) -> None:
        self._measured.__exit__(None, None, None)


def main() -> None:
    """Measure and print."""
    options = _options()
    stopwatch = Stopwatch()
    stopwatch.add("imports", time.perf_counter() - BEGAN[0], time.process_time() - BEGAN[1])
    with tempfile.TemporaryDirectory(prefix="tcf-benchmark-", dir=options.folder) as scratch:
        runs = _copies(options.runs, Path(scratch, "runs"), options.number)
        with cProfile.Profile() if options.profile else contextlib.nullcontext() as profile:
            _evaluate(runs, Path(scratch, "evaluations"), stopwatch)
    if profile is not None:
        profile.dump_stats(options.profile)
    sys.exit(0 if _print(stopwatch, len(runs), options.expect) else 1)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, nargs="+", required=True, help="finished runs")
    parser.add_argument("--number", type=int, default=100, help="of evaluations")
    parser.add_argument("--folder", type=Path, help="for temporary files, on a disk")
    parser.add_argument("--profile", type=Path, help="write a profile of the command")
    parser.add_argument("--expect", type=float, help="most that the command may take, as a multiple of the rankings")
    return parser.parse_args()


def _copies(runs: Sequence[Path], folder: Path, number: int) -> list[Path]:
    """Copy runs in turn, with links at the recorded places of their inputs."""
    copies = []
    for place in range(number):
        run = runs[place % len(runs)]
        copy = folder / f"{place % len(runs)}" / "runs" / f"{place:04}"
        shutil.copytree(run, copy, ignore=shutil.ignore_patterns("optimizer*", "state*", "*.log"))
        recorded = read_run(run)
        for found in (recorded.data, *recorded.caches):
            link = Path(os.path.normpath(copy / os.path.relpath(found, run)))
            link.parent.mkdir(parents=True, exist_ok=True)
            if not link.exists():
                link.symlink_to(found.resolve())
        copies.append(copy)
    return copies


def _evaluate(runs: Sequence[Path], out: Path, stopwatch: Stopwatch) -> None:
    config = EvaluateConfig(device="cpu")
    with stopwatch.measure("command"):
        evaluator = Evaluator(config, OpenInputs(), progress=stopwatch.step)
        batch = plan_batch(runs, [], out=out, evaluator=evaluator)
        batch.evaluate_all(evaluator)
        result = batch.result()
        result.check()
        text = repr(result.table)
    print("\n".join(text.splitlines()[:4]))


def _print(stopwatch: Stopwatch, number: int, most: float | None) -> bool:
    spent = stopwatch.spent
    ranking = [sum(spent[f"evaluate: {step}"][kind] for step in ("states", "ranking")) for kind in (0, 1)]
    whole = [spent["command"][kind] + spent["imports"][kind] for kind in (0, 1)]
    rows = [(name, f"{wall:.2f}", f"{cpu:.2f}") for name, (wall, cpu) in spent.items()]
    print(table(("step", "seconds", "CPU seconds"), rows))
    rest = [(all_of_it - part) / number for all_of_it, part in zip(whole, ranking, strict=True)]
    print(f"besides the rankings, {rest[0]:.3f} s an evaluation ({rest[1]:.3f} s CPU)")
    ratio = whole[0] / ranking[0]
    print(f"{number} evaluations take {ratio:.3f} of their rankings ({whole[1] / ranking[1]:.3f} in CPU seconds)")
    return most is None or expect(ratio <= most, f"at most {most} of the rankings", f"{ratio:.3f}")


if __name__ == "__main__":
    main()
