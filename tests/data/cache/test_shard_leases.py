import errno
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from small.data.caches import new_cache, sequences_of
from small.launch.kills import run_program
from tcf.common.errors import RunError
from tcf.common.lease_file import LEASE_SECONDS, heartbeat
from tcf.data.cache.shard_leases import is_leased, lease, release, remove_expired_leases
from tcf.data.cache.writer import shard_path

HOLD = """
import sys; from pathlib import Path; from tcf.data.cache.shard_leases import lease
print(lease(Path(sys.argv[1])), flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where a shard of a cache is going to be."""
    return shard_path(new_cache(tmp_path / "c"), sequences_of(["a"]))


@contextmanager
def another_worker(place: Path) -> Iterator["subprocess.Popen[str]"]:
    """A process that has the lease for as long as it lives."""
    command = [sys.executable, "-c", HOLD, str(place)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout and process.stdout.readline() == "True\n"
        try:
            yield process
        finally:
            process.kill()


def files(place: Path) -> list[str]:
    return sorted(path.name for path in place.parent.iterdir())


def within(place: Path) -> Path:
    """Where a lease lies once there is a cache."""
    return place.parent / f".{place.name}.claim"


def written(place: Path, content: str, age: float = 0) -> None:
    """A lease as another machine would have left it."""
    file = within(place)
    file.write_text(content)
    os.utime(file, (time.time() - age,) * 2)


def test_a_claim_is_made_and_released(place: Path) -> None:
    assert not is_leased(place)
    assert lease(place)
    assert is_leased(place)
    assert lease(place), "this process has it already"
    assert files(place) == [f".{place.name}.claim"]
    release(place)
    assert not is_leased(place)
    assert files(place) == []


def test_before_there_is_a_cache_claims_lie_beside_its_place(tmp_path: Path) -> None:
    place = shard_path(tmp_path / "c", sequences_of(["a"]))
    with another_worker(place):
        assert [path.name for path in tmp_path.iterdir()] == [f".c.{place.name}.claim"]
        assert is_leased(place)
        assert not lease(place)
        new_cache(tmp_path / "c")
        assert not lease(place), "the cache has come, and the other worker is still at it"
        assert lease(place.with_name("another"))
    assert lease(place)
    release(place)
    release(place.with_name("another"))
    assert remove_expired_leases(place.parent) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def test_a_living_worker_keeps_its_claim(place: Path) -> None:
    with another_worker(place):
        assert is_leased(place)
        assert not lease(place)
        release(place)
        heartbeat(within(place))
        assert remove_expired_leases(place.parent) == 0
        assert is_leased(place)


def test_the_claim_of_a_killed_worker_does_not_count(place: Path) -> None:
    with another_worker(place) as process:
        process.kill()
        process.wait()
        assert files(place) == [f".{place.name}.claim"]
        assert not is_leased(place)
        assert lease(place)
        assert is_leased(place)


def test_claims_of_killed_workers_are_removed_with_other_leftovers(place: Path) -> None:
    with another_worker(place) as process:
        process.kill()
        process.wait()
    new_cache(place.parents[1])
    assert files(place) == []


@pytest.mark.parametrize(
    ("content", "counts", "ended"),
    [
        ('{"machine": "elsewhere", "pid": 1}', LEASE_SECONDS - 30, LEASE_SECONDS + 30),
        # Whoever made these was killed before it had written its name, which it does at once.
        ("", 5, 15),
        ("[]", 5, 15),
        ("half a li", 5, 15),
    ],
)
def test_a_claim_from_elsewhere_counts_until_it_is_silent_for_long(
    place: Path, content: str, counts: float, ended: float
) -> None:
    written(place, content, age=counts)
    assert is_leased(place)
    assert not lease(place)
    written(place, content, age=ended)
    assert not is_leased(place)
    assert remove_expired_leases(place.parent) == 1
    written(place, content, age=ended)
    assert lease(place)
    assert is_leased(place)


def test_a_sign_of_life_renews_a_claim(place: Path) -> None:
    assert lease(place)
    file = within(place)
    os.utime(file, (time.time() - LEASE_SECONDS - 30,) * 2)
    assert not is_leased(place)
    heartbeat(within(place))
    assert is_leased(place)


def test_without_a_folder_for_the_cache_nothing_is_claimed_and_nothing_is_made(tmp_path: Path) -> None:
    place = shard_path(tmp_path / "none" / "c", sequences_of(["a"]))
    assert lease(place)
    assert not is_leased(place)
    heartbeat(within(place))
    release(place)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written(place: Path) -> None:
    (place.parent / f".{place.name}.claim").mkdir()
    # What stands in the way is taken for a lease of another worker, and left alone.
    assert not lease(place)
    place.parent.joinpath("file").touch()
    with pytest.raises(RunError, match="cannot be written"):
        lease(place.parent / "file" / "name")


def test_workers_share_the_shards(tmp_path: Path) -> None:
    """Three processes lease forty shards as fast as they can; each shard is leased by one of them."""
    (tmp_path / "shards").mkdir()
    race = (
        "import json, sys, time; from pathlib import Path; from tcf.data.cache.shard_leases import lease\n"
        "places = [Path(sys.argv[1]) / 'shards' / str(n) for n in range(40)]\n"
        "(Path(sys.argv[1]) / sys.argv[2]).touch()\n"
        "while len(list(Path(sys.argv[1]).glob('ready*'))) < 3: time.sleep(0.001)\n"
        "print(json.dumps([place.name for place in places if lease(place)]), flush=True)\n"
        "sys.stdin.readline()\n"  # it lives until all have leased
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", race, str(tmp_path), f"ready{n}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for n in range(3)
    ]
    leased = [json.loads(worker.stdout.readline()) for worker in workers if worker.stdout]
    for worker in workers:
        worker.communicate("\n")
    assert sorted(name for names in leased for name in names) == sorted(map(str, range(40)))


def test_the_next_worker_may_be_any_process(place: Path) -> None:
    assert lease(place)
    program = (
        "import sys; from pathlib import Path; from tcf.data.cache.shard_leases import *\n"
        "print(lease(Path(sys.argv[1])))"
    )
    assert run_program(program, place).stdout == "False\n"
    release(place)
    assert run_program(program, place).stdout == "True\n"
    # That process has ended without releasing it.
    assert not is_leased(place)


WATCHED = """
import os, sys; from pathlib import Path; from tcf.data.cache.shard_leases import lease
def watch(event, arguments):
    if watching and os.path.exists(sys.argv[1]) and not os.path.getsize(sys.argv[1]):
        os._exit(9)
watching = False
sys.addaudithook(watch)
watching = True
lease(Path(sys.argv[2]))
watching = False
"""


def makes_files_without_a_name(folder: Path) -> bool:
    try:
        os.close(os.open(folder, os.O_TMPFILE | os.O_WRONLY))
    except OSError:
        return False
    return True


def test_there_is_no_moment_at_which_a_lease_lacks_its_owner(place: Path) -> None:
    """A worker killed then would keep the others away for seconds."""
    if not makes_files_without_a_name(place.parent):
        pytest.skip("the file system of the temporary folder cannot make a file without a name")
    command = [sys.executable, "-c", WATCHED, str(within(place)), str(place)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run(command, env=environment, check=False).returncode == 0
    assert files(place) == [f".{place.name}.claim"]


def test_leases_work_where_a_file_cannot_be_made_without_a_name(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(os, "link", refused)
    assert lease(place)
    assert is_leased(place)
    release(place)
    monkeypatch.delattr(os, "O_TMPFILE")
    assert lease(place)
    assert files(place) == [f".{place.name}.claim"]
