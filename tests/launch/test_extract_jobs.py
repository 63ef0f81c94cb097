"""What the processes of other devices are given to do, without starting any."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from small.extract.devices import CONFIG, Work, made_work
from tcf.config.extract import ExtractConfig
from tcf.launch.extract_on_devices import extract_on_devices
from tcf.launch.workers.independent_workers import IndependentWorkers
from tcf.launch.workers.jobs import ExtractionJob
from tcf.launch.workers.worker import WorkerSpec


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Work:
    return made_work(tmp_path_factory.mktemp("work"))


@dataclass
class Started:
    """What would have been started, and the threads at each load of the model."""

    jobs: dict[str, ExtractionJob]
    threads: list[int]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Started:
    """Nothing is started, and threads are counted only."""
    found = Started({}, [])

    def start(self: IndependentWorkers, spec: WorkerSpec) -> None:
        assert isinstance(spec.job, ExtractionJob)
        assert spec.threads == spec.job.threads
        found.jobs[spec.name] = spec.job

    monkeypatch.setattr(IndependentWorkers, "start", start)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.setattr(torch, "set_num_threads", found.threads.append)
    return found


def test_the_others_get_what_was_found_out(
    work: Work, tmp_path: Path, started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tcf.extract.schedules.load_engine.calibrated_micro_batch", lambda *arguments, **named: 640)
    asked = ExtractConfig(
        layers=(1,), prefix="a: ", devices="cpu,cpu,cpu", max_memory="cpu=20GiB", parquet=True, shard_rows=30
    )
    extract_on_devices(**work.arguments(tmp_path / "c"), config=asked)
    handed_on = dataclasses.replace(
        asked,
        devices="cpu",
        schedule="resident",
        max_memory=None,
        parquet=False,
        tokens_per_batch=640,
        dtype="float32",
    )
    job = ExtractionJob(**work.arguments(tmp_path / "c"), config=handed_on, threads=2)
    assert started.jobs == {"cpu (process 2 of 3)": job, "cpu (process 3 of 3)": job}
    assert started.threads == [2, 8]
    # All is there: the model is not loaded again.
    started.jobs.clear()
    extract_on_devices(**work.arguments(tmp_path / "c"), config=asked)
    assert (started.jobs, started.threads) == ({}, [2, 8, 8])


@pytest.mark.parametrize(
    ("settings", "processes", "threads", "words"),
    [
        ({"shard_rows": 120}, 1, 8, "extract: 1 of 4 devices are used, since there are no more shards of 120"),
        ({"shard_rows": 60}, 2, 4, "extract: 2 of 4 devices are used, since there are no more shards of 60"),
        ({"shard_rows": 59}, 3, 2, "extract: 3 of 4 devices are used"),
        ({"shard_rows": 30}, 4, 2, None),
        ({"shard_rows": 10, "shards": "1/5"}, 3, 2, "extract: 3 of 4 devices are used"),
        ({"shard_rows": 100, "shards": "4/5"}, 0, 0, None),
        ({"shard_rows": 10, "devices": "cpu"}, 0, 0, None),
    ],
)
@pytest.mark.usefixtures("shown_log")
def test_no_more_processes_than_shards(
    work: Work,
    tmp_path: Path,
    started: Started,
    capsys: pytest.CaptureFixture[str],
    settings: dict[str, Any],
    processes: int,
    threads: int,
    words: str | None,
) -> None:
    """Of twelve shards, 1/5 has the second, seventh and twelfth; of two, 4/5 has none."""
    config = dataclasses.replace(CONFIG, **{"devices": "cpu,cpu,cpu,cpu", **settings})
    extract_on_devices(**work.arguments(tmp_path / "c"), config=config)
    assert len(started.jobs) == max(0, processes - 1)
    assert {job.threads for job in started.jobs.values()} <= {threads}
    assert started.threads[:-1] == ([threads] if processes else [])
    told = [line for line in capsys.readouterr().err.splitlines() if "devices are used" in line]
    assert len(told) == bool(words)
    assert "".join(told).startswith(words or "")


def test_words_are_looked_up_by_one_process(work: Work, tmp_path: Path, started: Started) -> None:
    file = tmp_path / "words.txt"
    file.write_text("".join(f"{word} 1.0 {n}.5\n" for n, word in enumerate("red green blue one two".split())))
    arguments = {**work.arguments(tmp_path / "c"), "model": file}
    extract_on_devices(**arguments, config=dataclasses.replace(CONFIG, devices="cpu,cpu"))
    assert started.jobs == {}
