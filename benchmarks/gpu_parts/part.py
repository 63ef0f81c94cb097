"""Classes that the parts of the GPU check share: their setting and their findings."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

__all__ = ["Finding", "Part", "Setting", "Verdict", "absent", "at_least", "at_most", "has_faiss", "holds", "noted"]

Verdict = Literal["met", "missed", "absent", "noted"]


@dataclass(frozen=True)
class Setting:
    """The device and the scale of a part.

    Attributes:
        device: device to check.
        small: whether to use tiny models and data, for a rehearsal on a CPU.
        scratch: an empty folder, in memory-backed storage if there is any.
    """

    device: "torch.device"
    small: bool
    scratch: Path

    @property
    def on_cuda(self) -> bool:
        """Whether the device is a GPU."""
        return self.device.type == "cuda"


@dataclass(frozen=True)
class Finding:
    """One row of the table.

    Attributes:
        what: what was checked.
        found: the result, in words.
        expected: the expected result, in words; empty without an expectation.
        verdict: met or missed; absent if it cannot be checked here; noted without an expectation.
    """

    what: str
    found: str
    expected: str
    verdict: Verdict


@dataclass(frozen=True)
class Part:
    """One check.

    Attributes:
        name: its name in the table.
        seconds: time limit.
        run: yields findings one by one; imports what it needs.
    """

    name: str
    seconds: float
    run: Callable[[Setting], Iterator[Finding]]


def holds(what: str, is_so: bool, expected: str, otherwise: str) -> Finding:
    """A finding that is true or false.

    Args:
        what: what was checked.
        is_so: whether it is as expected.
        expected: the expected result, in words.
        otherwise: the actual result if it is not as expected.
    """
    return Finding(what, expected if is_so else otherwise, expected, "met" if is_so else "missed")


def at_least(what: str, found: float, floor: float, form: str = ".3f", unit: str = "") -> Finding:
    """A number that must not be below a minimum; NaN is missed."""
    return Finding(what, f"{found:{form}}{unit}", f">= {floor:{form}}{unit}", "met" if found >= floor else "missed")


def at_most(what: str, found: float, ceiling: float, form: str = ".3f", unit: str = "") -> Finding:
    """A number that must not be above a maximum; NaN is missed."""
    return Finding(what, f"{found:{form}}{unit}", f"<= {ceiling:{form}}{unit}", "met" if found <= ceiling else "missed")


def noted(what: str, found: str) -> Finding:
    """A measurement without an expectation."""
    return Finding(what, found, "", "noted")


def absent(what: str, why: str) -> Finding:
    """Something that cannot be checked here."""
    return Finding(what, why, "", "absent")


def has_faiss() -> bool:
    """Whether FAISS is installed, without which nothing is ranked."""
    try:
        import faiss  # noqa: F401
    except ImportError:
        return False
    return True
