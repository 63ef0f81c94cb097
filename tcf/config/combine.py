"""Settings for combining finished runs and baselines into one ranking."""

import math
from dataclasses import dataclass
from typing import Literal

from tcf.common.errors import ConfigError
from tcf.common.integrity.checksums import Verify
from tcf.config.fields import MAIN_OPTIONS, CheckedSettings, option
from tcf.config.verify import VERIFY_HELP

__all__ = ["CombineConfig", "CombinedBaseline"]

CombinedBaseline = Literal["co-occurrence", "popularity"]
"""The baselines that a combination may have as members."""
_FIT = "Weights"


@dataclass(frozen=True, repr=False)
class CombineConfig(CheckedSettings):
    """Settings for combining runs.

    Example:
        >>> import tcf
        >>> tcf.CombineConfig(weights=(0.4, 0.6))
        CombineConfig(weights=(0.4, 0.6))
    """

    weights: tuple[float, ...] = option(
        (),
        "Weight of each member, runs first, then baselines, such as 0.4,0.6,0.05: none below 0, divided by their sum. "
        "Default: those under which the validation targets are most likely.",
        group=MAIN_OPTIONS,
        metavar="[W,W,...]",
    )
    device: str = option(
        "auto", "Device to compute on: auto, cpu, cuda, cuda:1, ...", group=MAIN_OPTIONS, metavar="DEVICE"
    )
    verify: Verify = option("once", VERIFY_HELP, group=MAIN_OPTIONS)
    fit_users: int = option(
        10_000,
        "Largest number of validation users, drawn at random, to whose targets the weights are fitted.",
        group=_FIT,
        minimum=1,
    )
    shortlist: int = option(
        50, "How many of its best candidates for each user a member brings to the fit.", group=_FIT, minimum=1
    )
    seed: int = option(0, "Seed of the draw of these users.", group=_FIT, minimum=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        are_weights = all(weight >= 0 for weight in self.weights) and 0 < sum(self.weights) < math.inf
        if self.weights and not are_weights:
            found = ",".join(f"{weight:g}" for weight in self.weights)
            raise ConfigError(
                "--weights: expected numbers of at least 0, at least one above 0, with a finite sum, found "
                f"{found}; correct them"
            )

    @property
    def shares(self) -> tuple[float, ...]:
        """The given weights divided by their sum; empty if none are given."""
        return tuple(weight / sum(self.weights) for weight in self.weights)
