"""How trials are dealt out, heard of and ended, with workers that only pretend to train."""

import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from optuna.study import Study

from small.launch.searches import PretendedWorker, change, told, trained, workplace
from tcf.common.errors import RunError
from tcf.common.progress import Progress
from tcf.launch.search.results import BEST, TABLE, best_row, trial_rows
from tcf.launch.search.run_trials import TrialLoop
from tcf.launch.search.search_file import SearchFile
from tcf.launch.search.study import open_study, suggest, unfinished_trials

Script = Sequence[dict[str, Any] | int]
GRID = (("{low = 1e-4, high = 1e-1, log = true}", "[0.1, 0.2]"), ("trials = 7", 'trials = 7\nsampler = "grid"'))
KILLED, ASKED = -int(signal.SIGKILL), -int(signal.SIGTERM)


def made(folder: Path, *pairs: tuple[str, str]) -> tuple[SearchFile, Study]:
    search = change(workplace(folder), *pairs)
    search.out.mkdir()
    return search, open_study(search, {})


def run(search: SearchFile, study: Study, *scripts: Script) -> list[PretendedWorker]:
    """Let workers train all trials; nothing of what they would say may be left at the end."""
    workers = [
        PretendedWorker(place, search.out / "log", f"cpu:{place}" if len(scripts) > 1 else None, 1, script=script)
        for place, script in enumerate(scripts)
    ]
    with Progress("search", search.n_trials, "trials") as progress:
        TrialLoop(search, study, list(workers), progress, unfinished_trials(study)).run()
    assert not any(worker._left for worker in workers)
    return workers


def states(study: Study) -> dict[int, str]:
    return {row.number: row.state for row in trial_rows(study)}


def test_trials_go_to_whoever_is_free(tmp_path: Path) -> None:
    search, study = made(tmp_path, *GRID)
    short, long = trained(0.1), trained(0.4, epochs=4)
    first, second = run(search, study, [*short, *short, *trained(0.3)], long)
    assert [job.out.name for job in first.jobs] == ["0000", "0002", "0003"]
    assert [job.out.name for job in second.jobs] == ["0001"]
    assert [job.config.devices for job in (*first.jobs, *second.jobs)] == ["cpu:0"] * 3 + ["cpu:1"]
    assert second.decisions == [True] * 4
    rows = trial_rows(study)
    assert [(row.number, row.value) for row in rows] == [(1, 0.4), (3, 0.3), (0, 0.1), (2, 0.1)]
    assert {(job.config.learning_rate, job.config.width) for job in (*first.jobs, *second.jobs)} == {
        (rate, width) for rate in (0.1, 0.2) for width in (8, 16)
    }


@pytest.mark.usefixtures("shown_log")
def test_a_trial_below_the_median_is_told_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    search, study = made(tmp_path, ("trials = 7", "trials = 3"))
    poor: list[dict[str, Any]] = [told(1, 0.1), told(2, 0.2), {"ended": "pruned"}]
    [worker] = run(search, study, [*trained(0.5, 2), *trained(0.3, 2), *poor])
    assert worker.decisions == [True, True, True, True, True, False]
    last = trial_rows(study)[-1]
    assert (last.number, last.state, last.value, last.metadata) == (2, "pruned", 0.2, {"epochs": 2})
    said = capsys.readouterr().err
    assert "trial 0: validation hr@10 50.00% at epoch 1 of 2; best 50.00% (trial 0)\n" in said
    assert "trial 2: pruned after epoch 2; best 50.00% (trial 0)\n" in said
    assert "search: 3/3 trials" in said


@pytest.mark.parametrize("after", ["last epoch", "last epoch of an earlier attempt", "epoch followed by another"])
def test_a_trial_with_nothing_left_to_save_is_not_pruned(tmp_path: Path, after: str) -> None:
    """Below the median, but it has run its last epoch, or replays one that it went beyond."""
    search, study = made(tmp_path, ("trials = 7", "trials = 3"))
    others = [*trained(0.5, 3), *trained(0.3, 3)]
    poor = trained(0.1, 2)
    match after:
        case "last epoch":
            [worker] = run(search, study, [*others, told(1, 0.3), *poor[1:]])
        case "last epoch of an earlier attempt":
            with pytest.raises(RunError):
                run(search, study, [*others, told(1, 0.3), poor[1], {"ended": "refused", "reason": "no space left"}])
            study = open_study(search, {})
            [worker] = run(search, study, [told(1, 0.3, goes_on=False), *poor[1:]])
        case _:
            # With several workers, the median can have risen since the epoch was decided upon.
            [worker] = run(search, study, [*others, told(1, 0.3), told(2, 0.1, goes_on=False), *trained(0.1, 3)[2:]])
    assert all(worker.decisions)
    assert states(study) == {0: "trained", 1: "trained", 2: "trained"}


@pytest.mark.parametrize(
    ("monitor", "heads", "rows"),
    [
        ("hr@10", "hr@10,ndcg@10", [["0", "trained", "0.5", "0.2"], ["1", "trained", "0.4", "0.3"]]),
        ("ndcg@10", "ndcg@10,hr@10", [["1", "trained", "0.3", "0.4"], ["0", "trained", "0.2", "0.5"]]),
    ],
)
def test_the_monitor_chooses_the_best_trial(tmp_path: Path, monitor: str, heads: str, rows: list[list[str]]) -> None:
    """Trial 0 has more hits, trial 1 has them higher up."""
    search, study = made(tmp_path, ("trials = 7", "trials = 2"), ("[train]\n", f'[train]\nmonitor = "{monitor}"\n'))
    [worker] = run(search, study, [*trained(0.5, ndcg=0.2), *trained(0.4, ndcg=0.3)])
    assert [job.config.monitor for job in worker.jobs] == [monitor] * 2
    head, *lines = (search.out / TABLE).read_text().splitlines()
    assert head.startswith(f"trial,state,{heads},best_epoch,")
    assert [line.split(",")[:4] for line in lines] == rows
    best_file = (search.out / BEST).read_text()
    assert f'monitor = "{monitor}"' in best_file
    assert f"\n# Trial {rows[0][0]} of a search: {monitor} {rows[0][2]}00000, " in best_file


def test_a_failure_is_counted_and_the_search_goes_on(tmp_path: Path) -> None:
    search, study = made(tmp_path, ("trials = 7", "trials = 3"))
    failure: dict[str, Any] = {"ended": "failed", "reason": "loss, not finite"}
    run(search, study, [failure, *trained(0.2), *trained(0.1)])
    rows = trial_rows(study)
    assert [(row.number, row.state, row.value) for row in rows] == [
        (1, "trained", 0.2),
        (2, "trained", 0.1),
        (0, "failed", None),
    ]
    assert (search.out / TABLE).read_text().splitlines()[-1].endswith(',trials/0000,"loss, not finite"')


def test_settings_that_contradict_one_another_are_a_failure(tmp_path: Path) -> None:
    search, study = made(tmp_path, *GRID, ("[8, 16]", "[9, 16]"))
    [worker] = run(search, study, [*trained(0.2), *trained(0.1)])
    assert [job.config.width for job in worker.jobs] == [16, 16]
    reasons = [row.reason for row in trial_rows(study) if row.state == "failed"]
    assert len(reasons) == 2
    assert all("width: expected a multiple of heads 2, found 9" in reason for reason in reasons)


@pytest.mark.filterwarnings("error")
def test_what_cannot_be_trained_at_all_ends_the_search(tmp_path: Path) -> None:
    search, study = made(tmp_path, ("trials = 7", "trials = 2"))
    told = trained(0.5, 2)
    with pytest.raises(RunError, match=r"no space left; fix this and run the same command again: .*0001"):
        run(search, study, [*told, told[0], {"ended": "refused", "reason": "no space left"}])
    assert states(study) == {0: "trained", 1: "unfinished"}
    study = open_study(search, {})
    drawn = study.trials[1].params
    [worker] = run(search, study, [*trained(0.6, 2)])  # it tells of its first epoch again
    [job] = worker.jobs
    assert job.out.name == "0001"
    assert (job.config.learning_rate, job.config.width) == (drawn["learning_rate"], drawn["width"])
    assert study.trials[1].intermediate_values == {1: 0.5, 2: 0.6}
    assert states(study) == {0: "trained", 1: "trained"}


@pytest.mark.usefixtures("shown_log")
def test_a_killed_process_is_replaced_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    search, study = made(tmp_path, ("trials = 7", "trials = 2"))
    [worker] = run(search, study, [KILLED, *trained(0.2), KILLED, KILLED])
    assert [job.out.name for job in worker.jobs] == ["0000", "0000", "0001", "0001"]
    assert states(study) == {0: "trained", 1: "failed"}
    assert "trial 0: its process was ended by SIGKILL; it continues in a new process" in capsys.readouterr().err
    assert trial_rows(study)[1].reason == f"its process was ended by SIGKILL (see {search.out / 'log'})"


def test_a_process_that_breaks_is_a_failure(tmp_path: Path) -> None:
    search, study = made(tmp_path, ("trials = 7", "trials = 2"))
    [worker] = run(search, study, [1, *trained(0.2)])
    assert [job.out.name for job in worker.jobs] == ["0000", "0001"]
    assert trial_rows(study)[1].reason.startswith("something went wrong (see ")


def test_a_process_that_is_asked_to_end_ends_the_search(tmp_path: Path) -> None:
    search, study = made(tmp_path)
    with pytest.raises(RunError, match="0000: its process was ended by SIGTERM; run the same command again"):
        run(search, study, [ASKED])
    assert states(study) == {0: "unfinished"}


def test_equal_settings_are_trained_once(tmp_path: Path) -> None:
    pairs = (("{low = 1e-4, high = 1e-1, log = true}", "[0.1, 0.2]"), ("[8, 16]", "[8]"), ("trials = 7", "trials = 12"))
    search, study = made(tmp_path, *pairs)
    [worker] = run(search, study, [*trained(0.2), *trained(0.4)])
    first, second = (int(job.out.name) for job in worker.jobs)
    assert first == 0
    assert {job.config.learning_rate for job in worker.jobs} == {0.1, 0.2}
    rows = trial_rows(study)
    assert len(rows) == 12
    assert {row.state for row in rows} == {"trained"}
    for row in rows:
        value, origin = (
            (0.2, first) if row.params["learning_rate"] == worker.jobs[0].config.learning_rate else (0.4, second)
        )
        assert row.value == row.metadata["hr@10"] == value
        assert row.same_as == (None if row.number == origin else origin)
    best = best_row(rows)
    assert best is not None and best.number == second
    runs = {line.split(",")[-2] for line in (search.out / TABLE).read_text().splitlines()[1:]}
    assert runs == {f"trials/{first:04d}", f"trials/{second:04d}"}


def test_more_trials_later(tmp_path: Path) -> None:
    search, study = made(tmp_path, ("trials = 7", "trials = 1"))
    run(search, study, [*trained(0.2)])
    run(search, open_study(search, {}), [])  # there is nothing to do
    more = change(search.path, ("trials = 1", "trials = 3"))
    study = open_study(more, {})
    [worker] = run(more, study, [*trained(0.2), *trained(0.1)])
    assert [job.out.name for job in worker.jobs] == ["0001", "0002"]
    assert suggest(study.ask(), more.space) not in [trial.params for trial in study.trials[:3]]
