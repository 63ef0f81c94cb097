"""Settings of `tcf evaluate`."""

from dataclasses import dataclass
from typing import Literal

from tcf.common.errors import ConfigError
from tcf.common.integrity.checksums import Verify
from tcf.config.fields import MAIN_OPTIONS, CheckedSettings, option
from tcf.config.verify import VERIFY_HELP

__all__ = [
    "SEARCH_HELP",
    "Baseline",
    "CataloguePolicy",
    "Device",
    "EvaluateConfig",
    "Search",
    "TargetPolicy",
    "UntrainedUsers",
    "check_confidence",
]

Baseline = Literal["popularity", "random", "co-occurrence"]
CataloguePolicy = Literal["all", "trained"]
UntrainedUsers = Literal["keep", "leave-out"]
TargetPolicy = Literal["all", "first"]
Search = Literal["auto", "faiss", "torch"]
Device = str
_INTERVALS = "Intervals"

SEARCH_HELP = (
    "What computes the scores, in float32: torch, or FAISS (faiss); auto is torch. Ranks differ only where scores lie "
    "within rounding."
)


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
    lists: bool = option(
        False,
        "Also find each user's list to the largest of these depths, save it, and measure catalogue coverage, and the "
        "popularity and novelty of what is recommended; with --vectors also its diversity.",
        group=MAIN_OPTIONS,
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
        "auto", "Device to compute on: auto, cpu, cuda, cuda:1, ...", group=MAIN_OPTIONS, metavar="DEVICE"
    )
    search: Search = option("auto", SEARCH_HELP, group=MAIN_OPTIONS)
    verify: Verify = option("once", VERIFY_HELP, group=MAIN_OPTIONS)
    resamples: int = option(
        10_000,
        "How often the users are drawn again for the intervals of the metrics, by the bootstrap; 0: no intervals.",
        group=_INTERVALS,
        minimum=0,
    )
    bootstrap_seed: int = option(0, "Seed of these draws.", group=_INTERVALS, minimum=0)
    confidence: float = option(0.95, "Probability of the intervals.", group=_INTERVALS)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.cutoffs or min(self.cutoffs) < 1 or len(set(self.cutoffs)) < len(self.cutoffs):
            found = ",".join(map(str, self.cutoffs)) or "none"
            raise ConfigError(f"--cutoffs: expected depths of at least 1, each once, found {found}; correct them")
        object.__setattr__(self, "cutoffs", tuple(sorted(self.cutoffs)))
        check_confidence(self.confidence, "--confidence")


def check_confidence(confidence: float, name: str) -> None:
    """Refuse what is not between 0 and 1, both excluded.

    Raises:
        ConfigError: saying what was found.
    """
    if not 0 < confidence < 1:
        raise ConfigError(f"{name}: expected a probability between 0 and 1, such as 0.95, found {confidence}")
