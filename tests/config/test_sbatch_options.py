"""Further options of sbatch."""

import re

import pytest

from tcf.common.errors import ConfigError
from tcf.config.launch import LaunchConfig


@pytest.mark.parametrize("entry", ["constraint=a100|h100", "exclusive", "--mail-user=me@x.org", "gres=gpu:a100:2"])
def test_options_are_taken_as_sbatch_has_them(entry: str) -> None:
    assert LaunchConfig(launcher="slurm", sbatch=(entry,)).sbatch == (entry,)


@pytest.mark.parametrize("entry", ["", "-p main", "exclusive\n#SBATCH --array=7", "Constraint", "constraint="])
def test_what_is_no_option_is_refused(entry: str) -> None:
    with pytest.raises(ConfigError, match=f"^--sbatch: expected an option with its value.*{re.escape(repr(entry))}$"):
        LaunchConfig(launcher="slurm", sbatch=(entry,))


@pytest.mark.parametrize("entry", ["array=1-5", "--dependency=afterok:7", "job-name=x", "no-requeue"])
def test_options_by_which_jobs_are_found_are_refused(entry: str) -> None:
    with pytest.raises(ConfigError, match="expected an option that tcf does not set itself"):
        LaunchConfig(launcher="slurm", sbatch=(entry,))
