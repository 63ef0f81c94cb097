"""Settings of `tcf evaluate`."""

from dataclasses import dataclass
from typing import Literal

from tcf.common.integrity.checksums import Verify
from tcf.config.fields import MAIN_OPTIONS, CheckedSettings, option
from tcf.config.verify import VERIFY_HELP

__all__ = ["Baseline", "Device", "EvaluateConfig"]

Baseline = Literal["popularity", "random", "co-occurrence"]
Device = str


@dataclass(frozen=True, repr=False)
class EvaluateConfig(CheckedSettings):
    """Settings for evaluating a run.

    Example:
        >>> import tcf
        >>> tcf.EvaluateConfig(split='validation')
        EvaluateConfig(split='validation')
    """

    split: Literal["test", "validation"] = option(
        "test", "Which held-out item of each user to rank.", group=MAIN_OPTIONS
    )
    seen: Literal["keep", "mask"] = option(
        "keep",
        "Whether a held-out item that the user has already interacted with stays a candidate (keep), or is excluded as "
        "in the study's code (mask).",
        group=MAIN_OPTIONS,
    )
    device: Device = option(
        "auto", "Device to compute user states on: auto, cpu, cuda, cuda:1, ...", group=MAIN_OPTIONS, metavar="DEVICE"
    )
    verify: Verify = option("once", VERIFY_HELP, group=MAIN_OPTIONS)
