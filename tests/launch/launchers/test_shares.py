"""What units get of a machine."""

import subprocess
import sys

import pytest

from small.launch.units import environment_here, everywhere
from tcf.common.errors import ConfigError
from tcf.config.launch import LaunchConfig
from tcf.launch.launchers.shares import Machine, Share, shares, this_machine
from tcf.launch.units.tasks import Stage
from tcf.launch.units.unit import STAGES

EIGHT = Machine(tuple("01234567"), 32)
NONE = Machine((), 32)


def test_without_gpus_one_unit_has_all_threads() -> None:
    assert {*shares(everywhere(), NONE).values()} == {Share(gpus=0, threads=0, most=1)}


def test_each_gpu_has_a_process_and_its_share_of_threads() -> None:
    found = shares(everywhere(), EIGHT)
    assert found["train"] == found["extract"] == found["evaluate"] == Share(gpus=1, threads=4, most=8)
    assert found["prepare"] == found["download"] == found["compare"] == Share(gpus=0, threads=0, most=1)


@pytest.mark.parametrize(
    ("settings", "machine", "share"),
    [
        (LaunchConfig(workers=4), NONE, Share(0, 8, 4)),
        (LaunchConfig(workers=4, cpus_per_worker=2), NONE, Share(0, 2, 4)),
        (LaunchConfig(workers=64), NONE, Share(0, 1, 64)),
        (LaunchConfig(gpus_per_worker=8), EIGHT, Share(8, 0, 1)),
        (LaunchConfig(gpus_per_worker=3), EIGHT, Share(3, 16, 2)),
        (LaunchConfig(gpus_per_worker=0), EIGHT, Share(0, 0, 1)),
        (LaunchConfig(workers=2), EIGHT, Share(1, 16, 2)),
        (LaunchConfig(workers=20), EIGHT, Share(1, 4, 8)),
    ],
)
def test_what_is_set_counts(settings: LaunchConfig, machine: Machine, share: Share) -> None:
    assert shares(dict.fromkeys(STAGES, settings), machine)["train"] == share


def test_more_gpus_than_there_are_are_refused_unless_the_stage_runs_elsewhere() -> None:
    launch = everywhere()
    with pytest.raises(ConfigError, match="for train: expected at most the 8 GPUs of this machine, found 9"):
        shares({**launch, "train": LaunchConfig(gpus_per_worker=9)}, EIGHT)
    found = shares({**launch, "train": LaunchConfig(launcher="slurm", gpus_per_worker=9)}, EIGHT)
    assert "train" not in found


def test_downloads_and_tables_are_shares_of_this_machine_always() -> None:
    assert {*shares(everywhere(launcher="slurm", gpus_per_worker=9), NONE)} == {"download", "compare"}


def test_gpus_are_those_that_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    launch: dict[Stage, LaunchConfig] = everywhere(workers=2)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, GPU-5a")
    assert this_machine(launch) == Machine(("3", "GPU-5a"), torch.get_num_threads())
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert this_machine(launch).gpus == ("0", "1")


def test_torch_is_not_loaded_for_a_machine_of_one_worker() -> None:
    program = (
        "import sys; from small.launch.units import everywhere; from tcf.launch.launchers import shares\n"
        "shares._DRIVERS = ()\n"
        "print(shares.this_machine(everywhere()).gpus, 'torch' in sys.modules)\n"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment_here())
    assert done.stdout == "() False\n"
