"""The study of a search: what is drawn, what is pruned, and what survives the end of its process."""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optuna.study import Study
from optuna.trial import TrialState

from small.launch.searches import change, workplace
from tcf.common.errors import RunError
from tcf.launch.search.search_file import SearchFile, read_search
from tcf.launch.search.study import JOURNAL, find_duplicate, open_study, suggest, unfinished_trials

GRID = (("{low = 1e-4, high = 1e-1, log = true}", "[0.1, 0.2, 0.3]"), ("trials = 7", 'trials = 7\nsampler = "grid"'))


def made(folder: Path, *pairs: tuple[str, str]) -> SearchFile:
    search = change(workplace(folder), *pairs)
    search.out.mkdir(exist_ok=True)
    return search


def run(
    search: SearchFile, trials: int, reopen: bool, value: Callable[[dict[str, Any]], float]
) -> list[dict[str, Any]]:
    """Draw so many trials and end each; open the study anew for each of them, or not."""
    study = open_study(search, {})
    for _ in range(trials):
        if reopen:
            study = open_study(search, {})
        trial = study.ask()
        study.tell(trial, value(suggest(trial, search.space)))
    return [trial.params for trial in study.get_trials()]


def good(drawn: dict[str, Any]) -> float:
    """Best at a learning rate of 0.01."""
    return -abs(math.log10(drawn["learning_rate"]) + 2)


def test_equal_seeds_draw_the_same_however_often_the_study_was_opened(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    first = run(made(tmp_path / "a"), 12, False, good)
    assert run(made(tmp_path / "b"), 12, True, good) == first
    assert run(made(tmp_path / "c", ("trials = 7", "seed = 1")), 12, False, good) != first
    rates = [drawn["learning_rate"] for drawn in first]
    assert len(set(rates)) == 12  # no trial repeats the random numbers of another
    assert all(1e-4 <= rate <= 1e-1 for rate in rates)
    assert {drawn["width"] for drawn in first} == {8, 16}


def test_tpe_learns_and_random_does_not(tmp_path: Path) -> None:
    def away(folder: str, *pairs: tuple[str, str]) -> float:
        (tmp_path / folder).mkdir()
        drawn = run(made(tmp_path / folder, *pairs), 30, False, good)
        return -sum(good(values) for values in drawn[20:])

    assert away("tpe") < 0.75 * away("random", ("trials = 7", 'sampler = "random"'))


def test_ranges_are_drawn_apart_from_one_another(tmp_path: Path) -> None:
    pairs = (("[8, 16]", "[8]\ndropout = {low = 0.0, high = 0.5}"), ("trials = 7", 'sampler = "random"'))
    drawn = run(made(tmp_path, *pairs), 40, False, good)
    values = [(math.log10(each["learning_rate"]), each["dropout"]) for each in drawn]
    assert abs(np.corrcoef(np.array(values).T)[0, 1]) < 0.4


def test_a_grid_takes_each_combination_once(tmp_path: Path) -> None:
    search = made(tmp_path, *GRID)
    drawn = run(search, 6, True, good)
    found = {(values["learning_rate"], values["width"]) for values in drawn}
    assert found == {(rate, width) for rate in (0.1, 0.2, 0.3) for width in (8, 16)}


def test_what_was_running_is_taken_up_with_its_settings(tmp_path: Path) -> None:
    search = made(tmp_path)
    study = open_study(search, {})
    first, second = study.ask(), study.ask()
    drawn = [suggest(first, search.space), suggest(second, search.space)]
    first.report(0.25, 1)
    study.tell(study.ask(), 1.0)
    study = open_study(search, {})
    again = unfinished_trials(study)
    assert [trial.number for trial in again] == [0, 1]
    assert [suggest(trial, search.space) for trial in again] == drawn
    again[0].report(0.5, 2)
    study.tell(again[0], 0.5)
    assert open_study(search, {}).trials[0].intermediate_values == {1: 0.25, 2: 0.5}
    assert [trial.number for trial in unfinished_trials(open_study(search, {}))] == [1]


def test_a_trial_that_ended_between_two_draws_gets_the_rest(tmp_path: Path) -> None:
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    whole.mkdir()
    torn.mkdir()
    [expected] = run(made(whole), 1, False, good)
    search = made(torn)
    suggest(open_study(search, {}).ask(), {"learning_rate": search.space["learning_rate"]})
    [trial] = unfinished_trials(open_study(search, {}))
    assert suggest(trial, search.space) == expected


def test_a_torn_line_and_a_lock_left_behind_do_no_harm(tmp_path: Path) -> None:
    search = made(tmp_path)
    run(search, 2, False, good)
    journal = search.out / JOURNAL
    content = journal.read_bytes()
    journal.write_bytes(content + b'{"op_code": 4, "wor')
    (search.out / f"{JOURNAL}.lock").symlink_to(journal)
    began = time.monotonic()
    study = open_study(search, {})
    assert time.monotonic() - began < 10  # Optuna itself would wait for 30 seconds
    assert journal.read_bytes().startswith(content)
    assert b"wor{" not in journal.read_bytes()
    study.ask()
    assert len(open_study(search, {}).trials) == 3


def test_other_settings_or_inputs_are_refused(tmp_path: Path) -> None:
    search = made(tmp_path)
    open_study(search, {"dataset": "aaa"})
    with pytest.raises(RunError, match="dataset: aaa found, bbb requested; name another `out` in .*search.toml"):
        open_study(search, {"dataset": "bbb"})
    file = tmp_path / "search.toml"
    more = change(
        file, ("trials = 7", 'trials = 9\nworkers = 2\ndevices = ["cpu"]'), ('"cpu"\n\n[space]', '"auto"\n[space]')
    )
    open_study(more, {"dataset": "aaa"})  # neither how many trials there are nor where they run decides anything
    for old, new, message in [
        ("[train]", '[train]\nmonitor = "ndcg@10"', r"\[train\] monitor: hr@10 found, ndcg@10 requested"),
        ("epochs = 4", "epochs = 5", r"\[train\] epochs: 4 found, 5 requested"),
        ("[8, 16]", "[8]", r"\[space\] width: "),
        ("pruning_epochs = 1", "pruning_epochs = 2", "pruning_epochs: 1 found, 2 requested"),
    ]:
        text = file.read_text()
        with pytest.raises(RunError, match=message):
            open_study(change(file, (old, new)), {"dataset": "aaa"})
        file.write_text(text)


@pytest.mark.parametrize("monitor", ["hr@10", "ndcg@10"])
def test_a_search_begun_before_there_was_a_monitor_is_refused(tmp_path: Path, monitor: str) -> None:
    """Its trials were compared by NDCG, and their epochs by hits."""
    search = made(tmp_path, ("[train]", f'[train]\nmonitor = "{monitor}"'))
    study = open_study(search, {})
    study.set_user_attr(
        "made_from", {key: value for key, value in study.user_attrs["made_from"].items() if "monitor" not in key}
    )
    with pytest.raises(RunError, match=f"monitor: ndcg@10 of the epoch with the best hr@10 found, {monitor} requested"):
        open_study(search, {})


def test_a_foreign_journal_is_refused(tmp_path: Path) -> None:
    search = made(tmp_path)
    (search.out / JOURNAL).write_text("once upon a time\n" * 2)
    with pytest.raises(RunError, match="expected a record of a search"):
        open_study(search, {})


def reported(study: Study, *values: float) -> bool:
    """Report these values, one an epoch, by a new trial; whether it is to be pruned then."""
    trial = study.ask()
    for epoch, value in enumerate(values, start=1):
        trial.report(value, epoch)
    pruned = trial.should_prune()
    study.tell(trial, None if pruned else max(values), state=TrialState.PRUNED if pruned else None)
    return pruned


def test_pruning_by_hand(tmp_path: Path) -> None:
    study = open_study(made(tmp_path), {})  # after 2 trained trials, from epoch 2 on
    assert not reported(study, 0.2, 0.4)
    assert not reported(study, 0.1, 0.1)  # one is too few to compare with
    assert not reported(study, 0.0)  # the first epoch is never the last; the median at epoch 2 stays that of two
    assert reported(study, 0.1, 0.24)  # below (0.4 + 0.1) / 2
    assert not reported(study, 0.1, 0.3)
    assert not reported(study, 0.9, 0.0)  # its best epoch counts


def test_no_pruning(tmp_path: Path) -> None:
    study = open_study(made(tmp_path, ("trials = 7", 'pruning = "none"')), {})
    for value in (0.5, 0.5, 0.5, 0.0):
        assert not reported(study, value, value)


def test_twins(tmp_path: Path) -> None:
    search = made(tmp_path, *GRID)
    study = open_study(search, {})
    trials = [study.ask() for _ in range(9)]
    for trial in trials:
        suggest(trial, search.space)
    assert trials[6].params == trials[0].params  # the grid has six combinations
    assert find_duplicate(study, trials[6], search) is None  # the first is still running
    study.tell(trials[0], 0.5)
    found = find_duplicate(study, trials[6], search)
    assert found is not None and found.number == 0
    assert find_duplicate(study, trials[0], search) is None
    assert find_duplicate(study, trials[7], search) is None
    assert read_search(search.path).n_trials == 6
