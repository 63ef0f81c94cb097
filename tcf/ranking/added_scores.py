"""STUB."""

from typing import Protocol


class AddedScores(Protocol):
    """STUB."""

    n_users: int
    n_items: int
