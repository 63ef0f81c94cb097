"""What the parts of the GPU check have in common: where they run, and what they find."""

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
    """Where and how large a part runs.

    Attributes:
        device: that is checked.
        small: tiny models and data, for a rehearsal on a CPU.
        scratch: an empty folder, in memory-backed storage where there is one.
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
    """One line of the table.

    Attributes:
        what: was looked at.
        found: in words.
        expected: in words; empty where nothing is.
        verdict: met or missed; absent where it cannot be looked at here; noted where nothing is expected yet.
    """

    what: str
    found: str
    expected: str
    verdict: Verdict


@dataclass(frozen=True)
class Part:
    """One check.

    Attributes:
        name: in the table.
        seconds: after which it is ended.
        run: yields its findings as it makes them; imports what it needs.
    """

    name: str
    seconds: float
    run: Callable[[Setting], Iterator[Finding]]


def holds(what: str, is_so: bool, expected: str, otherwise: str) -> Finding:
    """Something that is so or not.

    Args:
        what: was looked at.
        is_so: whether it is as expected.
        expected: in words.
        otherwise: what was found where it is not.
    """
    return Finding(what, expected if is_so else otherwise, expected, "met" if is_so else "missed")


def at_least(what: str, found: float, floor: float, form: str = ".3f", unit: str = "") -> Finding:
    """A number that must not be below a floor; one that is no number is missed."""
    return Finding(what, f"{found:{form}}{unit}", f">= {floor:{form}}{unit}", "met" if found >= floor else "missed")


def at_most(what: str, found: float, ceiling: float, form: str = ".3f", unit: str = "") -> Finding:
    """A number that must not be above a ceiling; one that is no number is missed."""
    return Finding(what, f"{found:{form}}{unit}", f"<= {ceiling:{form}}{unit}", "met" if found <= ceiling else "missed")


def noted(what: str, found: str) -> Finding:
    """Something that was measured, of which nothing is expected yet."""
    return Finding(what, found, "", "noted")


def absent(what: str, why: str) -> Finding:
    """Something that cannot be looked at here."""
    return Finding(what, why, "", "absent")


def has_faiss() -> bool:
    """Whether FAISS is installed, without which nothing is ranked."""
    try:
        import faiss  # noqa: F401
    except ImportError:
        return False
    return True
