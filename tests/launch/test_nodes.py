"""What nodes learn of one another, where each is a thread; `test_train_on_nodes.py` has real ones."""

import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from tcf.common.errors import ConfigError, RunError
from tcf.launch import nodes as module
from tcf.launch.node_address import NodeAddress
from tcf.launch.nodes import Nodes, OtherNodeError

PATIENCE = 60.0


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def on_nodes(work: Callable[[NodeAddress], Any], number: int = 2) -> list[Any]:
    """What some work returns or raises on each of several nodes."""
    port, found = free_port(), [None] * number

    def run(rank: int) -> None:
        try:
            found[rank] = work(NodeAddress(number, rank, "127.0.0.1", port))
        except Exception as error:
            found[rank] = error  # type: ignore[call-overload]

    threads = [threading.Thread(target=run, args=(rank,), daemon=True) for rank in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    return found


def check_until(nodes: Nodes, condition: Callable[[], bool]) -> None:
    ends = time.monotonic() + PATIENCE
    while not condition() and time.monotonic() < ends:
        nodes.check()
        time.sleep(0.01)


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Signs of life come often, and a second without one is silence."""
    monkeypatch.setattr(module, "_BEAT", 0.05)
    monkeypatch.setattr(module, "_SILENCE", 1.0)
    monkeypatch.setattr(module, "_PARTING", 2.0)


@pytest.mark.usefixtures("fast")
def test_the_first_decides_and_all_part_together() -> None:
    left: list[int] = []

    def work(address: NodeAddress) -> str:
        nodes = Nodes.meet(address, 2, "cpu", "work")
        with nodes.together():
            course = nodes.agree(f"course {address.rank}")
            if address.rank == 2:
                check_until(nodes, lambda: len(left) > 0)
        left.append(address.rank)
        return course

    assert on_nodes(work, 3) == ["course 0"] * 3
    assert (left[0], left[-1]) == (1, 0)  # the first one keeps the store until all have left


@pytest.mark.parametrize(
    ("devices", "kinds", "work", "words"),
    [
        (
            (1, 2),
            ("cpu", "cpu"),
            "aa",
            r"found 1 device \(cpu\) .* on node 0 \(.*\) and 2 devices \(cpu\) .* on node 1",
        ),
        (
            (2, 2),
            ("cuda", "cpu"),
            "aa",
            r"found 2 devices \(cuda\) .* and 2 devices \(cpu\) .*; give every node as many",
        ),
        (
            (2, 2),
            ("cpu", "cpu"),
            "ab",
            "expected the same settings, .* found others on node 1 .*; run the same command",
        ),
    ],
)
@pytest.mark.usefixtures("fast")
def test_nodes_that_do_not_fit_are_refused_by_all(
    devices: Sequence[int], kinds: Sequence[str], work: str, words: str
) -> None:
    def meet(address: NodeAddress) -> Nodes:
        return Nodes.meet(address, devices[address.rank], kinds[address.rank], work[address.rank])

    errors = on_nodes(meet)
    assert [type(error) for error in errors] == [ConfigError, ConfigError]
    for error in errors:
        with pytest.raises(ConfigError, match=words):
            raise error


@pytest.mark.parametrize("failing", [0, 1])
@pytest.mark.usefixtures("fast")
def test_all_learn_why_one_has_failed(failing: int) -> None:
    """The workers of the other one fail as well, because their partner has gone."""

    def work(address: NodeAddress) -> None:
        nodes = Nodes.meet(address, 1, "cpu", "work")
        with nodes.together():
            if address.rank == failing:
                raise RunError("the disk is full")
            raise RuntimeError("cpu failed:\nTraceback\n  [gloo/transport/tcp/pair.cc] Connection closed by peer")

    errors = on_nodes(work)
    assert str(errors[failing]) == "the disk is full"
    assert isinstance(errors[1 - failing], OtherNodeError)
    assert str(errors[1 - failing]).startswith(f"node {failing} ({socket.gethostname()}) failed (the disk is full)")


@pytest.mark.usefixtures("fast")
def test_a_silent_node_is_named_by_all_others() -> None:
    """The last one hangs; that it comes from another clock does not matter, because signs are only counted."""
    errors: list[Exception] = []

    def work(address: NodeAddress) -> None:
        nodes = Nodes.meet(address, 1, "cpu", "work")
        if address.rank == 2:
            check_until(nodes, lambda: nodes.store.check(["tcf/sign/0", "tcf/sign/1"]))
            return
        try:
            with nodes.together():
                check_until(nodes, lambda: False)
        except RunError as error:
            errors.append(error)

    on_nodes(work, 3)
    assert len(errors) == 2
    assert all(str(error).startswith("node 2 (") and "does not answer" in str(error) for error in errors)


@pytest.mark.usefixtures("fast")
def test_the_first_one_is_gone() -> None:
    """With it the store."""
    met = threading.Barrier(2)

    def work(address: NodeAddress) -> None:
        nodes = Nodes.meet(address, 1, "cpu", "work")
        met.wait(PATIENCE)
        if address.rank == 0:
            return
        with nodes.together():
            check_until(nodes, lambda: False)

    first, second = on_nodes(work)
    assert first is None
    assert isinstance(second, OtherNodeError)
    assert str(second).startswith("node 0 (") and "run the same command again" in str(second)


def test_a_place_where_nobody_can_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        address = NodeAddress(2, 0, "127.0.0.1", taken.getsockname()[1])
        with pytest.raises(RunError, match=rf"^127.0.0.1:{address.port}: expected 2 nodes to meet here, .*MASTER_PORT"):
            Nodes.meet(address, 1, "cpu", "work")


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        (
            {"NNODES": "x"},
            "^NNODES: expected a whole number of at least 1, found x; set NNODES, NODE_RANK, MASTER_ADDR",
        ),
        ({"NNODES": "2"}, "^MASTER_ADDR: expected the address of the first of 2 nodes, found none"),
        ({"NNODES": "2", "MASTER_ADDR": "a"}, "^NODE_RANK: expected a whole number from 0 to 1, found nothing; set"),
        ({"NNODES": "2", "MASTER_ADDR": "a", "NODE_RANK": "2"}, "^NODE_RANK: expected a .* from 0 to 1, found 2; set"),
        ({"NNODES": "2", "MASTER_ADDR": "a", "NODE_RANK": "1"}, "^MASTER_PORT: expected .* from 1 to 65535, found not"),
    ],
)
def test_what_the_environment_lacks_is_said(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], words: str
) -> None:
    for name in ("NNODES", "NODE_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    assert NodeAddress.from_environment() is None
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=words):
        NodeAddress.from_environment()
