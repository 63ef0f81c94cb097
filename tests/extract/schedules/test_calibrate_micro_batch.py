import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tcf.encoders.folder.model_folder import ModelFolder
from tcf.encoders.folder.open_model_folder import open_model_folder
from tcf.encoders.prefix_sharing.tree_attention import TreeAttention
from tcf.extract.schedules import calibrate_micro_batch
from tcf.extract.schedules.calibrate_micro_batch import best_micro_batch, calibrated_micro_batch

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("times", "best"),
    [
        ({512: 0.1, 1024: 0.15, 2048: 0.28, 4096: 0.56}, 2048),  # 5120, 6827, 7314 and 7314 tokens a second
        ({512: 0.1, 1024: 0.15, 2048: 0.295}, 1024),  # 6942 is less than 5 % above 6827
        ({512: 0.1, 1024: 0.25, 2048: 0.29}, 2048),  # a size that is slower does not end the trial
        ({512: 0.1, 1024: 0.15, 2048: None, 4096: 0.01}, 1024),  # what is larger than the memory is not tried
        ({512: 2.0, 1024: 0.1}, 512),  # after three calls of two seconds nothing larger is tried
        ({512: 1.0, 1024: 1.5, 2048: 0.1}, 1024),
        ({512: 0.1}, 512),
        ({512: None}, 512),  # the smallest is taken to fit
    ],
)  # fmt: skip
def test_the_best_size_by_a_table_of_times(times: dict[int, float | None], best: int) -> None:
    assert best_micro_batch(times.__getitem__, iter(times)) == best


def test_nothing_is_tried_after_the_end() -> None:
    tried: list[int] = []

    def seconds(tokens: int) -> float | None:
        tried.append(tokens)
        return None if tokens == 4 else 0.1

    assert best_micro_batch(seconds, iter([1, 2, 4, 8])) == 2
    assert tried == [1, 2, 4]


@dataclass(frozen=True)
class Reader:
    """An encoder that notes the shapes that it reads, and has room for so many tokens."""

    folder: ModelFolder
    device: torch.device
    layers: tuple[int, ...] = (-1,)
    room: int = 10**9
    shapes: list[tuple[int, ...]] = field(default_factory=list)

    def states(self, tokens_BT: Tensor, tree: TreeAttention | None = None) -> tuple[Tensor, ...]:
        self.shapes.append(tuple(tokens_BT.shape))
        if tokens_BT.numel() > self.room:
            raise torch.OutOfMemoryError("none left")
        return ()


@pytest.fixture
def reader(opt: Path) -> Reader:
    return Reader(open_model_folder(opt), CPU)


def test_the_trial_reads_texts_of_about_the_size_asked_for(reader: Reader, tmp_path: Path) -> None:
    found = calibrated_micro_batch(reader, torch.float32, tmp_path, compiled=False)
    assert found in (512, 1024, 2048, 4096, 8192)
    calls = {shape: reader.shapes.count(shape) for shape in reader.shapes}
    assert list(calls) == [(tokens // 12, 12) for tokens in (512, 1024, 2048, 4096, 8192)]
    assert set(calls.values()) == {3}


def test_the_quickest_call_counts(reader: Reader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that goes on by these seconds at each call; tokens a second by the quickest: 5120, 10240 and 10240."""
    seconds = iter([0.3, 0.1, 0.2, 0.2, 0.1, 0.2, 0.2, 0.2, 0.2, 0.9, 0.9, 0.9, 2.0, 2.0, 2.0])
    now = 0.0

    class Slow(Reader):
        def states(self, tokens_BT: Tensor, tree: TreeAttention | None = None) -> tuple[Tensor, ...]:
            nonlocal now
            now += next(seconds)
            return ()

    monkeypatch.setattr(time, "perf_counter", lambda: now)
    assert calibrated_micro_batch(Slow(reader.folder, CPU), torch.float32, tmp_path, compiled=False) == 1024


def test_what_does_not_fit_into_memory_is_not_taken(reader: Reader, tmp_path: Path) -> None:
    small = Reader(reader.folder, CPU, room=2000)
    assert calibrated_micro_batch(small, torch.float32, tmp_path, compiled=False) in (512, 1024)
    assert max(rows for rows, _ in small.shapes) == 2048 // 12


def answer(monkeypatch: pytest.MonkeyPatch, tokens: int) -> list[int]:
    """Let trials find this; returns a list with an element for each."""
    trials: list[int] = []

    def best(seconds: Callable[[int], float | None], sizes: object) -> int:
        trials.append(tokens)
        return tokens

    monkeypatch.setattr(calibrate_micro_batch, "best_micro_batch", best)
    return trials


def test_what_was_found_is_remembered(reader: Reader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trials = answer(monkeypatch, 777)
    assert [calibrated_micro_batch(reader, torch.float32, tmp_path / "t", compiled=False) for _ in range(3)] == [
        777
    ] * 3
    assert trials == [777]
    (file,) = (tmp_path / "t").iterdir()
    known = json.loads(file.read_text())
    assert known["tokens_per_batch"] == 777
    assert {"architecture", "blocks", "compiled", "dtype", "device", "threads", "versions"} < set(known)
    answer(monkeypatch, 5)
    assert calibrated_micro_batch(reader, torch.float32, tmp_path / "t", compiled=False) == 777


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", *(f'{{"tokens_per_batch": {x}}}' for x in ("0", '"9"', "true"))]
)
def test_what_cannot_be_read_is_tried_again(
    reader: Reader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    trials = answer(monkeypatch, 777)
    calibrated_micro_batch(reader, torch.float32, tmp_path, compiled=False)
    (file,) = tmp_path.iterdir()
    file.write_text(content)
    assert calibrated_micro_batch(reader, torch.float32, tmp_path, compiled=False) == 777
    assert len(trials) == 2
    assert json.loads(file.read_text())["tokens_per_batch"] == 777


def test_whatever_matters_makes_another_trial(
    reader: Reader, bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials = answer(monkeypatch, 777)
    calibrated_micro_batch(reader, torch.float32, tmp_path, compiled=False)
    calibrated_micro_batch(reader, torch.bfloat16, tmp_path, compiled=False)
    calibrated_micro_batch(Reader(reader.folder, CPU, (0, 1)), torch.float32, tmp_path, compiled=False)
    calibrated_micro_batch(Reader(open_model_folder(bert), CPU), torch.float32, tmp_path, compiled=False)
    calibrated_micro_batch(reader, torch.float32, tmp_path, compiled=True)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 77)
    calibrated_micro_batch(reader, torch.float32, tmp_path, compiled=False)
    assert len(trials) == len(list(tmp_path.iterdir())) == 6
