"""Many evaluations in one command: in this process, and shared out over others, some of which are killed."""

import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from small.evaluate.combinations import combined
from small.launch.kills import run_command
from small.train.evaluations import CPU, SMALL, TEXTS
from small.train.runs import make_dataset, walks
from tcf.common.errors import ConfigError, RunError
from tcf.common.integrity.checksums import Verify
from tcf.config.evaluate import EvaluateConfig
from tcf.config.train import TrainConfig
from tcf.data.dataset import Dataset, open_dataset
from tcf.evaluate.batch.batch import EvaluatedBatch, plan_batch
from tcf.evaluate.questions import Questions
from tcf.evaluate.stage import Evaluator, evaluate_baseline, evaluate_run
from tcf.launch.evaluation.evaluate_runs import evaluate_runs, evaluation_devices
from tcf.launch.workers.local_processes import LocalProcesses, LocalWorker
from tcf.launch.workers.worker import WorkerSpec
from tcf.train.run import open_inputs
from tcf.train.run.open_inputs import OpenInputs
from tcf.train.stage import train


def files(folder: Path) -> dict[str, bytes]:
    """All files of a folder, by their paths within it; none is hidden, as unfinished ones are."""
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert not any(part.startswith(".") for name in found for part in name.split("/"))
    return found


@pytest.fixture(scope="module")
def alone(made: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What evaluations of `made` have in their files, each made by itself."""
    out = tmp_path_factory.mktemp("alone")
    evaluate_run(made / "text", out=out / "text", config=CPU)
    evaluate_run(made / "id", out=out / "id", config=CPU)
    evaluate_baseline("popularity", data=made / "data", out=out / "popularity", config=CPU)
    return files(out)


def counted_calls(monkeypatch: pytest.MonkeyPatch) -> tuple[list[Path], list[Path]]:
    """The datasets that are opened, and those that are asked, from now on."""
    opened, asked = list[Path](), list[Path]()
    questions_of = Questions.of

    def opening(path: Path, *, verify: Verify) -> Dataset:
        opened.append(path)
        return open_dataset(path, verify=verify)

    def asking(dataset: Dataset, config: EvaluateConfig) -> Questions:
        asked.append(dataset.path)
        return questions_of(dataset, config)

    monkeypatch.setattr(open_inputs, "open_dataset", opening)
    monkeypatch.setattr(Questions, "of", asking)
    return opened, asked


def call(made: Path, out: Path, **more: Any) -> EvaluatedBatch:
    return evaluate_runs([made / "text", made / "id"], ["popularity"], out=out, **{"config": CPU, **more})


def test_each_is_what_it_is_alone_and_their_dataset_is_opened_once(
    made: Path, tmp_path: Path, alone: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, asked = counted_calls(monkeypatch)
    done = call(made, tmp_path / "e")
    assert (len(opened), len(asked)) == (1, 1)
    assert files(tmp_path / "e") == alone
    assert [*done.evaluations] == ["popularity", "text", "id"]
    assert str(done.table).splitlines()[1].startswith("popularity")


@pytest.mark.usefixtures("shown_log")
def test_what_is_there_is_found_and_what_fails_does_not_stop_the_others(
    runs: Path, tmp_path: Path, alone: dict[str, bytes], capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    out = tmp_path / "e"
    evaluate_run(runs / "id", out=out / "id", config=CPU)
    (runs / "id" / "model.safetensors").unlink()  # which is not needed for what is there
    (out / "popularity").mkdir()
    (out / "popularity" / "letter").write_text("")
    model = (runs / "text" / "model.safetensors").read_bytes()
    (runs / "text" / "model.safetensors").write_bytes(model[:-1])
    capsys.readouterr()
    done = evaluate_runs(
        [runs / "none", runs / "text", runs / "id"], ["popularity", "random"], out=out, config=CPU, data=runs / "data"
    )
    said = capsys.readouterr().err
    assert [*done.evaluations] == ["random", "id"]
    assert [*done.failures] == ["popularity", "none", "text"]
    assert "evaluate: 1 of 5 evaluations exist already\n" in said
    assert said.count("tcf: warning: ") == 3 and "tcf: warning: text: not evaluated: " in said
    with pytest.raises(
        RunError,
        match=r"e: expected 5 evaluations, found 3 of them failed \(popularity: .*; none: .*; text: .*model.saf",
    ):
        done.check()
    # The same command goes on where it was: nothing of what is there is computed again.
    (runs / "text" / "model.safetensors").write_bytes(model)
    (out / "popularity" / "letter").unlink()
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.json")}
    call(runs, out).check()
    assert {name: content for name, content in files(out).items() if "random" not in name} == alone
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())


def test_runs_of_several_datasets(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = make_dataset(runs / "2", walks()[1:], TEXTS)
    run = train(data=other.path, out=runs / "2" / "id", config=TrainConfig(items="id", **SMALL))
    opened, asked = counted_calls(monkeypatch)
    done = evaluate_runs([runs / "id", run.path, runs / "text"], ["popularity"], out=tmp_path / "e", config=CPU)
    assert (len(opened), len(asked)) == (2, 2)
    names = ["made/data/popularity", "2/data/popularity", "made/id", "2/id", "made/text"]
    assert [*done.evaluations] == names
    assert [done.evaluations[name].metrics["users"] for name in names] == [60, 59, 60, 59, 60]
    alone = evaluate_baseline("popularity", data=other.path, out=tmp_path / "alone", config=CPU)
    assert done.evaluations["2/data/popularity"].metrics == alone.metrics


def test_inputs_that_have_moved_are_named_for_all(runs: Path, tmp_path: Path, alone: dict[str, bytes]) -> None:
    (runs / "data").rename(tmp_path / "d")
    (runs / "cache").rename(tmp_path / "c")
    assert [*call(runs, tmp_path / "e", data=tmp_path / "d").failures] == ["text"]
    call(runs, tmp_path / "e", data=tmp_path / "d", caches=[tmp_path / "c"]).check()
    assert files(tmp_path / "e") == alone


class Killer(LocalProcesses):
    """Starts workers, and kills the first ones right after."""

    def __init__(self, killed: int) -> None:
        self.started: list[LocalWorker] = []
        self.killed = killed

    def start(self, spec: WorkerSpec) -> LocalWorker:
        self.started.append(super().start(spec))
        if len(self.started) <= self.killed:
            self.started[-1].kill()
        return self.started[-1]


@pytest.mark.usefixtures("shown_log")
def test_two_processes_give_the_same_and_one_may_be_killed(
    runs: Path, tmp_path: Path, alone: dict[str, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    """One of the runs is damaged besides, which a worker finds; a combination is evaluated as runs are."""
    shutil.copytree(runs / "id", runs / "damaged")
    both = combined(runs / "both", runs / "text", runs / "id", weights=(1, 1))
    evaluate_run(both, out=tmp_path / "both", config=CPU)
    (runs / "damaged" / "model.safetensors").write_bytes(b"")
    starter = Killer(1)
    paths = [runs / "damaged", runs / "text", runs / "id", both]
    done = evaluate_runs(paths, ["popularity"], out=tmp_path / "e", config=CPU, workers=2, starter=starter)
    assert files(tmp_path / "e") == alone | {f"both/{name}": found for name, found in files(tmp_path / "both").items()}
    assert [*done.evaluations] == ["popularity", "text", "id", "both"]
    said = capsys.readouterr().err
    assert "popularity: its worker process was ended by SIGKILL; another one evaluates it\n" in said
    assert f"damaged: not evaluated: {runs / 'damaged' / 'model.safetensors'}: expected " in said
    assert [*done.failures] == ["damaged"]
    assert len(starter.started) == 3
    assert all(worker.wait(0) is not None for worker in starter.started)


@pytest.mark.usefixtures("shown_log")
def test_what_ends_two_processes_is_given_up(made: Path, tmp_path: Path) -> None:
    done = call(made, tmp_path / "e", workers=2, starter=Killer(9))
    reason = "its worker process was ended by SIGKILL, and so did another one before it"
    assert done.failures == dict.fromkeys(["popularity", "text", "id"], reason)


@pytest.mark.usefixtures("shown_log")
def test_a_command_that_is_killed_leaves_what_is_finished(
    made: Path, tmp_path: Path, alone: dict[str, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "e"
    words = ["evaluate", made / "text", made / "id", "--baseline", "popularity", "--device", "cpu", "--out", out]
    killed = run_command(*words, folder=out, hit=4)  # after a file, a manifest and the directory of the first
    assert (killed.status, killed.printed) == (-signal.SIGKILL, "")
    hidden, finished = sorted(path.name for path in out.iterdir())
    assert (hidden.partition("-")[0], finished) == (".id.partial", "popularity")
    call(made, out).check()
    assert "evaluate: 1 of 3 evaluations exist already\n" in capsys.readouterr().err
    assert files(out) == alone


def test_a_killed_evaluation_of_a_combination_is_made_again(runs: Path, tmp_path: Path) -> None:
    out, both = tmp_path / "e", combined(runs / "both", runs / "text", runs / "id", weights=(1, 1))
    killed = run_command("evaluate", both, "--device", "cpu", "--out", out / "both", folder=out, hit=2)
    assert killed.status == -signal.SIGKILL
    assert [path.name.partition("-")[0] for path in out.iterdir()] == [".both.partial"]
    evaluate_run(both, out=out / "both", config=CPU)
    evaluate_run(both, out=tmp_path / "alone" / "both", config=CPU)
    assert files(out) == files(tmp_path / "alone")


def test_what_another_process_has_made_meanwhile_is_found(made: Path, tmp_path: Path, alone: dict[str, bytes]) -> None:
    evaluator = Evaluator(CPU, OpenInputs())
    batch = plan_batch([made / "text", made / "id"], ["popularity"], out=tmp_path / "e", evaluator=evaluator)
    evaluate_run(made / "text", out=tmp_path / "e" / "text", config=CPU)
    batch.evaluate_all(evaluator)
    batch.result().check()
    assert files(tmp_path / "e") == alone


def test_what_is_refused_before_anything_is_read(made: Path, tmp_path: Path) -> None:
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / "manifest.json").write_text("")
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="file: expected a folder for several evaluations, found something else"):
        evaluate_runs([made / "id", made / "text"], out=tmp_path / "file", config=CPU)
    with pytest.raises(RunError, match="e: expected a folder for several evaluations, found a result"):
        call(made, tmp_path / "e")
    for arguments, message in (
        ({"runs": []}, "expected runs or baselines"),
        ({"runs": [tmp_path], "baselines": ["random"]}, "^--baseline: expected --data, or a run whose dataset"),
        ({"runs": [made / "id"], "devices": "abacus"}, "^--devices: expected auto, cpu"),
        ({"runs": [made / "id", made / "id"]}, "id: expected each path once, found it twice"),
        ({"runs": [], "baselines": ["random", "random"]}, "--baseline: expected each baseline once, found random"),
    ):
        settings: dict[str, Any] = {"out": tmp_path / "o", "config": EvaluateConfig(), **arguments}
        with pytest.raises(ConfigError, match=message):
            evaluate_runs(**settings)
    assert not (tmp_path / "o").exists()


def test_devices_are_dealt_out_in_turn() -> None:
    auto = EvaluateConfig()
    assert evaluation_devices(auto, 1, "") == ["auto"]
    assert evaluation_devices(CPU, 3, "") == ["cpu"] * 3
    assert evaluation_devices(auto, 1, "cpu,cpu") == ["cpu", "cpu"]
    assert evaluation_devices(auto, 3, "cpu, cpu") == ["cpu"] * 3
    with pytest.raises(ConfigError, match="--devices: expected no --device besides, found cpu"):
        evaluation_devices(CPU, 1, "cpu")
