"""What a worker does by itself, without the starter that would have started it."""

import subprocess
import sys
from pathlib import Path

import pytest

from small.launch.workers import SmallJob
from tcf.common.errors import CacheError, ConfigError, ModelError, TcfError
from tcf.encoders.failures import NotSeparableError
from tcf.launch.workers.jobs import encode_message
from tcf.launch.workers.worker import ErrorReport
from tcf.launch.workers.worker_process import REPORT_VARIABLE, _known_class

WORKER = "import sys; sys.path[:] = sys.argv[1:]; from small.launch.workers import main; main()"


@pytest.mark.parametrize(
    ("action", "status", "said"),
    [("refuse", 2, "c: expected vectors,\nfound none"), ("defect", 1, "ZeroDivisionError: division by zero")],
)
@pytest.mark.parametrize("report", ["missing/report", "file/report"])
def test_an_error_whose_report_cannot_be_written_is_printed(
    tmp_path: Path, report: str, action: str, status: int, said: str
) -> None:
    (tmp_path / "file").touch()
    with subprocess.Popen(
        [sys.executable, "-c", WORKER, *sys.path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={REPORT_VARIABLE: str(tmp_path / report)},
    ) as worker:
        assert worker.stdin is not None and worker.stderr is not None
        worker.stdin.write(encode_message(SmallJob(action, tmp_path, "0").as_message()))
        worker.stdin.flush()
        printed = worker.stderr.read().decode()
    assert (worker.returncode, printed.rstrip().endswith(said)) == (status, True), printed
    assert "OSError" not in printed and "NotADirectoryError" not in printed


def test_an_error_is_known_by_the_nearest_class_that_all_processes_share() -> None:
    class OwnError(TcfError):
        """Derived from no class but the base."""

    class FurtherError(NotSeparableError):
        """Two steps below a class of `tcf.common.errors`."""

    found = [_known_class(kind("x")) for kind in (CacheError, NotSeparableError, FurtherError, OwnError, TcfError)]
    assert found == ["CacheError", "ModelError", "ModelError", "TcfError", "TcfError"]
    raised = [ErrorReport(name, "x: y", 0.0).exception() for name in found]
    assert [type(error) for error in raised] == [CacheError, ModelError, ModelError, TcfError, TcfError]
    assert {str(error) for error in raised} == {"x: y"}


@pytest.mark.parametrize("name", ["NotSeparableError", "did_you_mean", "Sequence"])
def test_a_name_that_is_no_class_of_errors_gives_the_base(name: str) -> None:
    error = ErrorReport(name, "x: y", 0.0).exception()
    assert (type(error), str(error)) == (TcfError, "x: y")
    assert not isinstance(error, ConfigError)
