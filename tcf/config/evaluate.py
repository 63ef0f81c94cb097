"""Settings of `tcf evaluate`."""

from dataclasses import dataclass
from typing import Literal

from tcf.common.errors import ConfigError
from tcf.common.integrity.checksums import Verify
from tcf.config.fields import MAIN_OPTIONS, CheckedSettings, option
from tcf.config.verify import VERIFY_HELP

__all__ = ["Baseline", "CataloguePolicy", "Device", "EvaluateConfig", "TargetPolicy", "UntrainedUsers"]

Baseline = Literal["popularity", "random", "co-occurrence"]
CataloguePolicy = Literal["all", "trained"]
UntrainedUsers = Literal["keep", "leave-out"]
TargetPolicy = Literal["all", "first"]
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
    several_targets: TargetPolicy = option(
        "all",
        "Which held-out items of a user count, where a given split has several: all of them, or the first one alone.",
        group=MAIN_OPTIONS,
    )
    cutoffs: tuple[int, ...] = option(
        (10,),
        "Depths K of HR@K, NDCG@K and MRR@K, and of recall@K where users have several held-out items, such as "
        "1,5,10,20,50. Default: 10.",
        group=MAIN_OPTIONS,
        metavar="[K,K,...]",
    )
    catalogue: CataloguePolicy = option(
        "all",
        "Which items are ranked: the whole catalogue (all), so that runs on texts and on ids stay comparable, or the "
        "items with a training interaction (trained); then a held-out item without one counts as never found.",
        group=MAIN_OPTIONS,
    )
    exclude: Literal["kept", "all-seen"] = option(
        "kept",
        "Which items of a user are no candidates: those of the kept history before the held-out item, as in the study "
        "(kept), or also those that --keep-last has cut off before it (all-seen).",
        group=MAIN_OPTIONS,
    )
    seen: Literal["keep", "mask"] = option(
        "keep",
        "Whether a held-out item that is itself among the items that --exclude names stays a candidate (keep), or is "
        "excluded as in the study's code (mask).",
        group=MAIN_OPTIONS,
    )
    untrained_users: UntrainedUsers = option(
        "keep",
        "Whether users without a training interaction, whose vector in a user tower of ids was never trained, are "
        "evaluated (keep), or left out (leave-out).",
        group=MAIN_OPTIONS,
    )
    device: Device = option(
        "auto", "Device to compute user states on: auto, cpu, cuda, cuda:1, ...", group=MAIN_OPTIONS, metavar="DEVICE"
    )
    verify: Verify = option("once", VERIFY_HELP, group=MAIN_OPTIONS)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.cutoffs or min(self.cutoffs) < 1 or len(set(self.cutoffs)) < len(self.cutoffs):
            found = ",".join(map(str, self.cutoffs)) or "none"
            raise ConfigError(f"--cutoffs: expected depths of at least 1, each once, found {found}; correct them")
        object.__setattr__(self, "cutoffs", tuple(sorted(self.cutoffs)))
