"""The nodes of a training on several machines: how they meet, watch one another, and part.

Each node runs the same command, whose main process starts that node's workers, one for each device. The main processes
find one another through a key-value store that the first node keeps, which its workers use as well. Only the order of
events within the store and each node's own monotonic clock count, so clocks need not agree.
"""

import json
import logging
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import timedelta
from typing import Self

import torch.distributed as dist

from tcf import __version__
from tcf.common.errors import ConfigError, RunError, TcfError
from tcf.common.parsing import parse_json
from tcf.common.units import counted
from tcf.launch.node_address import NodeAddress

__all__ = ["Nodes", "OtherNodeError"]

logger = logging.getLogger(__name__)

_MEETING = timedelta(minutes=30)  # the nodes of a job begin together, but some may be slow to load libraries
_ANSWER = timedelta(seconds=30)
_BEAT = 1.0  # seconds between two signs of life
_SILENCE = 60.0  # seconds without one after which a node counts as lost
_PARTING = 10.0  # seconds in which the others may still learn why a training ended
_FAILED, _COURSE = "tcf/failed", "tcf/course"
_OF_PARTNERS = ("gloo", "nccl", "torch.distributed", "connection closed")  # in errors of workers whose partner has gone


class OtherNodeError(RunError):
    """Another node has failed, or does not answer."""


@dataclass(frozen=True)
class _Introduction:
    """What each node says of itself when they meet; all but the host must agree."""

    host: str
    devices: int
    kind: str
    version: str
    work: str


@dataclass
class Nodes:
    """The nodes that train together, seen from one of them.

    Attributes:
        address: this node's place.
        store: what they know of one another.
        hosts: names of the machines, by rank.
    """

    address: NodeAddress
    store: dist.TCPStore  # type: ignore[name-defined]
    hosts: tuple[str, ...]
    _signs: dict[int, tuple[int, float]] = field(default_factory=dict)
    _given: float = 0.0

    @classmethod
    def meet(cls, address: NodeAddress, devices: int, kind: str, work: str) -> Self:
        """Wait for all nodes, and check that they fit together.

        Args:
            address: this node's place.
            devices: number of devices of this node.
            kind: their type, `cpu` or `cuda`.
            work: digest of what is trained.

        Raises:
            ConfigError: the nodes differ in one of these, or in their versions of tcf.
            RunError: the store cannot be opened, or a node does not come.
        """
        logger.info(f"train: node {address.rank} of {address.number}, waiting for all at {address.host}:{address.port}")
        own = _Introduction(socket.gethostname(), devices, kind, __version__, work)
        try:
            store, found = _introduced(address, own)
        except RuntimeError as error:  # torch's DistError is one
            raise RunError(
                f"{address.host}:{address.port}: expected {address.number} nodes to meet here, found that this one, "
                f"node {address.rank}, cannot ({_on_one_line(error)}); check that the command runs on all of them, "
                "with the MASTER_ADDR and a free MASTER_PORT of node 0"
            ) from error
        nodes = cls(address, store, tuple(entry.host for entry in found))
        try:
            nodes._compare(found)
        except ConfigError:
            nodes._leave()
            raise
        return nodes

    def _compare(self, found: list[_Introduction]) -> None:
        first = found[0]
        for rank, entry in enumerate(found[1:], start=1):
            if replace(entry, host=first.host, work=first.work) != first:
                raise ConfigError(
                    f"expected the same devices and version of tcf on every node, found {_words(first)} on "
                    f"{self._name(0)} and {_words(entry)} on {self._name(rank)}; give every node as many --devices, "
                    "and the same installation"
                )
            if entry.work != first.work:
                raise ConfigError(
                    f"expected the same settings, --data, --cache and --out on every node, found others on "
                    f"{self._name(rank)} than on {self._name(0)}; run the same command on each"
                )

    def agree(self, course: str) -> str:
        """Let the first node decide what all do next.

        Args:
            course: what the first node has decided; of no effect in the others.

        Raises:
            RunError: the first node does not answer.
        """
        try:
            if self.address.rank == 0:
                self.store.set(_COURSE, course)
            return str(self.store.get(_COURSE), "utf-8")
        except RuntimeError as error:
            raise self._lost(0) from error

    @contextmanager
    def together(self) -> Iterator[None]:
        """A context for this node's work, at whose end it waits for the others and they learn whether it has failed.

        Raises:
            RunError: this node's work failed because of another node, which it names.
        """
        try:
            yield
            self._part()
        except OtherNodeError as error:
            self._tell(str(error))
            self._leave()
            raise
        except BaseException as error:
            cause = self._cause(error)
            self._tell(str(cause or f"{self._name(self.address.rank)} failed ({_on_one_line(error)})"))
            self._leave()
            if cause is not None:
                raise cause from error
            raise

    def check(self) -> None:
        """Give a sign of life now and then, and look for those of the others; to be called often.

        Raises:
            RunError: another node has failed, or gives none.
        """
        now = time.monotonic()
        if now - self._given < _BEAT:
            return
        self._given = now
        try:
            self.store.add(f"tcf/sign/{self.address.rank}", 1)
            failed = self.store.get(_FAILED).decode() if self.store.check([_FAILED]) else ""
            silent = [rank for rank in range(self.address.number) if self._is_silent(rank, now)]
        except RuntimeError as error:
            raise self._lost(0) from error
        if failed:
            raise OtherNodeError(failed)
        if silent:
            raise self._lost(silent[0])

    def _is_silent(self, rank: int, now: float) -> bool:
        """Whether another node's count of signs has not grown for too long, by this node's clock."""
        if rank == self.address.rank or self._has_left(rank):
            return False
        count = self.store.add(f"tcf/sign/{rank}", 0)
        before, since = self._signs.get(rank, (-1, now))
        self._signs[rank] = (before, since) if count == before else (count, now)
        return count == before and now - since > _SILENCE

    def _cause(self, error: BaseException) -> OtherNodeError | None:
        """The failure of another node that has made this node's workers fail; None if theirs is the first.

        Workers learn at once that those of another node have gone, but only that node or its silence says which.
        """
        text = str(error).lower()
        ends = time.monotonic() + _SILENCE + _PARTING
        if isinstance(error, TcfError) or not any(mark in text for mark in _OF_PARTNERS):
            return None
        while time.monotonic() < ends:
            try:
                self.check()
            except OtherNodeError as cause:
                return cause
            time.sleep(_BEAT / 10)
        return None

    def _part(self) -> None:
        """Note that this node's work is done; the first one, which keeps the store, waits for all."""
        self._note_leaving()
        while self.address.rank == 0 and not all(map(self._has_left, range(self.address.number))):
            self.check()
            time.sleep(_BEAT / 10)

    def _leave(self) -> None:
        """Leave after a failure; the first node keeps the store for a while, so that the others learn the reason."""
        ends = time.monotonic() + _PARTING
        with suppress(RuntimeError, OtherNodeError):  # the store may have gone
            self._note_leaving()
            while self.address.rank == 0 and not all(map(self._has_left, range(self.address.number))):
                if time.monotonic() > ends:
                    return
                time.sleep(_BEAT / 10)

    def _note_leaving(self) -> None:
        try:
            self.store.set(f"tcf/left/{self.address.rank}", "")
        except RuntimeError as error:
            raise self._lost(0) from error

    def _has_left(self, rank: int) -> bool:
        return bool(self.store.check([f"tcf/left/{rank}"]))

    def _tell(self, reason: str) -> None:
        """Say why the training ends, unless another node has said so first."""
        with suppress(RuntimeError):
            self.store.compare_set(_FAILED, "", reason)

    def _lost(self, rank: int) -> OtherNodeError:
        return OtherNodeError(
            f"{self._name(rank)} has ended or does not answer, and the others end with it; run the same command again "
            "on all nodes to continue"
        )

    def _name(self, rank: int) -> str:
        return f"node {rank} ({self.hosts[rank]})"


def _introduced(address: NodeAddress, own: _Introduction) -> tuple[dist.TCPStore, list[_Introduction]]:  # type: ignore[name-defined]
    """Open the store, and exchange introductions."""
    first = address.rank == 0
    store = dist.TCPStore(  # type: ignore[attr-defined]
        address.host, address.port, is_master=first, wait_for_workers=False, timeout=_MEETING
    )
    store.set(f"tcf/node/{address.rank}", json.dumps(asdict(own)))
    found = [_Introduction(**parse_json(store.get(f"tcf/node/{rank}"))) for rank in range(address.number)]
    store.set_timeout(_ANSWER)
    return store, found


def _words(entry: _Introduction) -> str:
    return f"{counted(entry.devices, 'device')} ({entry.kind}) with tcf {entry.version}"


def _on_one_line(error: BaseException) -> str:
    """An error on one line; of a defect, its first line and the last one of the traceback."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(dict.fromkeys([lines[0], lines[-1]])) if lines else type(error).__name__
