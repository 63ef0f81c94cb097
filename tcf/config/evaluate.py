"""Settings of `tcf evaluate`."""

from dataclasses import dataclass
from typing import Literal

from tcf.config.fields import CheckedSettings, option

__all__ = ["Baseline", "Device", "EvaluateConfig"]

Baseline = Literal["popularity", "random", "co-occurrence"]
Device = str


@dataclass(frozen=True)
class EvaluateConfig(CheckedSettings):
    """Settings of evaluating a run."""

    split: Literal["test", "validation"] = option(
        "test", "Which held-out item to rank: the test target or the validation target of the dataset's split."
    )
    seen: Literal["keep", "mask"] = option(
        "keep",
        "A held-out item that the user has met before: keep it as a candidate, or mask it as the study's code did.",
    )
    device: Device = option("auto", "Device to compute user states on: auto, cpu, cuda, ...")
