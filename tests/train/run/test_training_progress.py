import io

import pytest

from tcf.train.run.epoch_log import Epoch
from tcf.train.run.training_progress import TrainingProgress


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def epoch(number: int, hr: float, rate: float = 812.34) -> Epoch:
    return Epoch(number, 4.12345, {"hr@10": hr, "ndcg@10": hr / 2}, rate)


def steps(progress: TrainingProgress, clock: Clock, number: int, seconds: float) -> None:
    for _ in range(number):
        clock.now += seconds
        progress.step()


def test_a_line_an_epoch_with_the_time_of_all_that_may_come() -> None:
    clock, stream = Clock(), io.StringIO()
    with TrainingProgress(10, 4, "ndcg@10", stream=stream, clock=clock) as progress:
        steps(progress, clock, 4, 2.0)
        clock.now += 3
        progress.end_epoch(epoch(1, 0.12344), 0.06172, 1)
        steps(progress, clock, 4, 4.0)
        clock.now += 5
        progress.end_epoch(epoch(2, 0.1), 0.06172, 1)
    # 9 more epochs of 4 steps of 2 seconds and 3 seconds to measure; then 8 of 3 seconds a step and 4 to measure.
    assert stream.getvalue().splitlines() == [
        "train: at most 10 epochs of 4 steps",
        "train: epoch 1 of at most 10: loss 4.1235, validation hr@10 12.34%, ndcg@10 6.17% (best so far), "
        "812 examples/s, 0:00:11; at most 0:01:39 left",
        "train: epoch 2 of at most 10: loss 4.1235, validation hr@10 10.00%, ndcg@10 5.00% (the best is epoch 1), "
        "812 examples/s, 0:00:21; at most 0:02:08 left",
        "train: 2 epochs in 0:00:32; best validation ndcg@10 6.17%, epoch 1",
    ]


def test_within_a_long_epoch_there_is_a_line_a_minute() -> None:
    clock, stream = Clock(), io.StringIO()
    with TrainingProgress(2, 400, "hr@10", stream=stream, clock=clock) as progress:
        steps(progress, clock, 9, 15.0)
        assert stream.getvalue().splitlines()[1:] == [
            "train: epoch 1 of at most 2: step 4 of 400, 0.067 steps/s, at most 3:19:00 left",
            "train: epoch 1 of at most 2: step 8 of 400, 0.067 steps/s, at most 3:18:00 left",
        ]
        steps(progress, clock, 391, 0.01)
        progress.end_epoch(epoch(1, 0.25), 0.25, 1)
        steps(progress, clock, 1, 60.0)
    last = stream.getvalue().splitlines()[-2]
    assert last.startswith("train: epoch 2 of at most 2: step 1 of 400, ")
    assert last.endswith(" left (best validation hr@10 25.00%, epoch 1)")


@pytest.mark.parametrize(
    ("epochs_done", "steps_done", "line"),
    [(4, 120, "train: resuming at epoch 5, step 120 of 400"), (4, 0, "train: resuming at epoch 5")],
)
def test_what_an_earlier_attempt_has_done_is_not_left(epochs_done: int, steps_done: int, line: str) -> None:
    clock, stream = Clock(), io.StringIO()
    with TrainingProgress(
        6, 400, "hr@10", epochs_done=epochs_done, steps_done=steps_done, stream=stream, clock=clock
    ) as progress:
        steps(progress, clock, 400 - steps_done, 1.0)
        progress.end_epoch(epoch(5, 0.25), 0.25, 5)
    shown = stream.getvalue().splitlines()
    assert shown[0] == line
    [of_epoch] = [line for line in shown if "loss" in line]
    assert of_epoch.endswith("; at most 0:06:40 left")  # one epoch of 400 steps


def test_a_training_that_is_stopped_says_where() -> None:
    clock, stream = Clock(), io.StringIO()
    with (
        pytest.raises(KeyboardInterrupt),
        TrainingProgress(6, 400, "hr@10", stream=stream, clock=clock) as progress,
    ):
        steps(progress, clock, 7, 1.0)
        raise KeyboardInterrupt
    assert stream.getvalue().splitlines()[-1] == "train: epoch 1, step 7 stopped after 0:00:07"


def test_in_a_terminal_there_is_one_bar_over_all_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    clock, terminal = Clock(), Terminal()
    with TrainingProgress(2, 4, "hr@10", stream=terminal, clock=clock) as progress:
        for number in (1, 2):
            steps(progress, clock, 4, 1.0)
            progress.end_epoch(epoch(number, number / 10), number / 10, number)
    text = terminal.getvalue()
    assert text.count("\x1b[?25l") == 1  # the cursor is hidden once, so there was one bar
    assert "train: epoch 1 of at most 2: loss" in text
    assert "2 epochs in 0:00:08; best validation hr@10 20.00%, epoch 2" in text
