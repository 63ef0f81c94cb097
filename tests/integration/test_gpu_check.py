"""The GPU check, rehearsed on the CPU: all of its parts run, and each notices when its subject is broken."""

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "benchmarks"))

import gpu_check  # noqa: E402
from gpu_parts import families, host_waits, memory, ranking, schedules, stage, training  # noqa: E402
from gpu_parts.part import Finding, Setting  # noqa: E402

from tcf.encoders.encoder import TransformersEncoder  # noqa: E402
from tcf.encoders.pooling import VectorHead  # noqa: E402
from tcf.encoders.prefix_sharing.tree_attention import TreeAttention  # noqa: E402
from tcf.extract import stage as extract_stage  # noqa: E402
from tcf.extract.schedules.hidden_states import FileStates  # noqa: E402
from tcf.ranking import faiss_search  # noqa: E402
from tcf.train.trainer import Trainer  # noqa: E402

Check = Callable[[Setting], Iterator[Finding]]


@pytest.fixture
def setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Setting:
    """A small one on the CPU, with nothing remembered."""
    monkeypatch.setenv("TCF_HOME", str(tmp_path / "home"))
    return Setting(torch.device("cpu"), small=True, scratch=tmp_path)


def test_the_rehearsal_runs_every_part_and_misses_nothing(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    command = [sys.executable, str(ROOT / "benchmarks" / "gpu_check.py"), "--device", "cpu", "--small"]
    command += ["--patience", "5"]  # other tests run at the same time
    ended = subprocess.run([*command, "--json", str(report)], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    content = json.loads(report.read_text())
    assert {finding["part"] for finding in content["findings"]} == {part.name for part in gpu_check.PARTS}
    assert {finding["verdict"] for finding in content["findings"]} == {"met", "absent", "noted"}
    assert list(content["seconds"]) == [part.name for part in gpu_check.PARTS]
    assert "| families |" in ended.stdout


def test_a_wrong_pooling_is_seen(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(families, "_REHEARSED", ("opt",))
    monkeypatch.setattr(VectorHead, "vectors", lambda self, states_BTD: states_BTD[:, -1].float())
    assert all(finding.verdict == "missed" for finding in families.check_families(setting))


def test_states_that_a_schedule_loses_are_seen(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    get = FileStates.get
    monkeypatch.setattr(FileStates, "get", lambda self, batch, device: get(self, batch, device) * 1.0001)
    expected = [f"sweep, blocks: {blocks}, states: disk" for blocks in ("device", "cpu", "disk")]
    assert _missed(schedules.check_schedules, setting) == expected
    assert _missed(schedules.check_prefixes, setting) == expected


def test_wrong_states_of_shared_prefixes_are_seen(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    attention = TreeAttention.attention
    monkeypatch.setattr(TreeAttention, "attention", lambda self, *rest: attention(self, *rest) * 1.1)
    expected = [
        f"{name}, {kind}: states of shared prefixes" for name in ("opt", "llama") for kind in ("float32", "bfloat16")
    ]
    assert [what.partition(", relative")[0] for what in _missed(schedules.check_prefixes, setting)] == expected


def test_a_wait_in_a_step_and_in_a_micro_batch_are_seen(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _missed(host_waits.check_host_waits, setting) == []
    step, states = Trainer.step, TransformersEncoder.states
    monkeypatch.setattr(Trainer, "step", lambda self, *rest: _read_number(step(self, *rest)))
    monkeypatch.setattr(TransformersEncoder, "states", lambda self, *rest: _first_positive(states(self, *rest)))
    assert len(_missed(host_waits.check_host_waits, dataclasses.replace(setting, scratch=setting.scratch / "2"))) == 5


def test_vectors_that_change_when_memory_runs_out_are_seen(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    _disturb(monkeypatch, TransformersEncoder, "states")
    assert _missed(memory.check_out_of_memory, setting) == ["vectors after running out of memory"]


def test_a_plan_that_lies_is_seen(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = extract_stage.plan_stage

    def lying(*arguments: Any) -> Any:
        planned = plan(*arguments)
        parts = {place: _much_more(sizes) for place, sizes in planned.plan.memory_parts.items()}
        return dataclasses.replace(planned, plan=dataclasses.replace(planned.plan, memory_parts=parts))

    monkeypatch.setattr(stage, "plan_stage", lying)
    assert len(_missed(memory.check_peaks, setting)) == 2


def test_steps_that_are_not_the_same_twice_are_seen(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    _disturb(monkeypatch, Trainer, "step")
    assert "the same steps twice" in _missed(training.check_training, setting)


def test_a_resumed_run_that_ends_elsewhere_is_seen(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    from tcf.train.loss_meter import LossMeter

    monkeypatch.setattr(LossMeter, "steps", property(lambda self: 0, lambda self, value: None))
    assert "killed and resumed" in _missed(training.check_training, setting)


def test_lists_in_another_order_are_seen(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    search = faiss_search.exhaustive_search

    def reversed_lists(*arguments: Any) -> Any:
        return lambda states_BD, k: [part[:, ::-1] for part in search(*arguments)(states_BD, k)]

    monkeypatch.setattr(ranking, "exhaustive_search", reversed_lists)
    assert _missed(ranking.check_lists, setting) == ["lists by FAISS on the CPU"]


@pytest.mark.parametrize(("broken", "words"), [("raises", "ZeroDivisionError"), ("hangs", "ended after 1 s")])
def test_a_part_that_fails_or_hangs_is_missed_and_the_next_one_runs(broken: str, words: str, tmp_path: Path) -> None:
    program = tmp_path / "check.py"
    program.write_text(
        f"import sys, time\nsys.path.insert(0, {str(ROOT / 'benchmarks')!r})\nimport gpu_check\n"
        "from gpu_parts.part import Part, noted\n"
        "def raises(setting):\n    yield noted('before', 'seen')\n    1 / 0\n"
        "def hangs(setting):\n    yield noted('before', 'seen')\n    time.sleep(60)\n"
        "def works(setting):\n    yield noted('after', 'seen')\n"
        f"gpu_check.PARTS = (Part('first', 1, {broken}), Part('second', 30, works))\n"
        "gpu_check.__file__ = __file__\n"
        "gpu_check.main()\n"
    )
    command = [sys.executable, str(program), "--device", "cpu", "--small", "--json", str(tmp_path / "report.json")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 1, ended.stderr
    content = json.loads((tmp_path / "report.json").read_text())
    found = [(finding["part"], finding["what"], finding["verdict"]) for finding in content["findings"]]
    assert found == [("first", "before", "noted"), ("first", "whole part", "missed"), ("second", "after", "noted")]
    assert words in ended.stdout


def _much_more(sizes: Mapping[str, int]) -> dict[str, int]:
    """Too large a plan: too small a one would not show here, where memory of earlier tests is used again."""
    return {name: size * 50 for name, size in sizes.items()}


def _missed(check: Check, setting: Setting) -> list[str]:
    setting.scratch.mkdir(exist_ok=True)
    return [finding.what for finding in check(setting) if finding.verdict == "missed"]


def _disturb(monkeypatch: pytest.MonkeyPatch, kind: type, name: str) -> None:
    """Let a method's results grow from call to call."""
    method, calls = getattr(kind, name), []

    def disturbed(self: Any, *arguments: Any) -> Any:
        calls.append(1)
        result, factor = method(self, *arguments), 1 + 1e-3 * len(calls)
        return [part * factor for part in result] if isinstance(result, list | tuple) else result * factor

    monkeypatch.setattr(kind, name, disturbed)


def _read_number(loss: torch.Tensor) -> torch.Tensor:
    loss.item()
    return loss


def _first_positive(states: Any) -> Any:
    states[0][states[0] > 0]
    return states
