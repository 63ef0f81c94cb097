"""A search that is run again names the trials whose runs are damaged or gone."""

from dataclasses import replace
from pathlib import Path

import pytest

from small.data.caches import flip_bit
from tcf.common.files import publishing
from tcf.common.manifest import seal
from tcf.launch.search.results import TrialRow, trial_folder
from tcf.launch.search.verify_trials import warn_of_damaged_trials
from tcf.train.run.file_names import CONFIG, MODEL, RUN


def trained(out: Path, number: int) -> TrialRow:
    facts = {"best_epoch": 2, "hr@10": 0.25}
    with publishing(trial_folder(out, number)) as staging:
        for name in (CONFIG, MODEL):
            (staging / name).write_text(name)
        seal(staging, RUN, inputs={"dataset": "d"}, config={}, facts=facts)
    return TrialRow(number, "trained", 0.25, facts, {}, None, "")


@pytest.mark.usefixtures("shown_log")
def test_each_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [trained(tmp_path, number) for number in range(4)]
    rows += [replace(rows[0], number=4, same_as=0), TrialRow(5, "pruned", 0.1, {"epochs": 1}, {}, None, "")]
    warn_of_damaged_trials(tmp_path, rows)
    assert capsys.readouterr().err == ""
    flip_bit(trial_folder(tmp_path, 1) / MODEL, 3)
    trial_folder(tmp_path, 2).rename(tmp_path / "elsewhere")
    rows[3] = replace(rows[3], metadata={"best_epoch": 2, "hr@10": 0.75})
    warn_of_damaged_trials(tmp_path, rows)
    first, second, third = capsys.readouterr().err.splitlines()
    assert f"trial 1: {trial_folder(tmp_path, 1) / MODEL}: its sha256 differs" in first
    assert f"trial 2: {trial_folder(tmp_path, 2)}: expected a directory" in second
    assert "trial 3: " in third
    assert "hr@10: 0.25 found, 0.75 requested" in third
