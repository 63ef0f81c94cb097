"""This machine's place among several that train one run."""

import os
from dataclasses import dataclass
from typing import Self

from tcf.common.errors import ConfigError

__all__ = ["NodeAddress"]


@dataclass(frozen=True)
class NodeAddress:
    """This machine's place among the nodes, from the variables that are also torchrun's.

    Attributes:
        number: number of nodes, at least 2.
        rank: rank of this one, counted from 0.
        host: address of the first.
        port: port of the store there.
    """

    number: int
    rank: int
    host: str
    port: int

    @classmethod
    def from_environment(cls) -> Self | None:
        """Read NNODES, NODE_RANK, MASTER_ADDR and MASTER_PORT; None if there is only one node.

        Raises:
            ConfigError: one of the others is missing or invalid.
        """
        number = _number("NNODES", 1, None, default=1)
        if number == 1:
            return None
        host = os.environ.get("MASTER_ADDR", "")
        if not host:
            raise ConfigError(f"MASTER_ADDR: expected the address of the first of {number} nodes, found none; set it")
        return cls(number, _number("NODE_RANK", 0, number - 1), host, _number("MASTER_PORT", 1, 65535))


def _number(name: str, least: int, most: int | None, default: int | None = None) -> int:
    """A whole number from the environment."""
    given = os.environ.get(name, "" if default is None else str(default))
    number = int(given) if given.isdecimal() and len(given) < 10 else -1
    if number < least or (most is not None and number > most):
        limits = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise ConfigError(
            f"{name}: expected a whole number {limits}, found {given or 'nothing'}; set NNODES, NODE_RANK, MASTER_ADDR "
            "and MASTER_PORT on every node as torchrun does, or remove NNODES to train on this machine alone"
        )
    return number
