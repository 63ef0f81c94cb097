"""A prediction of what a unit takes."""

from dataclasses import dataclass

__all__ = ["Prediction", "Unknown"]


@dataclass(frozen=True)
class Prediction:
    """What a unit is predicted to take on this machine, as busy as it is; None for what is not known.

    Attributes:
        minutes: time; of a training that of all epochs, although it may stop early.
        memory: peak memory in bytes, of RAM or of a GPU; of a training without activations.
        disk: bytes that its results take.
        note: why something is not known, or what the time is based on; empty if there is nothing to say.
    """

    minutes: float | None = None
    memory: int | None = None
    disk: int | None = None
    note: str = ""


class Unknown(Exception):
    """Something cannot be predicted yet; the message says why."""
